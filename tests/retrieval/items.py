"""60 things to be found, with two questions for each: one that shares words with it, and one that shares none.

Name | description | a question with words of it | a question without any, sources of none included.
"""

from __future__ import annotations

from py_code_mode.ranking import Document

TEXT = """
fetch_json | Fetch and parse JSON from a URL | get json from a url | download structured data off a web address
send_email | Send an email with attachments | send an attachment by email | mail somebody a message
resize_image | Resize an image to a given width and height | resize images | make a picture smaller
csv_to_table | Read a CSV file into a table | read csv files | load comma separated spreadsheet rows
weather | Weather forecast for a city | forecast of the weather | will it rain in Paris tomorrow
translate | Translate text into another language | translate this text | say it in French instead
zip_folder | Compress a folder into a zip archive | zip up a folder | bundle a directory to save space
git_log | Show the commits of a git repository | commits of a repository | who changed the source code recently
convert_currency | Convert an amount of money between currencies | convert currencies | how many dollars are 50 euros
summarize | Summarize a long text in three sentences | summarize a text | short version of this article
speech_to_text | Transcribe speech in an audio recording | transcribe a recording | write down what was spoken on the phone call
detect_faces | Find human faces in a photo | find faces | are there people in the picture
sql_query | Run a SQL query against a database | query the database with sql | select rows where the customer is new
plot_line | Plot a line chart of numbers over time | line chart | draw a graph of a series
hash_file | Compute the SHA-256 hash of a file | hash of a file | verify a download with a checksum
list_processes | List the running processes of this machine | processes that are running | which programs use the CPU
disk_usage | Show how much disk space each folder takes | disk space | is the hard drive full
dns_lookup | Look up the DNS records of a domain | dns records of a domain | which IP address belongs to a hostname
ping_host | Ping a host and measure the latency | ping a host | is the server reachable over the network
calendar_event | Create an event in the calendar | create a calendar event | schedule a meeting for monday
todo_add | Add an item to the to-do list | add to the todo list | remind me of a task later
random_password | Generate a random password | generate a password | make me secure login credentials
remove_duplicates | Remove duplicate rows from a table | remove duplicates | keep only unique records
extract_links | Extract all hyperlinks from a web page | extract links of a page | which sites does the HTML point to
scrape_prices | Scrape product prices from an online shop | scrape prices of products | how expensive are things in the store
pdf_text | Extract the text of a PDF document | text of a pdf | read the contents of an Acrobat paper
merge_pdfs | Merge several PDF documents into one | merge pdf documents | combine multiple paper files together
word_count | Count the words in a text | count words | how long is my essay
spell_check | Check the spelling of a text and suggest corrections | check spelling | find typos and mistakes in writing
sentiment | Classify the sentiment of customer reviews | sentiment of reviews | are buyers happy or angry
stock_quote | Current price of a stock on the exchange | price of a stock | how are Apple shares doing in the market
geocode | Latitude and longitude of a street address | latitude of an address | coordinates of a house on the map
route | Driving directions between two places | driving directions | how do I get there by car
upload_s3 | Upload a file to an S3 bucket | upload to s3 | put it in Amazon cloud storage
backup_database | Back up the database to a file | backup of a database | make a safe copy of all our Postgres data
deploy_service | Deploy a new version of a service to production | deploy a service | release the latest build to the live servers
run_tests | Run the unit tests of a project | run unit tests | is my code still working correctly
lint_code | Lint Python code and report style problems | lint python code | find bad formatting in scripts
docker_build | Build a Docker image from a Dockerfile | build a docker image | package the app as a container
slack_message | Post a message to a Slack channel | post to slack | tell the team in chat
parse_log | Parse a server log and count the errors per hour | parse a server log | how often did failures happen each day
monitor_url | Watch a website and alert when it is down | alert when a website is down | notify me about an outage of our homepage
create_invoice | Create an invoice for a customer | invoice for a customer | bill a client for the work
tax | Calculate the sales tax of a purchase | calculate tax | how much VAT do we owe the government
loan | Monthly payment of a loan with interest | monthly payment of a loan | what would the mortgage cost me
bmi | Body mass index from weight and height | body mass index | am I too fat for my size
recipe_search | Find cooking recipes by ingredients | recipes with ingredients | what can I make for dinner with eggs
song_lyrics | Lyrics of a song by its title and artist | lyrics of a song | words that the singer sings in this music
movie_info | Rating, director and cast of a movie | cast of a movie | which actors play in the film
book_flight | Book a flight between two airports | book a flight | buy a plane ticket to Tokyo
hotel_rooms | Find free hotel rooms in a city | hotel rooms | where can I sleep during my trip to Rome
time_zone | Convert a time between time zones | convert time zones | what hour is it in New York when London has noon
unit_convert | Convert between metric and imperial units | metric units | miles in kilometers
solve_equation | Solve a mathematical equation for a variable | solve an equation | algebra homework: what is x
fit_regression | Fit a linear regression to data points | linear regression | predict a trend with least squares statistics
cluster_points | Cluster points into groups with k-means | cluster points with k-means | which observations are similar to each other
tweet | Publish a post on Twitter | publish a post on twitter | share an update on social media
qr_code | Make a QR code for a link | qr code | barcode that smartphones can scan
rename_files | Rename many files by a pattern | rename files | give documents different titles in bulk
encrypt_file | Encrypt a file with a passphrase | encrypt a file | protect secret data so nobody else can read it
"""
ROWS = [tuple(part.strip() for part in line.split("|")) for line in TEXT.strip().splitlines()]

DOCUMENTS = tuple(Document(name, description) for name, description, _, _ in ROWS)
WITH_WORDS = [(question, name) for name, _, question, _ in ROWS]
WITHOUT_WORDS = [(question, name) for name, _, _, question in ROWS]
