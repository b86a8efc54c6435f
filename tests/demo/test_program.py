"""The demo as a program, with a real server process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from vecstore.errors import UnavailableError
from vecstore_bench.demo import run, server_process
from vecstore_bench.demo.server_process import ServerProcess


def _serve_with(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(server_process, "_SERVE", code)


def test_server_address_is_read_from_its_output(monkeypatch, tmp_path):
    _serve_with(monkeypatch, "import time; print('hello\\nlistening on 127.0.0.1:4321', flush=True); time.sleep(60)")
    server = ServerProcess(tmp_path / "store", tmp_path / "log")
    try:
        assert server.address == "127.0.0.1:4321"
        assert server.pid > 0
    finally:
        server.kill()


def test_stop_kills_a_server_that_does_not_end(monkeypatch, tmp_path):
    monkeypatch.setattr(server_process, "STOP_TIMEOUT", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('listening on h:1', flush=True)"
    _serve_with(monkeypatch, f"{code}; time.sleep(60)")
    ServerProcess(tmp_path / "store", tmp_path / "log").stop()


def test_a_server_that_ends_at_once_is_reported_with_its_log(monkeypatch, tmp_path):
    _serve_with(monkeypatch, "import sys; sys.exit('no room for a store')")
    with pytest.raises(UnavailableError, match="no room for a store"):
        ServerProcess(tmp_path / "store", tmp_path / "log")


def test_a_silent_server_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(server_process, "START_TIMEOUT", 0.2)
    _serve_with(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(UnavailableError, match="did not listen"):
        ServerProcess(tmp_path / "store", tmp_path / "log")


def test_a_directory_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    result = CliRunner().invoke(run.main, ["--store", str(tmp_path)])
    assert result.exit_code == 1
    assert "not empty" in result.output
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(("is_intact", "exit_code"), [(True, 0), (False, 1)])
def test_exit_code_tells_whether_the_store_survived(monkeypatch, tmp_path, is_intact, exit_code):
    monkeypatch.setattr(run.Demo, "run", lambda _: is_intact)
    result = CliRunner().invoke(run.main, ["--store", str(tmp_path / "new")])
    assert result.exit_code == exit_code
    assert not (tmp_path / "new").exists()


def test_keep_leaves_the_store(monkeypatch, tmp_path):
    monkeypatch.setattr(run.Demo, "run", lambda _: True)
    assert CliRunner().invoke(run.main, ["--store", str(tmp_path / "new"), "--keep"]).exit_code == 0
    assert (tmp_path / "new").is_dir()


def test_the_demo_does_not_need_torch():
    code = "import sys, vecstore_bench.demo.run; sys.exit(not {'torch', 'transformers'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_whole_demo_survives_its_crash(tmp_path):
    result = CliRunner().invoke(run.main, ["--store", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    assert "questions with the same ten answers: 240 of 240" in result.output
    assert "distances identical: yes" in result.output
    assert "checksum problems: 0" in result.output
    assert "written.just.before.the.crash" in result.output.replace("\n", "")
