"""``vecstore bench``: the measurements of the package ``vecstore_bench``, each imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from vecstore.cli.options import examples
from vecstore.errors import MissingDependencyError

#: Top-level packages that the measurements need beyond the library, and ``vecstore_bench`` itself.
_BENCH_PACKAGES = frozenset({"jinja2", "matplotlib", "psutil", "torch", "vecstore_bench"})


class _BenchGroup(click.Group):
    """Finds its commands in a table of names, so that ``--help`` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Give the names, sorted."""
        with _dependencies("bench"):
            from vecstore_bench.commands import COMMANDS
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        with _dependencies(f"bench {cmd_name}"):
            from vecstore_bench.commands import load

            return load(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the names with the table's lines; click's own would import every command."""
        with _dependencies("bench"):
            from vecstore_bench.commands import COMMANDS
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in sorted(COMMANDS.items())])


@contextmanager
def _dependencies(what: str) -> Iterator[None]:
    """Turn a missing package of the extras into an error with the pip command."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _BENCH_PACKAGES:
            raise
        raise MissingDependencyError(f"{what} needs {error.name}: pip install 'vecstore[bench,train]'") from None


@click.group(
    "bench",
    cls=_BenchGroup,
    short_help="Measure schemes, and report.",
    epilog=examples(
        "vecstore bench ctr --data synthetic --schemes full,hash,int8 --budgets 0.5,0.1 --seeds 3 --out ./run",
        "vecstore bench report ./run",
    ),
)
def bench_command() -> None:
    """Run the measurements behind the published figures, and report what a run found.

    bench/README.md says what each measures and which data it takes.
    """
