"""``vecstore serve``: a store for other processes and machines."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from vecstore.cli.options import examples
from vecstore.errors import MissingDependencyError

#: Top-level packages of the extra ``server``.
_SERVER_PACKAGES = frozenset({"google", "grpc", "grpc_health", "grpc_reflection", "grpc_status"})
_FILE = click.Path(exists=True, dir_okay=False)


@click.command(
    "serve",
    short_help="Serve a store over gRPC.",
    epilog=examples(
        "vecstore serve ./store",
        "vecstore serve ./store --host 0.0.0.0 --token-file tokens.txt --tls-cert cert.pem --tls-key key.pem",
    ),
)
@click.argument("path", type=click.Path(file_okay=False, path_type=Path))
@click.option("--host", help="Address to listen at.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen at; 0 takes a free one.  [default: 7700]")
@click.option("--token-file", type=_FILE, help="File of bearer tokens, one 'ROLE TOKEN' a line (see below).")
@click.option("--tls-cert", type=_FILE, help="PEM file of the certificate chain.")
@click.option("--tls-key", type=_FILE, help="PEM file of the private key.")
@click.option("--workers", type=click.IntRange(2, 1_024), help="Threads that answer calls.  [default: 16]")
@click.option("--config", type=_FILE, help="TOML file with these settings and the limits.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="What is logged to stderr.",
)
def serve_command(
    path: Path,
    host: str | None,
    port: int | None,
    token_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    workers: int | None,
    config: str | None,
    log_level: str,
) -> None:
    """Serve the store in the folder PATH over gRPC until SIGTERM or Ctrl-C; it is created where there is none.

    Prints one line 'listening on HOST:PORT' when calls are taken. Options win over the environment
    (VECSTORE_PORT and the like), and that wins over the file of --config.

    A token file has one 'read TOKEN' or 'write TOKEN' a line; write includes reading, and a token has at least 16
    characters without spaces. Empty lines and lines that start with # do not count. Without a token file everyone
    who reaches the server may do everything. docs/usage.md lists all settings and limits.
    """
    try:
        from vecstore_server import load_settings, serve
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _SERVER_PACKAGES:
            raise
        raise MissingDependencyError(f"serve needs {error.name}: pip install 'vecstore[server]'") from None
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = load_settings(
        config,
        arguments={
            "host": host,
            "port": port,
            "token_file": token_file,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
            "workers": workers,
        },
    )
    serve(path, settings=settings, on_listening=_say_listening)


def _say_listening(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"listening on {shown}:{port}")
