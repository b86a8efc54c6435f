"""A store, and the same store embedded and through a server."""

from __future__ import annotations

import pytest

import vecstore
from tests.server.helpers import serving


@pytest.fixture
def store(tmp_path):
    """Give an embedded database."""
    with vecstore.open(tmp_path / "store") as database:
        yield database


@pytest.fixture(params=["embedded", "remote"])
def database(request, store):
    """Give ``store`` itself, and a connection to a server over it."""
    if request.param == "embedded":
        yield store
        return
    with serving(store, workers=16) as address, vecstore.connect(address, timeout=60) as remote:
        yield remote
