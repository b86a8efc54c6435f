"""The command as a process: serving, signals, pipes."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import vecstore

START = [sys.executable, "-W", "error", "-c", "from vecstore.cli.main import main; main()"]


@contextmanager
def serving(*arguments) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run ``vecstore serve`` and give the process and its address."""
    command = [*START, "serve", *(str(argument) for argument in arguments), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on "), process.stderr.read()
        yield process, "grpc://" + line.removeprefix("listening on ").strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_on_a_signal(store, number):
    with serving(store) as (process, _):
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def test_every_command_works_through_a_server(run, store, tmp_path, vectors, contents):
    before = contents(store, "docs")
    with serving(store) as (_, address):
        (figures,) = json.loads(run("list", address, "--json").stdout)
        assert (figures["name"], figures["rows"]) == ("docs", 60)
        assert "hnsw" in run("stats", address, "docs").stdout
        hits = run("search", address, "docs", "--id", 104, "-k", 3, "--json").stdout.splitlines()
        expected = 100 + np.argsort(((vectors - vectors[4]) ** 2).sum(axis=1))[1:4]
        assert [json.loads(line)["id"] for line in hits] == expected.tolist()
        run("export", address, "docs", tmp_path / "out.parquet")
        run("import", address, "copy", tmp_path / "out.parquet", "--batch-size", 7)
        assert run("verify", address).stdout == "ok: all checksums of 2 collections match\n"
        assert "compressed 60 rows" in run("compress", address, "docs", "int8").stdout
        assert run("delete", address, "docs", "--where", "lang = 'de'").stdout == "deleted 30 rows of 'docs'\n"
        assert run("delete", address, "docs", "--ids", "100").stdout == "deleted 1 rows of 'docs'\n"
        assert "29 rows" in run("optimize", address, "docs").stdout
        run("drop", address, "docs", "--yes")
        assert "error: " in run("stats", address, "docs", code=1).stderr
    assert contents(store, "copy") == before


def test_tokens(run, store, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("read secret-of-the-reader\n")
    tokens.chmod(0o600)
    with serving(store, "--token-file", tokens) as (_, address):
        assert "error: " in run("list", address, code=1).stderr
        assert "error: " in run("list", address, "--token", "wrong-token-of-nobody", code=1).stderr
        assert "docs" in run("list", address, "--token", "secret-of-the-reader").stdout
        assert "error: " in run("drop", address, "docs", "--yes", "--token", "secret-of-the-reader", code=1).stderr
        environment = os.environ | {"VECSTORE_TOKEN": "secret-of-the-reader"}
        done = subprocess.run([*START, "list", address], env=environment, capture_output=True, text=True, check=True)
        assert "docs" in done.stdout


def test_nobody_answers(run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert str(port) in run("list", f"grpc://127.0.0.1:{port}", code=1).stderr


def test_serve_refuses_what_it_cannot_do(run, store, tmp_path):
    with serving(store):
        result = subprocess.run(
            [*START, "serve", str(store), "--port", "0"], capture_output=True, text=True, check=False
        )
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.stderr
    (tmp_path / "bad.toml").write_text("port = 'x'")
    assert "port" in run("serve", store, "--config", tmp_path / "bad.toml", code=1).stderr
    assert "tls_key" in run("serve", store, "--tls-cert", tmp_path / "bad.toml", code=1).stderr
    assert "--port" in run("serve", store, "--port", "70000", code=2).stderr


def test_serve_without_grpc_says_what_to_install(store):
    code = "import sys\nsys.modules['grpc'] = None\nfrom vecstore.cli.main import cli\ncli(['serve', sys.argv[1]])"
    done = subprocess.run([sys.executable, "-c", code, str(store)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: serve needs grpc: pip install 'vecstore[server]'\n"


def test_a_closed_pipe_is_quiet(store):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        for command in (["stats", str(store), "--json"], ["stats", str(store), "docs"]):
            done = subprocess.run([*START, *command], stdout=out, stderr=subprocess.PIPE, check=False)
            assert (done.returncode, done.stderr) == (1, b"")


def test_writing_beside_a_writer_is_answered_for_the_shell(store):
    with vecstore.open(store):
        command = [sys.executable, "-m", "vecstore", "optimize", str(store), "docs"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "'vecstore serve'" in ended.stderr
    assert "mode=" not in ended.stderr


def test_reading_works_beside_a_writer(store):
    with vecstore.open(store):
        for command, code in ((["stats", str(store)], 0), (["optimize", str(store), "docs"], 1)):
            done = subprocess.run([*START, *command], capture_output=True, text=True, check=False)
            assert done.returncode == code, done.stderr
        assert done.stderr.startswith("error: ")
        assert "another process" in done.stderr


def test_progress_is_shown_on_a_terminal_only(tmp_path, vectors):
    np.savez(tmp_path / "data.npz", vectors=vectors)
    command = [*START, "import", str(tmp_path / "s"), "docs", str(tmp_path / "data.npz")]
    terminal, side = pty.openpty()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=side, text=True, check=True)
        shown = os.read(terminal, 65_536).decode()
    finally:
        os.close(side)
        os.close(terminal)
    assert "importing" in shown
    assert "rows/s" in shown
    assert done.stdout.startswith("imported 60 rows")
    assert done.stdout.count("\n") == 1
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "importing" not in done.stderr
