"""``vecstore warmup``: what it compiles is all that later processes need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import vecstore
from vecstore.errors import InvalidArgumentError
from vecstore.warming import _complete, cases

#: What a process does with a collection of whole rows, and how much of that it compiled.
USE = """
import sys
import numpy as np
import vecstore
from vecstore.kernels.compiling import Kernel
rows = np.random.default_rng(1).standard_normal((2_000, 24), np.float32)
with vecstore.open(sys.argv[1]) as db:
    scheme, refine = sys.argv[2:]
    docs = db.create_collection(
        "docs", dim=24, metric="l2", scheme=scheme, refine=refine or None, index=vecstore.HnswConfig(min_rows=10)
    )
    docs.insert(np.arange(2_000), rows, {"year": np.arange(2_000)})
    docs.search(rows[0])
    docs.optimize()
    for where in (None, "year >= 100", "year < 20"):
        assert len(docs.search(rows[:3], 4, where=where, ef=10)) == 3
    docs.search(rows[0], exact=True)
    for _ in range(2):
        docs.search(rows[0])
    docs.search(rows[:200])
    docs.search(rows[:200], exact=True)
    rows.setflags(write=False)
    docs.search(rows[0])
kernels = [k for name, m in sys.modules.items() if name.startswith("vecstore") for k in vars(m).values()]
print([k.name for k in kernels if isinstance(k, Kernel) and k.compiled])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "refine"), [("full", ""), ("rabitq", "full")])
def test_afterwards_nothing_is_compiled(tmp_path, scheme, refine):
    settings = {**os.environ, "VECSTORE_CACHE": str(tmp_path / "cache")}

    def run(*command):
        done = subprocess.run([sys.executable, *command], env=settings, check=True, capture_output=True, text=True)
        return done.stdout

    names = [argument for name in dict.fromkeys(("full", scheme)) for argument in ("--scheme", name)]
    report = run("-m", "vecstore", "warmup", *names, "--metric", "l2")
    assert str(tmp_path / "cache" / "kernels") in report
    assert run("-c", USE, str(tmp_path / "store"), scheme, refine).strip() == "[]"


def test_by_default_all_that_collections_can_have():
    names = {name for name, _ in cases()}
    assert {"full", "float16", "int8", "int4", "pq", "opq", "rabitq", "binary"} <= names
    assert "dhe" not in names
    assert len(cases()) == 3 * len(names)
    assert cases(["int8"], "cosine") == [("int8", vecstore.Metric.COSINE)]


def test_schemes_that_need_settings_get_some():
    for name in {name for name, _ in cases()}:
        assert _complete(name).name == name


@pytest.mark.slow
def test_a_scheme_that_needs_settings_is_warmed():
    assert vecstore.warmup("pq", metric="ip").kept > 0


def test_wrong_names_and_folders(run, tmp_path, monkeypatch):
    assert "is not one of" in run("warmup", "--metric", "hamming", code=2).output
    assert "int9" in run("warmup", "--scheme", "int9", code=1).output
    assert "which are binary" in " ".join(
        run("warmup", "--scheme", "hash", code=1).output.replace("alpt, autodim, ", "").split()
    )
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("vecstore.kernels.code_cache.folder", lambda: tmp_path / "file" / "kernels")
    with pytest.raises(InvalidArgumentError, match="VECSTORE_CACHE"):
        vecstore.warmup("full")
