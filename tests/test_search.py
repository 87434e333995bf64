"""Search by meaning: what is found, how well, how fast, and what happens when the embedder is of no use."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest

from py_code_mode.ranking import Document, KeywordRanker
from py_code_mode.search.embedder import DEFAULT
from py_code_mode.search.ranker import MeaningRanker
from py_code_mode.storage.memory import MemoryStorage
from tests.retrieval.items import DOCUMENTS, WITH_WORDS, WITHOUT_WORDS

PLOT = Document("plot_line", "Plot a line chart of numbers over time")
WEATHER = Document("weather", "Weather forecast for a city")
PAIR = (PLOT, WEATHER)


class Counting:
    """The default embedder, and the texts that it was given."""

    def __init__(self):
        self.texts = []

    def embed(self, texts):
        self.texts += texts
        return DEFAULT.embed(texts)


class Failing:
    """An embedder that gives what is no use, and counts how often it was asked."""

    def __init__(self, answer):
        self.answer, self.calls = answer, 0

    def embed(self, texts):
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def names(query, documents=DOCUMENTS, ranker=None, limit=5):
    return [documents[match.index].name for match in (ranker or MeaningRanker()).rank(query, documents, limit)]


def quality(ranker, questions):
    """recall@1, recall@5 and mean reciprocal rank over ``questions``."""
    places = []
    for question, name in questions:
        found = names(question, ranker=ranker, limit=len(DOCUMENTS))
        places.append(found.index(name) + 1 if name in found else 0)
    return tuple(
        round(sum(scores) / len(places), 3)
        for scores in (
            [place == 1 for place in places],
            [0 < place <= 5 for place in places],
            [1 / place if place else 0 for place in places],
        )
    )


def test_what_is_meant_is_found_even_where_no_word_is_shared(capsys):
    assert (len({item.name for item in DOCUMENTS}), len(WITH_WORDS + WITHOUT_WORDS)) == (60, 120)
    table = {
        (ranking, questions): quality(ranker, asked)
        for ranking, ranker in (("keywords", KeywordRanker()), ("meaning", MeaningRanker()))
        for questions, asked in (("with words", WITH_WORDS), ("without", WITHOUT_WORDS))
    }
    with capsys.disabled():
        print("\nsearch                  recall@1  recall@5  MRR")
        for (ranking, questions), (first, five, mrr) in table.items():
            print(f"{ranking:10}{questions:14}{first:8.3f}  {five:8.3f}  {mrr:.3f}")
    assert table["keywords", "without"] == (0, 0, 0), "the questions without words share some"
    assert table["meaning", "with words"] >= (0.98, 0.98, 0.98)
    for reached, least in zip(table["meaning", "without"], (0.7, 0.88, 0.78), strict=True):
        assert reached >= least


def test_a_search_says_how_well_each_fits_and_which_words_it_holds():
    best, *_ = MeaningRanker().rank("plotting the weather", PAIR, 2)
    assert best.words in (("plotting",), ("weather",))
    assert 0 < best.score <= 1
    assert best.to_dict() == {"score": round(best.score, 4), "matched": list(best.words)}
    (exact,) = MeaningRanker().rank("weather forecast for a city", PAIR, 1)
    assert exact.words == ("weather", "forecast", "city")
    assert exact.score > 0.9


def test_a_query_without_a_word_gives_everything_and_one_that_fits_nothing_gives_nothing():
    assert names("", PAIR) == names(" ?!\n", PAIR) == ["plot_line", "weather"]
    assert names("zzyzx qwrtp", PAIR) == names("weather", ()) == names("weather", PAIR, limit=0) == []


def test_equal_documents_come_in_their_order():
    twins = [Document("a", "Plot a chart"), *PAIR, Document("a", "Plot a chart")]
    assert [match.index for match in MeaningRanker().rank("plot a chart", twins, 2)] == [0, 3]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["weather ", "x", "🌧", "天", "\0", "\ud800", "a_B"])
def test_a_query_of_ten_megabytes_is_answered_like_its_beginning(text):
    ranker = MeaningRanker()
    length = 10_000_000 // len(text)
    assert names(text * length, ranker=ranker) == names(text * 5_000, ranker=ranker)


@pytest.mark.parametrize("query", ["Wetter morgen", "日本語の天気", "погода в городе", "الطقس", "rain \ud800", "a\0b"])
def test_a_query_in_any_language_is_answered(query, caplog):
    for match in MeaningRanker().rank(query, DOCUMENTS, 5):
        assert 0 < match.score <= 1
    assert caplog.messages == []


def test_only_what_is_new_is_embedded():
    embedder = Counting()
    ranker = MeaningRanker(embedder)
    names("rain", PAIR, ranker)
    assert len(embedder.texts) == 3
    embedder.texts.clear()
    assert names("rain", (*PAIR, Document("umbrella", "Protects from rain")), ranker)[0] == "umbrella"
    assert sorted(embedder.texts) == ["rain", "umbrella Protects from rain"]


def test_what_is_gone_is_not_found_and_not_kept_for_ever():
    ranker = MeaningRanker()
    for start in range(0, 600, 100):
        documents = (*(Document(f"item {start + n}", "Weather") for n in range(100)), PLOT)
        assert names("draw a chart", documents, ranker) == ["plot_line"]
        assert names(f"item {start + 42}", documents, ranker)[0] == f"item {start + 42}"
    assert len(ranker._index) <= 400


@pytest.mark.parametrize(
    "answer",
    [
        OSError("no file"),
        ImportError("no such package"),
        np.zeros((5, 3)),
        np.zeros(3),
        np.full((1, 3), np.nan),
        None,
        "vectors",
    ],
)
def test_an_embedder_that_fails_leaves_the_search_by_keyword_and_is_logged_once(answer, caplog):
    embedder = Failing(answer)
    ranker = MeaningRanker(embedder)
    with caplog.at_level(logging.WARNING):
        assert names("forecasts", PAIR, ranker) == names("city", PAIR, ranker) == ["weather"]
    assert embedder.calls == 1
    (message,) = caplog.messages
    assert message.startswith("search goes by keywords: the embedder failed: ")


def test_the_search_of_a_workspace_carries_scores_and_loads_its_model_when_it_is_needed():
    code = (
        "import sys, asyncio\n"
        "from py_code_mode import MemoryStorage\n"
        "from py_code_mode.host import workflows\n"
        "library = MemoryStorage().get_workflow_library()\n"
        "library.create('weather', 'async def run(): pass', 'Weather forecast for a city')\n"
        "library.list()\n"
        "heavy = {'numpy', 'tokenizers', 'safetensors', 'wordllama', 'requests', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "found, = asyncio.run(workflows.handlers(library)['workflows.search']('will it rain'))\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(found['name'], found['matched'], 0 < found['score'] < 1)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "['numpy', 'safetensors', 'tokenizers']", "weather [] True"]


def test_a_workflow_is_found_by_what_it_is_for():
    library = MemoryStorage().get_workflow_library()
    library.create("weather", "async def run(): pass", "Weather forecast for a city")
    library.create("plot", "async def run(): pass", "Plot a line chart")
    assert [workflow.name for workflow in library.search("draw a graph")] == ["plot"]
