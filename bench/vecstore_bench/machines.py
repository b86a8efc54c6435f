"""What a result must say of the machine and the software that gave it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from vecstore_bench.measure import machine

__all__ = ["cpu_facts", "facts", "limited"]

_CPU = Path("/proc/cpuinfo")
#: Instructions that kernels of search systems are written for.
_FLAGS = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_vpopcntdq",
    "avx512_bf16",
    "amx_tile",
    "asimd",
    "sve",
)
#: What decides which kernels a BLAS chooses.
_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_CPU_NAME")


def cpu_facts() -> dict[str, Any]:
    """Give vendor, model and flags of the processor, as far as the system says."""
    fields: dict[str, str] = {}
    if _CPU.exists():
        for line in _CPU.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    there = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "vendor": fields.get("vendor_id", ""),
        "model": fields.get("model name", platform.processor() or platform.machine()),
        "flags": [flag for flag in _FLAGS if flag in there],
    }


def facts(packages: Sequence[str]) -> dict[str, Any]:
    """Give a description of the machine as JSON types, with the versions of ``packages`` (None where not installed)."""
    return {
        "machine": machine(),
        "cpu": {**cpu_facts(), "cores": os.cpu_count()},
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "blas": {"numpy": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"], "loaded": _loaded()},
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _threadpoolctl() -> Any:
    try:
        return import_module("threadpoolctl")
    except ModuleNotFoundError:
        return None


def _loaded() -> list[str]:
    """Give the BLAS libraries of this process with the kernels that they chose, where threadpoolctl is there to ask."""
    pools = _threadpoolctl()
    found = pools.threadpool_info() if pools else []
    blas = [pool for pool in found if pool["user_api"] == "blas"]
    return sorted({f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip() for pool in blas})


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Keep all threads of this process, and those that they start, to the first ``threads`` processors.

    Some systems have pools whose size is fixed when they are loaded; so none computes on more processors than asked.
    Pools of BLAS and OpenMP are made as small too where threadpoolctl is installed.
    """
    pools = _threadpoolctl()
    with ExitStack() as stack:
        if pools:
            stack.enter_context(pools.threadpool_limits(limits=threads))
        if sys.platform == "linux":
            everywhere = os.sched_getaffinity(0)
            _keep_to(set(sorted(everywhere)[:threads]))
            stack.callback(_keep_to, everywhere)
        yield


def _keep_to(processors: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), processors)
        except ProcessLookupError:
            # It has just ended.
            continue
