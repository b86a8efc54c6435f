"""Options and values that several commands share."""

from __future__ import annotations

from typing import Any

import click

from vecstore.errors import InvalidArgumentError

where_option = click.option(
    "--where", metavar="FILTER", help="Only rows that match, e.g. \"lang = 'de' AND year >= 2015\"."
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")


def examples(*lines: str) -> str:
    """Give the end of a command's help: example lines that click does not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


class _Scheme(click.ParamType[Any]):
    """A scheme by name, or its JSON config where the text begins with a brace."""

    name = "scheme"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | dict[str, Any]:
        """Give the name or the config; whether there is such a scheme is for the database to say."""
        if not isinstance(value, str) or not value.lstrip().startswith("{"):
            return value  # type: ignore[no-any-return]
        from vecstore.config import decode_json

        try:
            config: dict[str, Any] = decode_json(value.encode())
        except InvalidArgumentError as error:
            self.fail(str(error), param, ctx)
        return config


SCHEME = _Scheme()


class _Budget(click.ParamType[Any]):
    """Bytes, or a fraction such as 0.0625 or 1/16."""

    name = "budget"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | int:
        """Give an int for bytes and a float for a fraction."""
        try:
            if value.isdigit():
                return int(value)
            above, _, below = value.partition("/")
            return float(above) / float(below or 1)
        except (ValueError, ZeroDivisionError):
            self.fail(f"expected bytes, or a fraction such as 0.0625 or 1/16, got {value!r}", param, ctx)


BUDGET = _Budget()


def scheme_name(scheme: str | dict[str, Any] | None) -> str | None:
    """Give the name of a scheme from its name or config."""
    return scheme.get("scheme") if isinstance(scheme, dict) else scheme


def parse_ids(texts: tuple[str, ...], id_type: str) -> list[int] | list[str]:
    """Give ids from the command line in the type of the collection.

    Parameters
    ----------
    texts : tuple of str
        Each one id, several with commas between, or a JSON array (for strings with commas in them).
    id_type : {"int64", "string", ""}
        Type of the collection's ids; empty where it has none yet.

    Raises
    ------
    InvalidArgumentError
        Not integers where the collection has integers; not a JSON array.
    """
    values: list[str] = []
    for text in texts:
        values += _json_array(text) if text.lstrip().startswith("[") else [part.strip() for part in text.split(",")]
    if id_type == "string":
        return values
    try:
        return [int(value) for value in values]
    except ValueError:
        raise InvalidArgumentError(f"ids: the ids of this collection are integers, got {', '.join(values)}") from None


def _json_array(text: str) -> list[str]:
    from vecstore.config import decode_json

    values = decode_json(text.encode())
    if not isinstance(values, list):
        raise InvalidArgumentError(f"ids: expected a JSON array, got {text}")
    return [str(value) for value in values]
