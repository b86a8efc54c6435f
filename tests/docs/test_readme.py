"""The README's examples run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def example(label: str) -> str:
    (code,) = re.findall(rf"```python {label}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return code


def run(code: str, folder: Path) -> str:
    # On a machine that has no kernels yet, what an example needs is compiled first.
    process = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=280)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize("label", ["embedded", "server", "tables"])
def test_examples_have_about_thirty_lines(label):
    assert len(example(label).splitlines()) <= 33


def test_the_embedded_example_runs(tmp_path):
    printed = run(example("embedded"), tmp_path)
    assert "'lang': 'de'" in printed
    assert "'lang': 'fr'" in printed
    assert "relative error" in printed


def test_the_embedded_example_runs_again_on_its_own_store(tmp_path):
    code = example("embedded")
    run(code, tmp_path)
    assert "'lang': 'fr'" in run(code, tmp_path)


def test_the_tables_example_runs(tmp_path):
    printed = run(example("tables"), tmp_path)
    assert "(2, 2, 16)" in printed


def test_the_server_example_runs(tmp_path):
    command = [sys.executable, "-m", "vecstore", "serve", str(tmp_path / "store"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().split()[-1]
            printed = run(example("server").replace("localhost:7700", address), tmp_path)
        finally:
            server.terminate()
    assert "film-5" in printed
    assert server.returncode == 0
