"""The registry, and the rules that the type system cannot say."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.golden.make_schemes import CONFIGS
from tests.schemes.tables import CASES, table_of
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
    known = re.escape(", ".join(schemes.names()))
    with pytest.raises(NotFoundError, match=known):
        schemes.get("int9")
    with pytest.raises(InvalidArgumentError, match=known):
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
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [entry] if group == schemes.ENTRY_POINTS else []
    )
    registry = schemes.Registry(Full)
    assert registry.names() == ["full", "twice"]
    assert registry.get("twice").__name__ == "Twice"


def test_a_scheme_that_lacks_a_method_cannot_be_made():
    class Half(Scheme, frozen=True, kw_only=True, tag="half"):
        """Lacks everything."""

    with pytest.raises(TypeError, match="abstract"):
        Half()


FILE_FORMAT = (Path(__file__).parents[2] / "docs" / "file-format.md").read_text()


@pytest.mark.parametrize("name", schemes.names())
def test_a_scheme_has_golden_files_a_paper_and_an_account_of_itself(name):
    scheme = schemes.get(name)
    assert scheme.name == name
    assert name in CONFIGS, "add a config to tests/golden/make_schemes.py and run it"
    assert scheme.paper.startswith("none: ") or re.search(r"\b(19|20)\d\d\b", scheme.paper), "paper, with its year"
    assert scheme.paper.startswith("none: ") or "References\n" in scheme.__doc__
    for field in scheme.__struct_fields__:
        assert re.search(rf"^ *{field} : ", scheme.__doc__, re.MULTILINE), f"attribute {field} is not described"
    layer = scheme.layer.partition(":")[0] or f"vecstore.training.{name}"
    assert (find_spec(layer) is not None) == scheme.capabilities.trained


@pytest.mark.parametrize("name", schemes.names())
def test_the_file_format_has_a_row_with_all_arrays_of_a_scheme(name):
    rows = [line for line in FILE_FORMAT.splitlines() if re.match(rf"\|[^|]*`{re.escape(name)}`", line)]
    assert len(rows) == 1, f"docs/file-format.md has {len(rows)} rows of {name}"
    row = rows[0] + (FILE_FORMAT if "as `" in rows[0] else "")
    for case in CASES:
        if case.name == name:
            for key in (key.rpartition(".")[2] for key in table_of(case).arrays()):
                assert re.search(rf"`{re.escape(key)}`|`{key[:-1]}0` \.\.\.", row), f"array {key} is not in the row"
