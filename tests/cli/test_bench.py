"""``vecstore bench``: what it lists, what it loads, and what it says where packages are missing."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from tests.bench import runs
from vecstore_bench.commands import COMMANDS, Entry, load


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_entry_is_a_command_that_is_listed(run, name):
    assert isinstance(load(name), click.Command)
    listed = " ".join(run("bench", "--help").output.split())
    assert f"{name} {COMMANDS[name].help}" in listed
    assert run("bench", name, "--help").output.startswith(f"Usage: cli bench {name}")


def test_listing_imports_no_measurement():
    heavy = ("torch", "numba", "pyarrow", "matplotlib", "jinja2", "rich", "vecstore_bench.ctr", "vecstore_bench.report")
    code = (
        "import sys\nfrom vecstore.cli.main import cli\n"
        "cli(['bench', '--help'], standalone_mode=False)\n"
        f"print('LOADED', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n")
    assert "report" in done.stdout


def test_help_of_all_commands_does_not_need_the_package():
    code = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "vecstore_bench":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from vecstore.cli.main import cli
cli(sys.argv[1:])
"""
    for arguments, status in ((["--help"], 0), (["bench", "--help"], 1), (["bench", "ctr"], 1)):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert ("bench" in done.stdout) == (status == 0)
        missing = "error: bench needs vecstore_bench: pip install 'vecstore[bench,train]'\n"
        assert done.stderr == ("" if status == 0 else missing)


@pytest.mark.parametrize(("package", "name"), [("torch", "ctr"), ("matplotlib", "report"), ("jinja2", "report")])
def test_a_missing_package_is_named_with_the_command_to_get_it(package, name):
    code = (
        f"import sys\nsys.modules[{package!r}] = None\nfrom vecstore.cli.main import cli\n"
        f"cli(['bench', {name!r}, '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: bench {name} needs {package}: pip install 'vecstore[bench,train]'\n"


def test_other_missing_modules_are_not_taken_for_missing_packages(monkeypatch):
    from vecstore.cli.main import cli

    monkeypatch.setattr("vecstore_bench.commands.COMMANDS", {"ctr": Entry("vecstore_bench.nothing", "None.")})
    with pytest.raises(ModuleNotFoundError, match=r"vecstore_bench\.nothing"):
        cli(["bench", "ctr"], standalone_mode=False)


def test_unknown_commands_are_usage_errors(run):
    assert "No such command 'ctrl'" in run("bench", "ctrl", code=2).output


def test_a_report_is_made_and_errors_are_messages(run, tmp_path):
    folder = runs.write(
        tmp_path / "run", [cell for cell in runs.made_up() if cell["scheme"] in ("full", "int8", "mde")]
    )
    printed = run("bench", "report", folder).output
    assert "int8 at 50 %" in printed
    assert (folder / "report.html").exists()
    assert "error: " in run("bench", "report", tmp_path / "nothing", code=1).output
