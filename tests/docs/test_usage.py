"""docs/usage.md names every setting with its default, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import vecstore
from tests.docs.test_readme import run
from vecstore import api
from vecstore_server.auth import Tokens
from vecstore_server.settings import ServerSettings, load_settings

USAGE = (Path(__file__).parents[2] / "docs" / "usage.md").read_text(encoding="utf-8")


def block(label: str) -> str:
    (text,) = re.findall(rf"```{label}\n(.*?)```", USAGE, re.DOTALL)
    return text


def test_the_example_runs_twice(tmp_path):
    for _ in range(2):
        assert "'year': None" in run(block("python"), tmp_path)


def test_the_funnels_are_searches(tmp_path):
    rows = np.random.default_rng(0).standard_normal((300, 130), np.float32)
    with vecstore.open(tmp_path / "store") as db:
        docs = db.create_collection("docs", dim=130)
        docs.insert(np.arange(300), rows)
        docs.flush()
        lines = [line.partition("  #")[0] for line in block("python funnel").splitlines()]
        for line in lines:
            assert eval(line, {"docs": docs, "q": rows[7]}).ids[0, 0] == 7
    assert len(lines) == 3


@pytest.mark.parametrize("settings", [vecstore.StoreConfig(), ServerSettings()])
def test_every_setting_is_there_with_its_default(settings):
    cells = dict(re.findall(r"^\| (`.+?`) \| (.*?) ?\|", USAGE, re.MULTILINE))
    known = {name: cell for names, cell in cells.items() for name in re.findall(r"`(\w+)`", names)}
    for name, default in settings.to_dict().items():
        assert known[name].strip('`"').lower() == str(default).lower(), name


def test_the_token_file_and_the_toml_file_are_read(tmp_path):
    path = tmp_path / "file"
    path.write_text(block("text"))
    assert len(Tokens.from_file(path)) == 2
    path.write_text(block("toml"))
    assert load_settings(path, environment={}).max_k == 1000


def test_the_limits_are_those_of_the_code():
    for what, limit in (("k of a search", api.MAX_K), ("ef of a search", api.MAX_EF)):
        assert f"| {what} | {limit:,} |" in USAGE


def test_the_filters_of_the_table_are_taken(tmp_path):
    (table,) = re.findall(r"\| text \| Python \|.*?\n((?:\|.*\n)+)", USAGE)
    rows = [re.split(r"(?<!\\)\|", line)[1:3] for line in table.splitlines()[1:]]
    pairs = [(re.findall("`(.+?)`", text), re.findall("`(.+?)`", code)) for text, code in rows]
    assert len(pairs) == 8
    names = {"col": vecstore.col} | {name: vecstore.col(name) == True for name in "abc"}  # noqa: E712
    for texts, codes in pairs:
        for text, code in zip(texts, codes, strict=False):
            if "NOT NULL" in text or "NOT c" in text:
                eval(code.replace("\\|", "|"), names)
                continue
            assert vecstore.filters.parse(text) == eval(code.replace("\\|", "|"), names)


def test_the_example_of_advice_works(tmp_path):
    assert "chosen" in run(block("python advise"), tmp_path)


def test_the_example_of_fitting_works(tmp_path):
    printed = run(block("python fit"), tmp_path)
    assert printed.startswith("mde (closed form): 2,000 rows of 1 field, ")
