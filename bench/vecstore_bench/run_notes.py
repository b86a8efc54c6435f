"""What a folder of results says of the runs that filled it: when, with which arguments, on which machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vecstore_bench.machines import facts

__all__ = ["note_run"]

_FILE = "runs.json"
#: Packages whose versions may change a result.
_PACKAGES = ("vecstore", "numpy", "numba", "pyarrow", "torch")


def note_run(folder: Path, arguments: Mapping[str, Any]) -> None:
    """Add a run to ``runs.json`` of a folder: a run that goes on where another was stopped is one more.

    Parameters
    ----------
    folder : Path
    arguments : mapping
        JSON types: all that the command was asked for.
    """
    path = folder / _FILE
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    about = facts(_PACKAGES)
    runs.append({"begun": datetime.now(UTC).isoformat(timespec="seconds"), "arguments": dict(arguments), **about})
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"machine": about["machine"], "runs": runs}, indent=1), encoding="utf-8")
    temporary.replace(path)
