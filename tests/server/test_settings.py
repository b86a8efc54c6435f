"""Settings from a file, the environment and arguments."""

from __future__ import annotations

import pytest

import vecstore
from vecstore_server import ServerSettings, load_settings


def test_defaults():
    settings = load_settings(environment={})
    assert settings == ServerSettings()
    assert (settings.host, settings.port, settings.max_message_bytes) == ("127.0.0.1", 7700, 64 * 2**20)


def test_later_sources_win(tmp_path):
    path = tmp_path / "server.toml"
    path.write_text('host = "::1"\nport = 1\nworkers = 4\ngrace_seconds = 2\n')
    settings = load_settings(
        path,
        environment={"VECSTORE_PORT": "2", "VECSTORE_WORKERS": "6", "VECSTORE_UNRELATED": "x"},
        arguments={"port": 3, "max_k": None},
    )
    assert (settings.host, settings.port, settings.workers, settings.grace_seconds) == ("::1", 3, 6, 2.0)
    assert settings.long_calls == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "colour"),
        ('port = "high"', "port"),
        ("port = 70000", "0 to 65535"),
        ("workers = 1", "2 to"),
        ('host = ""', "host"),
        ('tls_cert = "a"', "tls_key"),
        ("=", "not TOML"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "server.toml"
    path.write_text(text)
    with pytest.raises(vecstore.InvalidArgumentError, match=message):
        load_settings(path, environment={})


def test_other_bad_sources(tmp_path):
    with pytest.raises(vecstore.InvalidArgumentError, match="VECSTORE_PORT"):
        load_settings(environment={"VECSTORE_PORT": "high"})
    with pytest.raises(vecstore.InvalidArgumentError, match="colour"):
        load_settings(environment={}, arguments={"colour": 1})
    with pytest.raises(vecstore.InvalidArgumentError, match="cannot be read"):
        load_settings(tmp_path / "nowhere.toml", environment={})
