"""Indexes of all systems on one data set: each is built in a process of its own, kept in a folder, and opened here."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree

from vecstore.schemes.base import TableShape
from vecstore.types import Metric
from vecstore_bench.data_sets import DataSet, load, prepared
from vecstore_bench.peers import all_systems
from vecstore_bench.peers.base import Index, Peer, Unavailable

__all__ = ["Built", "Missing", "Source", "System", "opened"]

_DONE = "built.json"


@dataclass(frozen=True, slots=True)
class Source:
    """The rows that all systems index: a data set's folder, and how many of its rows."""

    path: str
    rows: int | None

    def data(self) -> DataSet:
        """Load them, ready to be searched."""
        path = Path(self.path)
        return prepared(load(path.name, path.parent), rows=self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What building took.

    Attributes
    ----------
    version : str
        Of the system's package.
    cpu_seconds, wall_seconds : float
        Until the index was written. Both are wall seconds where a server does the work.
    memory_bytes, disk_bytes : int
        What a search needs in memory, and all files.
    """

    version: str
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class System:
    """A system whose index is open."""

    peer: Peer
    index: Index
    built: Built

    @property
    def name(self) -> str:
        """Give the system's name."""
        return self.peer.name


@dataclass(frozen=True, slots=True)
class Missing:
    """A system that is not measured, and why: ``skipped`` where it cannot run here, else ``failed``."""

    name: str
    status: str
    reason: str


def opened(
    peers: Sequence[Peer], source: Source, shape: TableShape, metric: Metric, folder: Path, *, threads: int
) -> tuple[list[System], list[Missing]]:
    """Open the indexes of some systems; those that are not in the folder yet are built there.

    Parameters
    ----------
    peers : sequence of Peer
    source : Source
    shape : TableShape
        Of its rows.
    metric : Metric
    folder : Path
        Of the indexes of this source.
    threads : int
        With which indexes are built.
    """
    systems: list[System] = []
    missing: list[Missing] = []
    for peer in peers:
        try:
            own = folder / f"{peer.name}-{peer.version}"
            built = _built(peer, source, threads, own)
            systems.append(System(peer, peer.open(own / "index", shape, metric), built))
        except Unavailable as error:
            missing.append(Missing(peer.name, "skipped", str(error)))
        except Exception as error:  # whatever a system does, the others are measured
            missing.append(Missing(peer.name, "failed", f"{type(error).__name__}: {error}"[:200]))
    return systems, missing


def _built(peer: Peer, source: Source, threads: int, folder: Path) -> Built:
    """Give what building took, now or when it was done."""
    done = folder / _DONE
    if not done.exists():
        rmtree(folder, ignore_errors=True)
        (folder / "index").mkdir(parents=True)
        # Some libraries end the process where they refuse to work.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                built, refused = pool.submit(_build, peer.name, source, threads, folder / "index").result()
            except BrokenProcessPool:
                raise RuntimeError("the process that built its index was killed or ended itself") from None
        if built is None:
            raise Unavailable(refused)
        done.write_text(json.dumps(asdict(built)), encoding="utf-8")
    return Built(**json.loads(done.read_text(encoding="utf-8")))


def _build(name: str, source: Source, threads: int, folder: Path) -> tuple[Built | None, str]:
    """Build an index in the process that is there for it; or give the reason why that is not possible."""
    peer, data = all_systems()[name], source.data()
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        peer.build(data, threads, folder)
    except (Unavailable, ModuleNotFoundError) as error:
        return None, str(error)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    built = Built(
        version=peer.version,
        cpu_seconds=wall if peer.served else cpu,
        wall_seconds=wall,
        memory_bytes=peer.memory_bytes(folder),
        disk_bytes=peer.disk_bytes(folder),
    )
    return built, ""
