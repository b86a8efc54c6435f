"""Help, version, and what the commands cost to start."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import vecstore
from vecstore.cli.main import cli


def test_the_commands_are_those_documented():
    assert sorted(cli.commands) == [
        "advise",
        "bench",
        "compress",
        "delete",
        "drop",
        "export",
        "fit",
        "import",
        "list",
        "lookup",
        "optimize",
        "search",
        "serve",
        "stats",
        "verify",
        "warmup",
    ]


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_explains_itself_with_an_example(run, name):
    text = run(name, "--help").output
    assert text.startswith(f"Usage: cli {name}")
    assert f"\n    vecstore {name} " in text
    assert run(name, "-h").output == text


def test_each_option_has_a_help_text():
    for name, command in cli.commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.name}"


def test_version(run):
    assert run("--version").output == f"vecstore, version {vecstore.__version__}\n"


def test_usage_errors_exit_2(run):
    assert "No such command" in run("serach", code=2).output
    assert "Missing argument 'STORE'" in run("stats", code=2).output


def test_help_loads_nothing_heavy():
    heavy = ("numba", "pyarrow", "grpc", "rich", "lmdb", "hnswlib", "sqlglot", "vecstore.database", "vecstore_server")
    code = (
        "import sys\nfrom vecstore.cli.main import cli\n"
        "cli(['import', '--help'], standalone_mode=False)\n"
        f"print('LOADED', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n")


def test_examples_name_schemes_that_there_are(run):
    from vecstore import schemes

    named = [
        word
        for name in cli.commands
        for line in run(name, "--help").output.splitlines()
        for word in re.findall(r"vecstore compress \S+ \S+ (\w+)|--(?:refine|scheme) (\w+)", line)
        if line.strip().startswith("vecstore ")
    ]
    assert {word for pair in named for word in pair if word} - set(schemes.names()) == set()
    assert len(named) >= 2


def test_serve_explains_the_token_file(run):
    assert "'read TOKEN' or 'write TOKEN'" in " ".join(run("serve", "--help").output.split())
