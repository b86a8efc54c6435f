"""The ``vecstore`` command itself: its sub-commands, and what errors become."""

from __future__ import annotations

import errno
from typing import IO, Any

import click

import vecstore
from vecstore.cli.advising import advise_command
from vecstore.cli.benching import bench_command
from vecstore.cli.changing import compress_command, delete_command, drop_command, optimize_command
from vecstore.cli.fitting import fit_command
from vecstore.cli.inspecting import list_command, stats_command, verify_command
from vecstore.cli.looking_up import lookup_command
from vecstore.cli.options import examples
from vecstore.cli.searching import search_command
from vecstore.cli.serving import serve_command
from vecstore.cli.transfer import export_command, import_command
from vecstore.cli.warming import warmup_command
from vecstore.errors import VecstoreError

#: Exit status of a program that was interrupted: 128 + SIGINT.
_INTERRUPTED = 130


#: Advice in messages of the library, and what a shell can do instead.
_ADVICE = (
    ("open it with mode='w' to create one", "check the path, or make one with 'vecstore import'"),
    ("list_collections() names those there are", "'vecstore list STORE' names those there are"),
    ("list_tables() names those there are", "'vecstore list STORE' names those there are"),
    (
        "Use the server to write from several, or open with mode='r'",
        "Stop it, or let 'vecstore serve' hold the store and write grpc://HOST:PORT; commands that read work beside it",
    ),
    ("open with mode='r' or choose another path", "choose another path"),
    (
        "pass smaller batches, or use insert_many, which is whole by chunk and not by call",
        "pass a smaller --batch-size",
    ),
)


class _Failure(click.ClickException):
    """An error as the user meets it: one message on stderr, exit status 1, no traceback."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class _Group(click.Group):
    """Runs commands and turns their errors into messages."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command of the line."""
        try:
            return super().invoke(ctx)
        except VecstoreError as error:
            raise _Failure(_for_shell(str(error))) from error
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except OSError as error:
            # click ends quietly when nobody reads our output any more.
            if error.errno == errno.EPIPE:
                raise
            raise _Failure(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error


def _for_shell(message: str) -> str:
    """Put commands in the place of advice that only a Python program can follow."""
    for advice, instead in _ADVICE:
        message = message.replace(advice, instead)
    return message


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "vecstore import ./store docs docs.parquet --scheme int8",
        "vecstore search ./store docs --id 17",
        "vecstore serve ./store",
    ),
)
@click.version_option(vecstore.__version__, prog_name="vecstore")
def cli() -> None:
    """Serve, fill, search and inspect vector stores whose stored form is learned compression.

    STORE is the folder of a store, or grpc://HOST:PORT of a server (grpcs:// with TLS), whose token is taken
    from VECSTORE_TOKEN.
    """


for _command in (
    serve_command,
    import_command,
    export_command,
    fit_command,
    search_command,
    lookup_command,
    stats_command,
    list_command,
    verify_command,
    compress_command,
    advise_command,
    optimize_command,
    delete_command,
    drop_command,
    warmup_command,
    bench_command,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line of this process."""
    cli(prog_name="vecstore")
