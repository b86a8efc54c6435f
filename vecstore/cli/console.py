"""What the commands print: tables, JSON lines, notes and progress bars.

The only module that imports rich, and only when something is drawn, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

#: Width of tables that do not go to a terminal: wide enough that nothing is wrapped or cut off there.
_FILE_WIDTH = 10_000
#: Longest text in a cell of a table; ``--json`` shows everything.
_MAX_CELL = 80


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to stdout; numbers are aligned to the right.

    Parameters
    ----------
    title : str
        Line above the table; empty for none.
    columns : sequence of str
        Headings.
    rows : iterable of sequences
        One value a column; None is shown as ``-``.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    table = Table(box=SIMPLE_HEAD)
    for position, name in enumerate(columns):
        numeric = bool(cells) and all(isinstance(row[position], int | float | None) for row in cells)
        table.add_column(Text(_printable(name)), justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell_text(value)) for value in row))
    _print(title, table)


def show_facts(title: str, facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False)
    for name, value in facts:
        table.add_row(Text(name), Text(cell_text(value)))
    _print(title, table)


def cell_text(value: object) -> str:
    """Give a value as it stands in a table: short, on one line, without control characters."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case list():
            text = ", ".join(map(str, value))
        case _:
            text = str(value)
    text = _printable(text)
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…"


def show_json(value: Any) -> None:
    """Print plain types as one line of JSON."""
    from vecstore.config import encode_json

    click.echo(encode_json(value).decode())


def note(text: str, *, quiet: bool = False) -> None:
    """Tell something worth knowing on stderr."""
    if not quiet:
        click.echo(f"note: {text}", err=True)


def _print(title: str, table: Table) -> None:
    from rich.console import Console

    if title:
        click.echo(_printable(title))
    Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, highlight=False).print(table)


@contextmanager
def progress(label: str, total: int | None, *, quiet: bool, unit: str = "rows") -> Iterator[Callable[[int], None]]:
    """Show a bar with the speed on stderr while the block runs; nothing where stderr is no terminal.

    Yields
    ------
    callable
        To be called with the number of rows, or whatever ``unit`` names, just done.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate=f"- {unit}/s")

        def advance(rows: int) -> None:
            bar.advance(task, rows)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"- {unit}/s" if speed is None else _speed(speed, unit))

        yield advance


def _speed(speed: float, unit: str) -> str:
    return f"{speed:,.0f} {unit}/s" if speed >= 1 else f"{1 / max(speed, 1e-9):,.0f} s each"


def _printable(text: str) -> str:
    """Spell out control characters: what is stored must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
