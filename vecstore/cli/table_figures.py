"""Tables as ``vecstore stats`` shows them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vecstore.cli import console
from vecstore.cli.options import scheme_name

if TYPE_CHECKING:
    from vecstore.api import Table

#: Schemes named in the overview; a table can have one a field.
_SHOWN = 3


def table_figures(table: Table) -> dict[str, Any]:
    """Give all figures of a table as plain types."""
    return {
        "kind": "table",
        "name": table.name,
        "fields": table.fields,
        **asdict(table.stats()),
        "versions": [asdict(version) for version in table.versions()],
    }


def show_tables(tables: list[dict[str, Any]]) -> None:
    """Print one line a table."""
    headings = ("table", "version", "rows", "fields", "dim", "schemes", "bytes", "ratio")
    console.show_table("", headings, [_overview_row(figures) for figures in tables])


def _overview_row(figures: dict[str, Any]) -> list[object]:
    return [
        figures["name"],
        figures["version"],
        figures["rows"],
        len(figures["fields"]),
        figures["dim"],
        _schemes(figures["parts"]),
        figures["nbytes"],
        round(figures["ratio"], 3),
    ]


def _schemes(parts: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(str(scheme_name(part["scheme"])) for part in parts))
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def show_table_details(figures: dict[str, Any]) -> None:
    """Print the figures of one table: its parts and its versions."""
    facts: list[tuple[str, object]] = [
        ("version", figures["version"]),
        ("rows", figures["rows"]),
        ("dim", figures["dim"]),
        ("bytes", figures["nbytes"]),
        ("further bytes on disk", figures["overhead_bytes"]),
        ("ratio to float32", round(figures["ratio"], 3)),
    ]
    console.show_facts(figures["name"], facts)
    headings = ("fields", "scheme", "rows", "bytes", "ratio to float32")
    parts = [
        (part["fields"], scheme_name(part["scheme"]), part["rows"], part["bytes"], round(part["ratio"], 3))
        for part in figures["parts"]
    ]
    console.show_table("Parts", headings, parts)
    versions = [(v["number"], v["created"], v["nbytes"], "yes" if v["current"] else "") for v in figures["versions"]]
    console.show_table("Versions", ("version", "stored", "bytes", "served"), versions)
