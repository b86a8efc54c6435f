"""Any compressed table as one that has fields, which is the only kind that is stored as an embedding table."""

from __future__ import annotations

from typing import Any

from vecstore.errors import InvalidArgumentError, VecstoreError
from vecstore.schemes.base import CompressedTable
from vecstore.schemes.fields import Field, Fields, FieldsTable, Part
from vecstore.types import ArrayForm

__all__ = ["ROW_FIELD", "as_fields_table", "reopened"]

#: Name of the single field of a table that has none of its own.
ROW_FIELD = "row"


def as_fields_table(frozen: Any) -> FieldsTable:
    """Give a compressed table as one that has fields.

    Raises
    ------
    InvalidArgumentError
        It is no compressed table.
    """
    if isinstance(frozen, FieldsTable):
        return frozen
    if not isinstance(frozen, CompressedTable):
        hint = "; call its freeze() first" if callable(getattr(frozen, "freeze", None)) else ""
        raise InvalidArgumentError(
            f"frozen: expected a compressed table, as layer.freeze() or scheme.fit(...) give, "
            f"got {type(frozen).__name__}{hint}",
            field="frozen",
        )
    if not frozen.shape.rows:
        raise InvalidArgumentError("frozen: the table has no rows", field="frozen")
    field = Field(name=ROW_FIELD, size=frozen.shape.rows)
    return FieldsTable(Fields(fields=(field,), parts=(Part(scheme=frozen.scheme.to_dict()),)), (frozen,))


def reopened(table: FieldsTable) -> FieldsTable:
    """Give the table that a reader will have of this one's config and arrays.

    Raises
    ------
    InvalidArgumentError
        It cannot be opened: an unknown scheme, or arrays that do not fit the config.
    """
    try:
        opened = Fields.from_dict(table.scheme.to_dict()).open(table.shape, dict(table.arrays()))
    except VecstoreError as error:
        raise InvalidArgumentError(f"frozen: the table cannot be stored: {error}", field="frozen") from None
    forms = {name: ArrayForm(array.dtype.type, array.shape) for name, array in table.arrays().items()}
    if forms != table.scheme.array_forms(table.shape):
        raise InvalidArgumentError("frozen: the table has arrays that its scheme does not open", field="frozen")
    return opened
