"""A real headless Chromium that looks at a page; messages of the page's console are read from its log."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

#: "required" turns the skip of a missing browser into a failure; .ci/run sets it.
_ENVIRONMENT = "VECSTORE_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Whatever a page would load from elsewhere fails, and says so in the console.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a page: what it wrote to the console, and the output of the browser."""

    console: list[str]
    output: str


class Browser:
    """Opens files, each in a fresh profile under ``folder``."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._runs = 0

    def screenshot(self, page: Path, to: Path, *, width: int, height: int, dark: bool = False) -> Seen:
        """Write a PNG of a page as it is drawn in a window of that size."""
        theme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        return self._open(page, f"--screenshot={to}", f"--window-size={width},{height}", *theme)

    def document(self, page: Path) -> Seen:
        """Give the page's HTML after its scripts ran."""
        return self._open(page, "--dump-dom")

    def _open(self, page: Path, *flags: str) -> Seen:
        self._runs += 1
        command = [self._program, *_FLAGS, f"--user-data-dir={self._folder / str(self._runs)}", *flags, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
        return Seen(re.findall(r":CONSOLE[:(].*", done.stderr), done.stdout)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Give a browser, or skip the test where there is none."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        missing = "there is no Chromium here (apt-get install chromium)"
        if os.environ.get(_ENVIRONMENT) == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    return Browser(program, tmp_path_factory.mktemp("browser"))
