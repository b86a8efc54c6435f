"""Values of options that are lists, separated by commas."""

from __future__ import annotations

import click

__all__ = ["numbers", "words", "words_of"]


def words_of(text: str) -> tuple[str, ...]:
    """Give words that are separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def words(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Give the words of an option; None where it is not given."""
    return None if value is None else words_of(value)


def numbers(_: click.Context, option: click.Parameter, value: str | None) -> tuple[float | int, ...]:
    """Give the numbers of an option; those with a point or an exponent are fractions."""
    try:
        return tuple(int(text) if text.isdigit() else float(text) for text in words_of(value or ""))
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected such as 0.1,0.01 or whole numbers", param=option) from None
