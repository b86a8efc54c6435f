"""A real store, a server over it on a free port, and a connection to that."""

from __future__ import annotations

import pytest

import vecstore
from tests.server.helpers import serving


@pytest.fixture
def store(tmp_path):
    """Give an embedded database."""
    with vecstore.open(tmp_path / "store") as database:
        yield database


@pytest.fixture
def address(store):
    """Give the address of a server over ``store``."""
    with serving(store) as where:
        yield where


@pytest.fixture
def remote(address):
    """Give a remote database over ``store``."""
    with vecstore.connect(address, timeout=60) as database:
        yield database
