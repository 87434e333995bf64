"""Search by meaning: what is found, how well, how fast, and what happens when the embedder is of no use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from py_code_mode.ranking import Document, KeywordRanker
from py_code_mode.search.embedder import DEFAULT
from py_code_mode.search.named import embedder
from py_code_mode.search.ranker import MeaningRanker
from py_code_mode.search.vectors import DiskVectors, KeptEmbedder
from py_code_mode.storage.file import FileStorage
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
        "from py_code_mode.host import uses, workflows\n"
        "library = MemoryStorage().get_workflow_library()\n"
        "library.create('weather', 'async def run(): pass', 'Weather forecast for a city')\n"
        "library.list()\n"
        "heavy = {'numpy', 'tokenizers', 'safetensors', 'wordllama', 'requests', 'huggingface_hub', 'urllib.request'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "found, = asyncio.run(workflows.handlers(library, uses.UseRecorder(library), '')['workflows.search']('will it rain'))\n"
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


@pytest.mark.timeout(120)
def test_fifty_thousand_documents_are_searched_in_milliseconds_once_they_are_known():
    rows = np.random.default_rng(1).standard_normal((50_000, 256), np.float32)
    ranker = MeaningRanker(lambda texts: rows[: len(texts)] if len(texts) > 1 else rows[77:78])
    documents = tuple(Document(f"item_{n}", "Weather forecast for a city") for n in range(50_000))
    ranker.rank("weather", documents, 5)

    def seconds(searched):
        started = time.thread_time()
        ranker.rank("forecast of item 31", searched, 5)
        return time.thread_time() - started

    # Of the thread: the machine may be busy with others. BLAS works in this thread, or adds its own beside it.
    assert min(seconds(documents) for _ in range(20)) < 0.015
    assert seconds((*documents, PLOT)) < 0.5
    assert ranker._index._vectors.nbytes < 2 * rows.nbytes


def test_vectors_are_kept_on_disk_by_the_hash_of_the_text(tmp_path):
    file, counting = tmp_path / "below" / "vectors.sqlite", Counting()
    first = KeptEmbedder(counting, "a", DiskVectors(file)).embed(["rain", "sun", "rain"])
    assert counting.texts == ["rain", "sun"]
    again = KeptEmbedder(counting, "a", DiskVectors(file)).embed(["sun", "snow", "rain"])
    assert counting.texts == ["rain", "sun", "snow"]
    assert np.array_equal(again[[2, 0, 2]], first)
    KeptEmbedder(counting, "b", DiskVectors(file)).embed(["rain"])
    assert counting.texts[3:] == ["rain"], "another embedder's vectors are others"


@pytest.mark.parametrize("content", [None, b"no database, but long enough to be taken for one" * 50])
def test_a_file_of_vectors_that_cannot_be_used_is_done_without(tmp_path, content):
    file = tmp_path / "vectors.sqlite"
    file.mkdir() if content is None else file.write_bytes(content)
    kept = KeptEmbedder(DEFAULT, "a", DiskVectors(file))
    assert np.array_equal(kept.embed(["rain"]), DEFAULT.embed(["rain"]))
    assert np.array_equal(kept.embed(["rain"]), DEFAULT.embed(["rain"]))


def test_a_file_of_vectors_that_has_grown_too_large_is_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("py_code_mode.search.vectors._MOST", 100_000)
    kept = KeptEmbedder(DEFAULT, "a", DiskVectors(tmp_path / "vectors.sqlite"))
    for start in range(20):
        kept.embed([f"text {start} {n}" for n in range(50)])
        assert (tmp_path / "vectors.sqlite").stat().st_size < 300_000


# -- other embedders ------------------------------------------------------------------------------------


def letters(texts):
    """Vectors that count the letters."""
    return [[float(text.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]


async def test_a_callable_given_to_the_storage_searches_workflows_and_tools(tmp_path):
    from py_code_mode.host.table import HandlerTable

    asked = []
    storage = FileStorage(tmp_path, embedder=lambda texts: asked.extend(texts) or letters(texts))
    storage.get_workflow_library().create("zzz", "async def run(): pass", "zz zzz")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "wc.yaml").write_text("name: wc\ncommand: wc\ndescription: qqq\nrecipes: {all: {}}\n")
    table = HandlerTable(storage, tmp_path / "tools", None, tmp_path, "me")
    assert [item.name for item in await asyncio.to_thread(storage.get_workflow_library().search, "zzzz")] == ["zzz"]
    assert [item.name for item in await table.registry.search("qqqq")] == ["wc"]
    assert [text.strip() for text in asked] == ["zzz zz zzz", "zzzz", "wc qqq", "qqqq"]
    await table.registry.close()


@pytest.mark.parametrize("kind", ["sentence-transformers", "model2vec"])
def test_a_model_of_another_package_is_loaded_by_the_first_search(monkeypatch, kind):
    loaded = []

    class Model:
        def __init__(self, name):
            loaded.append(name)

        from_pretrained = classmethod(lambda cls, name: cls(name))

        def encode(self, texts):
            return np.array(letters(texts), np.float64)

    stand_in = types.ModuleType(kind.replace("-", "_"))
    stand_in.SentenceTransformer = stand_in.StaticModel = Model
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    ranker = MeaningRanker(f"{kind}:some/model")
    assert loaded == []
    assert names("charts", PAIR, ranker)[0] == names("plot", PAIR, ranker)[0] == "plot_line"
    assert loaded == ["some/model"]


def test_a_model_whose_package_is_not_installed_leaves_the_search_by_keyword(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "model2vec", None)
    assert names("forecasts", PAIR, MeaningRanker("model2vec:some/model")) == ["weather"]
    assert "model2vec" in caplog.text


@contextlib.contextmanager
def server(answer):
    """The URL of a server that gives ``answer(request)`` as its status and JSON, and the requests it got."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, self.headers["Authorization"], asked))
            status, data = answer(asked)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(json.dumps(data).encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/v1", requests
        http.shutdown()
        thread.join()


def test_a_server_with_the_embeddings_api_is_asked_in_parts(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")

    def answer(asked):
        rows = [{"index": index, "embedding": row} for index, row in enumerate(letters(asked["input"]))]
        return 200, {"data": rows[::-1]}

    with server(answer) as (url, requests):
        given = embedder(f"openai-compatible:{url}/#small")
        texts = [f"{n} {'a' * n}" for n in range(300)]
        assert np.array_equal(given.embed(texts), np.array(letters(texts), np.float32))
    assert {(path, key, asked["model"]) for path, key, asked in requests} == {
        ("/v1/embeddings", "Bearer secret", "small")
    }
    assert [len(asked["input"]) for _, _, asked in requests] == [128, 128, 44]


@pytest.mark.parametrize(
    ("status", "data"), [(500, {}), (401, {}), (302, {}), (200, {}), (200, []), (200, {"data": [{"index": 0}]})]
)
def test_a_server_that_gives_no_embeddings_leaves_the_search_by_keyword(status, data, caplog):
    with server(lambda asked: (status, data)) as (url, requests):
        assert names("forecasts", PAIR, MeaningRanker(f"openai-compatible:{url}#{status}{data}")) == ["weather"]
    assert "the embedding server 127.0.0.1" in caplog.text
    assert len(requests) == 1


def test_the_environment_names_the_embedder_where_none_is_given(monkeypatch):
    monkeypatch.setenv("PY_CODE_MODE_EMBEDDER", "model2vec:some/model")
    assert MemoryStorage().get_workflow_library().embedder.name == "model2vec:some/model"
    assert MemoryStorage(embedder=DEFAULT).get_workflow_library().embedder is DEFAULT


@pytest.mark.parametrize("given", ["word2vec:x", "model2vec", "model2vec:", "openai-compatible:ftp://x"])
def test_an_embedder_of_an_unknown_name_is_refused_with_the_names_there_are(given):
    with pytest.raises(ValueError, match=f"no embedder '{given}'; give 'sentence-transformers:<model>'"):
        embedder(given)
    with pytest.raises(TypeError, match="a callable or an Embedder, not int"):
        embedder(3)
