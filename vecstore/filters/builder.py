"""Build filters in Python: ``(col("lang") == "de") & (col("year") >= 2015)``."""

from __future__ import annotations

from collections.abc import Iterable

from vecstore.errors import FilterError
from vecstore.filters.ast import Between, Compare, Contains, Filter, In, IsNull, Like, Value


def col(name: str) -> Column:
    """Name a metadata column, to be compared.

    Parameters
    ----------
    name : str
        The column; upper and lower case differ.

    Returns
    -------
    Column
        Compare it with ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` or one of its methods to get a
        :class:`Filter`.

    Raises
    ------
    FilterError
        The name is empty or not a string.
    """
    return Column(name)


class Column:
    """A column to compare; see :func:`col`. Datetimes without a time zone mean UTC."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = IsNull(name).column

    def __repr__(self) -> str:
        return f"col({self.name!r})"

    def __eq__(self, value: Value) -> Filter:  # type: ignore[override]
        return Compare(self.name, "eq", value)

    def __ne__(self, value: Value) -> Filter:  # type: ignore[override]
        return Compare(self.name, "ne", value)

    def __lt__(self, value: Value) -> Filter:
        return Compare(self.name, "lt", value)

    def __le__(self, value: Value) -> Filter:
        return Compare(self.name, "le", value)

    def __gt__(self, value: Value) -> Filter:
        return Compare(self.name, "gt", value)

    def __ge__(self, value: Value) -> Filter:
        return Compare(self.name, "ge", value)

    # Equality builds a filter, so a column cannot be a key.
    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise FilterError(
            f"where: column {self.name!r} is not true or false by itself; write .is_true() for a bool column, and "
            "join filters with & | ~",
            field="where",
        )

    def is_true(self) -> Filter:
        """Keep rows whose bool column is true."""
        return Compare(self.name, "eq", True)

    def is_null(self) -> Filter:
        """Keep rows without a value; ``~col(name).is_null()`` keeps those with one."""
        return IsNull(self.name)

    def between(self, low: Value, high: Value) -> Filter:
        """Keep values from ``low`` to ``high``, both included."""
        return Between(self.name, low, high)

    def isin(self, values: Iterable[Value]) -> Filter:
        """Keep rows that equal one of ``values`` (1 to 10,000).

        Raises
        ------
        FilterError
            No values, too many, or a string where a list of them is meant.
        """
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise FilterError(
                f"where: isin on column {self.name!r} takes a list of values, got {values!r}", field="where"
            )
        return In(self.name, tuple(values))

    def like(self, pattern: str) -> Filter:
        r"""Match the whole string: ``%`` is any characters, ``_`` one character, ``\`` escapes."""
        return Like(self.name, pattern)

    def contains(self, value: str) -> Filter:
        """Keep rows whose list has the item ``value``."""
        return Contains(self.name, value)
