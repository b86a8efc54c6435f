"""A ``vecstore serve`` process of our own: started, waited for, stopped, or killed without warning."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from vecstore.errors import UnavailableError

__all__ = ["ServerProcess"]

#: Seconds that a server may take until it listens: the first start on a machine compiles the kernels.
START_TIMEOUT = 90.0
#: Seconds that a server may take to finish its calls and close the store.
STOP_TIMEOUT = 30.0

_LISTENING = re.compile(r"listening on (\S+:\d+)")
_SERVE = "import sys; from vecstore.cli.main import main; sys.exit(main())"


class ServerProcess:
    """One server process over one store.

    Parameters
    ----------
    store : Path
        Directory of the store; created by the server where there is none.
    log : Path
        File that gets what the server writes to its standard error.

    Raises
    ------
    UnavailableError
        The server ended or did not listen in time; the message has the end of its log.
    """

    def __init__(self, store: Path, log: Path) -> None:
        self._log = log
        arguments = [sys.executable, "-c", _SERVE, "serve", str(store), "--port", "0"]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True)
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        try:
            self.address = self._wait_until_listening()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def kill(self) -> None:
        """End the process at once (SIGKILL): it gets no chance to write or close anything."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask the process to finish (SIGTERM), and kill it where it does not."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def _read(self, stream: IO[str]) -> None:
        """Pass on what the server prints; reading to the end keeps its pipe from filling up."""
        with stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)

    def _wait_until_listening(self) -> str:
        deadline = time.monotonic() + START_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                raise UnavailableError(f"the server ended before it listened:\n{self._log_end()}")
            if found := _LISTENING.search(line):
                return found[1]
        raise UnavailableError(f"the server did not listen within {START_TIMEOUT:.0f} s:\n{self._log_end()}")

    def _log_end(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-15:]) or "(it wrote nothing to its log)"
