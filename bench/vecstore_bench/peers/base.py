"""What a search system has to be able to do to be measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet

__all__ = [
    "EF_CONSTRUCTION",
    "SEED",
    "WIDTHS",
    "Index",
    "M",
    "Peer",
    "Setting",
    "Unavailable",
    "folder_bytes",
    "ladder",
]

#: Graph settings that all systems share: links a row (2 M on the lowest level), candidates while building, seed.
M = 16
EF_CONSTRUCTION = 200
SEED = 100

#: Values of the parameters with which a search is made more thorough, by name.
Setting = Mapping[str, Any]

#: Candidates of a graph search that are tried.
WIDTHS = (
    10, 12, 14, 16, 18, 20, 23, 26, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100, 110, 120, 130, 140,
    155, 170, 185, 200, 225, 250, 275, 300, 350, 400, 450, 500, 600, 700, 850, 1000,
)  # fmt: skip


class Unavailable(RuntimeError):
    """A system cannot run here, for a reason that is not an error of the measurement."""


class Index(Protocol):
    """An index that is open."""

    def use(self, threads: int) -> None:
        """Let a search use so many threads."""
        ...

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        """Give rows int64[q, k], nearest first, of ``queries`` float32[q, dim]; -1 where fewer were found."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class Peer(ABC):
    """A system with one kind of index.

    Rows and queries have unit length where the metric is cosine, so that it is the inner product.

    Attributes
    ----------
    name : str
    package : str
        Distribution whose version counts.
    served : bool
        Another process does the work, whose CPU time is not seen: building takes as long as one has to wait.
    """

    name: str
    package: str
    served: bool = False

    @property
    def version(self) -> str:
        """Give the version of the package.

        Raises
        ------
        Unavailable
            It is not installed.
        """
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            raise Unavailable(f"{self.package} is not installed") from None

    @abstractmethod
    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:
        """Give the settings to try: lists in which each is at least as thorough as the one before."""

    @abstractmethod
    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Index the rows of a data set, row i under the id i, and write all that a search needs into a folder.

        Raises
        ------
        Unavailable
            The system cannot do that here.
        """

    @abstractmethod
    def open(self, folder: Path, shape: TableShape, metric: Metric) -> Index:
        """Open what :meth:`build` wrote."""

    def memory_bytes(self, folder: Path) -> int:
        """Give the bytes that a search needs in memory: all files of the index, unless a system says otherwise."""
        return folder_bytes(folder)

    def disk_bytes(self, folder: Path) -> int:
        """Give the bytes on disk: all files of the index, unless a system keeps them elsewhere."""
        return folder_bytes(folder)


def ladder(name: str, values: Sequence[float]) -> list[Setting]:
    """Give the settings of one parameter."""
    return [{name: value} for value in values]


def folder_bytes(folder: Path) -> int:
    """Give the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
