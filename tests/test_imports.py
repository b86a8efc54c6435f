"""`import vecstore` stays light, and the sources stay free of what executes stored bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vecstore

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "grpc", "ray", "sklearn", "pyarrow", "numba", "hnswlib", "sqlglot", "lmdb", "rich", "click")


def test_importing_vecstore_imports_nothing_heavy():
    code = f"import sys, vecstore; print([name for name in {HEAVY!r} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"


def test_opening_a_store_needs_no_torch_grpc_or_dataset(tmp_path):
    code = (
        "import sys, vecstore\n"
        f"db = vecstore.open({str(tmp_path / 'store')!r})\n"
        "db.create_collection('c', dim=2).insert([1], [[1, 0]])\n"
        "print([n for n in ('torch', 'grpc', 'ray', 'sklearn', 'pyarrow.dataset') if n in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"


@pytest.mark.parametrize("name", sorted(set(vecstore.__all__) - {"__version__"}))
def test_every_public_name_can_be_imported(name):
    assert getattr(vecstore, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = vecstore.nonsense


def test_no_source_executes_stored_bytes():
    forbidden = re.compile(r"\bpickle\b|torch\.load\(|allow_pickle=True|(?<!\.)\beval\(|\bmarshal\b")
    for folder in ("vecstore", "server", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not forbidden.search(path.read_text(encoding="utf-8")), path
