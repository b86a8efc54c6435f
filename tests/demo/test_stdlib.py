"""Names and summaries come from the interpreter that runs."""

from __future__ import annotations

import inspect

import pytest

from vecstore_bench.demo import stdlib
from vecstore_bench.demo.dataset import load_corpus
from vecstore_bench.demo.stdlib import find_entries, read_summary, summarise


@pytest.fixture(scope="module")
def entries() -> dict[str, stdlib.Entry]:
    found = find_entries()
    by_name = {entry.name: entry for entry in found}
    assert len(by_name) == len(found)
    return by_name


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        (None, ""),
        (42, ""),
        ("", ""),
        ("word", ""),
        ("Do a thing.", "Do a thing."),
        ("Do a thing.  Do another. And a third.", "Do a thing. Do another."),
        ("Do a thing\n    over two lines.\n\n    Details.", "Do a thing over two lines."),
        ("f(x[, y]) -> int\n\nCount the things.", "Count the things."),
        ("f(x)\nf(x, y)\n\nCount the things.", "Count the things."),
        ("D.items() -> a set-like object with pairs of D", "a set-like object with pairs of D"),
        ("f(x) -> new value", "new value"),
        ("f(x, y) - Make a value of\nboth arguments.", "Make a value of both arguments."),
        ("Title\n=====\n\nWhat it is about.", "What it is about."),
        ("f(x) --> object\n\n>>> f(1)\n2", ""),
    ],
)
def test_summarise(doc, expected):
    assert summarise(doc) == expected


def test_long_summaries_are_cut_between_words():
    summary = summarise("word " * 200)
    assert len(summary) <= stdlib.SUMMARY_CHARS + 2
    assert summary.endswith("word …")


def test_read_summary_gives_the_text_of_this_interpreter():
    assert read_summary("json.loads", "json") == summarise(inspect.getdoc(__import__("json").loads))
    assert read_summary("os.path", "os.path")
    assert read_summary("str.split", "builtins")
    assert read_summary("pathlib.Path.rglob", "pathlib")


@pytest.mark.parametrize(
    ("name", "module"),
    [("json.no_such_name", "json"), ("no_such_module.f", "no_such_module"), ("str.no_such_method", "builtins")],
)
def test_read_summary_gives_none_for_what_is_not_there(name, module):
    assert read_summary(name, module) is None


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("asyncio.gather", "function", "asyncio"),  # defined in asyncio.tasks
        ("os.getcwd", "function", "os"),  # defined in posix or nt
        ("os.path.join", "function", "os.path"),
        ("open", "function", "builtins"),  # also io.open
        ("random.shuffle", "function", "random"),  # a bound method of a hidden instance
        ("collections.Counter.most_common", "method", "collections"),
        ("heapq.heappush", "function", "heapq"),  # defined in _heapq
        ("json", "module", "json"),
        ("str", "class", "builtins"),
    ],
)
def test_objects_are_listed_under_the_name_programs_use(entries, name, kind, module):
    assert (entries[name].kind, entries[name].module) == (kind, module)


def test_re_exports_are_listed_once(entries):
    for name in ("asyncio.tasks.gather", "posix.getcwd", "io.open", "random.Random.shuffle", "genericpath.exists"):
        assert name not in entries


def test_skipped_and_private_names_are_absent(entries):
    for name, entry in entries.items():
        parts = name.split(".")
        assert not any(part.startswith("_") for part in parts), name
        assert not {"test", "tests"}.intersection(entry.module.split(".")), name
        assert not any(
            entry.module == skipped or entry.module.startswith(f"{skipped}.") for skipped in stdlib.SKIPPED_MODULES
        ), name


def test_every_entry_can_be_read_back(entries):
    assert [e.name for e in entries.values() if read_summary(e.name, e.module) != e.summary] == []


def test_this_interpreter_knows_most_of_the_corpus():
    corpus = load_corpus()
    known = [read_summary(*pair) is not None for pair in zip(corpus.names, corpus.modules, strict=True)]
    assert sum(known) / len(known) > 0.85
