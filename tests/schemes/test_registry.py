"""The registry, and the rules that the type system cannot say."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from vecstore import schemes
from vecstore.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from vecstore.schemes.base import Scheme
from vecstore.schemes.full import Full
from vecstore.schemes.int8 import Int8


class Twice(Full, frozen=True, kw_only=True, tag="twice"):
    """A scheme of another distribution."""

    name = "twice"


class Pretender(Full, frozen=True, kw_only=True, tag="pretender"):
    """A scheme that takes the name of another."""

    name = "int8"


def test_names_are_sorted_and_found():
    assert schemes.names() == sorted(schemes.names())
    assert {"full", "float16", "int8"} <= set(schemes.names())
    assert schemes.get("int8") is Int8


def test_unknown_names_list_the_known_ones():
    with pytest.raises(NotFoundError, match="float16, full, int8"):
        schemes.get("int9")
    with pytest.raises(InvalidArgumentError, match="float16, full, int8"):
        schemes.from_config("int9")


@pytest.mark.parametrize("config", [None, 8, {}, {"scheme": 3}, ["int8"], {"name": "int8"}])
def test_what_is_no_config(config):
    with pytest.raises(InvalidArgumentError, match="scheme: expected a name"):
        schemes.from_config(config)


def test_registering_twice_is_fine_but_not_another_class_of_the_name():
    registry = schemes.Registry(Int8)
    assert registry.register(Int8) is Int8
    with pytest.raises(AlreadyExistsError, match="int8"):
        registry.register(Pretender)


def test_other_distributions_add_schemes(monkeypatch):
    entry = EntryPoint("twice", f"{__name__}:Twice", schemes.ENTRY_POINTS)
    monkeypatch.setattr(schemes, "entry_points", lambda group: [entry] if group == schemes.ENTRY_POINTS else [])
    registry = schemes.Registry(Full)
    assert registry.names() == ["full", "twice"]
    assert registry.get("twice").__name__ == "Twice"


def test_a_scheme_that_lacks_a_method_cannot_be_made():
    class Half(Scheme, frozen=True, kw_only=True, tag="half"):
        """Lacks everything."""

    with pytest.raises(TypeError, match="abstract"):
        Half()
