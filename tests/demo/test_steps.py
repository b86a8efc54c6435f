"""The demo's steps on an embedded store, and its tables."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

import vecstore
from vecstore_bench.demo import report, steps
from vecstore_bench.demo.dataset import Corpus, Question, Questions, load_corpus, load_questions

STRIDE = 8


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    whole = load_corpus()
    every = slice(None, None, STRIDE)
    return Corpus(whole.names[every], whole.modules[every], whole.kinds[every], whole.vectors[every])


@pytest.fixture(scope="module")
def questions() -> Questions:
    whole = load_questions()
    return Questions(whole.items[:40], whole.vectors[:40])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "store"


@pytest.fixture(scope="module")
def collection(store, corpus):
    with vecstore.open(store) as database:
        made = database.create_collection("python", dim=corpus.vectors.shape[1], index=None)
        progress: list[int] = []
        steps.insert_corpus(made, corpus, progress.append)
        assert progress[-1] == made.count() == len(corpus.names)
        assert progress == sorted(progress)
        made.flush()
        yield made


@pytest.mark.parametrize("row_filter", steps.FILTERS, ids=lambda one: one.where or "none")
def test_the_server_filter_and_the_numpy_mask_say_the_same(collection, corpus, row_filter):
    expected = {name for name, keep in zip(corpus.names, row_filter.mask(corpus), strict=True) if keep}
    found = set()
    for batch in collection.scan(where=row_filter.where, vectors=False, columns=[]):
        found.update(batch.column("id").to_pylist())
    assert found == expected
    assert 0 < len(found) <= len(corpus.names)


@pytest.mark.parametrize("row_filter", steps.FILTERS, ids=lambda one: one.where or "none")
def test_measure_finds_everything_where_search_is_exact(collection, corpus, questions, row_filter):
    measured = steps.measure(collection, corpus, questions, row_filter)
    assert measured.recall_server == 1.0
    assert measured.recall_numpy > 0.99  # float rounding may swap a pair at place ten
    assert measured.rows == collection.count(row_filter.where)
    assert 0 < measured.questions <= len(questions.items)
    assert 0 <= measured.top1 <= measured.top10 <= 1
    assert 0 < measured.p50 <= measured.p99


def test_measure_sees_wrong_answers(collection, corpus, questions):
    """With the rows in another order, the numpy scan names other rows, and the recall must fall."""
    shuffled = dataclasses.replace(corpus, names=corpus.names[1:] + corpus.names[:1])
    measured = steps.measure(collection, shuffled, questions, steps.FILTERS[0])
    assert measured.recall_server == 1.0
    assert measured.recall_numpy < 0.5


def test_ask_gives_module_and_kind(collection, questions):
    hits = steps.ask(collection, questions, 0, "kind = 'method'")
    assert len(hits) == steps.K
    assert {hit.metadata["kind"] for hit in hits} == {"method"}
    assert all(set(hit.metadata) == {"module", "kind"} for hit in hits)


def test_recorded_answers_change_with_the_late_row(collection, questions):
    before = steps.record_answers(collection, questions)
    assert before == steps.record_answers(collection, questions)
    late = steps.add_late_row(collection, questions)
    after = steps.record_answers(collection, questions)
    collection.delete(ids=[late])
    assert after.count == before.count + 1
    assert after.ids[0][0] == late
    assert after != before


def _shown(renderable: object) -> str:
    written = io.StringIO()
    Console(width=120, file=written).print(renderable)
    return written.getvalue()


def test_answer_list_explains_hits_and_counts_absent_names():
    answers = report.AnswerList("Some [questions]", per_question=2)
    hits = [
        vecstore.Hit("json.gone", 0.1, {"module": "json"}),
        vecstore.Hit("json.loads", 0.2, {"module": "json"}),
        vecstore.Hit("json.dumps", 0.3, {"module": "json"}),
        vecstore.Hit("json.load", 0.4, {"module": "json"}),
    ]
    answers.add(Question("read [json] text", ("json.loads",)), hits)
    text = _shown(answers.render())
    assert "read [json] text" in text
    assert "Some [questions]" in text
    assert "✓  json.loads" in text
    assert "json.dumps" in text
    assert "json.load " not in text
    assert answers.absent == ["json.gone"]


def test_bytes_table_adds_up_parts_of_both_sides():
    text = _shown(report.bytes_table({"codes": 1536.0, "ids": 8.0}, {"codes": 388.0, "ids": 8.0, "refine": 768.0}))
    assert "1,544.0" in text
    assert "1,164.0" in text


def test_quality_table_shows_each_measurement():
    one = steps.Measurement("kind = 'x'", 1234, 0.9876, 0.8765, 17, 0.25, 0.5, 0.001, 0.0025)
    text = _shown(report.quality_table([("int8", one)]))
    for figure in ("int8, kind = 'x'", "1,234", "0.9876", "0.8765", "17", "25.0%", "50.0%", "1.00", "2.50"):
        assert figure in text
