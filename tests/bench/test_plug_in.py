"""A scheme of another distribution is trained, stored and reported, and nothing here knows of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pyarrow.parquet as pq

_SCHEME = '''
"""``plugged``: a scheme of another distribution."""
from vecstore.schemes.base import Family
from vecstore.schemes.hash import Hash


class Plugged(Hash, frozen=True, kw_only=True, tag="plugged"):
    """Rows that are shared as somebody else shares them.

    Attributes
    ----------
    buckets : int
        Rows.
    """

    name = "plugged"
    family = Family.SHARING
    layer = "plugged_layer:PluggedPart"
'''
# Look-ups must not load torch, so the layer is in a module of its own.
_LAYER = '''
"""The layer of plugged."""
from vecstore.training.hash import HashPart


class PluggedPart(HashPart):
    """Its layer."""
'''


def test_a_scheme_of_a_plug_in_is_in_the_grid_and_in_the_report(tmp_path):
    (tmp_path / "plugged_scheme.py").write_text(_SCHEME)
    (tmp_path / "plugged_layer.py").write_text(_LAYER)
    about = tmp_path / "plugged_scheme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged-scheme\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[vecstore.schemes]\nplugged = plugged_scheme:Plugged\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    out = tmp_path / "run"

    def run(module, *arguments):
        command = [sys.executable, "-m", f"vecstore_bench.{module}", *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
        ).stdout

    sizes = ["--size", "small", "--dim", "4", "--models", "wdl", "--epochs", "0.2"]
    run("ctr", "--data", "synthetic:3000", "--schemes", "full,plugged", "--budgets", "0.5", *sizes, "--out", str(out))
    rows = {row["scheme"]: row for row in pq.read_table(out / "results.parquet").to_pylist()}
    assert rows["plugged"]["status"] == "done", rows["plugged"]["error"]
    assert "plugged" in rows["plugged"]["fields"]
    assert "plugged" in run("report", str(out))
    page = (out / "report.html").read_text()
    assert "Rows that are shared as somebody else shares them." in page
    assert 'data-scheme="plugged"' in page
    listed = "from vecstore_bench.ctr_presets import trained; print(*trained())"
    names = subprocess.run(
        [sys.executable, "-c", listed],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ).stdout.split()
    assert {"plugged", "adapt+int8", "auto"} <= set(names)
