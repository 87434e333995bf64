from __future__ import annotations

from py_code_mode.ranking import Document, KeywordRanker

CURL = Document("curl", "Make HTTP requests http network", "url silent header")
JQ = Document("jq", "Filter JSON documents json", "filter input")
FETCH = Document("fetch_json", "Fetch and parse JSON from a URL", "async def run(url): tools.curl.get(url=url)")
DOCUMENTS = [CURL, JQ, FETCH]


def names(query, limit=10, documents=DOCUMENTS):
    return [documents[match.index].name for match in KeywordRanker().rank(query, documents, limit)]


def test_a_search_finds_words_by_their_stem():
    assert names("requesting") == ["curl"]


def test_the_words_of_an_identifier_are_found_one_by_one():
    assert names("fetch") == ["fetch_json"]
    assert names("parse", documents=[Document("parseHTMLTable"), Document("x")]) == ["parseHTMLTable"]


def test_a_document_with_more_of_the_query_comes_first():
    assert names("fetch json") == ["fetch_json", "jq"]


def test_a_word_in_the_name_counts_more_than_one_in_the_source():
    assert names("curl") == ["curl", "fetch_json"]


def test_a_rare_word_counts_more_than_a_common_one():
    common = [Document(f"file_{n}", "works on files") for n in range(20)]
    documents = [*common, Document("zip", "archive")]
    assert names("archive files", limit=1, documents=documents) == ["zip"]


def test_an_empty_query_gives_everything_in_order():
    assert names("") == names("  ?! ") == ["curl", "jq", "fetch_json"]
    assert names("", limit=2) == ["curl", "jq"]


def test_a_query_that_fits_nothing_gives_nothing():
    assert names("from the moon") == []
    assert names("curl", limit=0) == []
    assert names("curl", documents=[]) == []


def test_scores_lie_between_zero_and_one():
    matches = KeywordRanker().rank("curl http json", DOCUMENTS, 10)
    assert matches
    assert all(0 < match.score <= 1 for match in matches)
