"""Checkpoints of a training run: one ``.npz`` file with plain arrays, and JSON beside them in the same file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = [
    "head_digest",
    "load_arrays",
    "load_module",
    "load_optimiser",
    "module_arrays",
    "optimiser_arrays",
    "save_arrays",
]

Arrays = Mapping[str, NDArray[Any]]

_META = "/json"
_STATE, _RANDOM = "state/", "random/"
_HEAD_BYTES = 1 << 16


def save_arrays(path: Path, arrays: Arrays, meta: Mapping[str, Any]) -> None:
    """Write arrays and JSON types; after a crash there is the old file or the new one."""
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        # The name of the argument of np.savez must not be a name of an array.
        np.savez(file, allow_pickle=False, **{**arrays, _META: text})
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Give the arrays and the JSON of :func:`save_arrays`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    meta: dict[str, Any] = json.loads(arrays.pop(_META).tobytes())
    return arrays, meta


def module_arrays(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Give the weights, buffers and random generators of a module, which share its memory where they can.

    Layers that draw while they train keep a generator as an attribute, which ``state_dict`` knows nothing of.
    """
    state = {_STATE + name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    return state | {_RANDOM + name: own.get_state().numpy() for name, own in _generators(module).items()}


def load_module(module: nn.Module, arrays: Arrays) -> None:
    """Give a module the state of :func:`module_arrays`."""
    module.load_state_dict(
        {
            name.removeprefix(_STATE): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.startswith(_STATE)
        }
    )
    for name, own in _generators(module).items():
        own.set_state(torch.from_numpy(arrays[_RANDOM + name]))


def head_digest(arrays: Arrays) -> str:
    """Give a hash of names, shapes and the first 64 KiB of each array: weights of another seed differ at once."""
    found = hashlib.sha1(usedforsecurity=False)
    for name, array in arrays.items():
        found.update(f"{name}{array.dtype}{array.shape}".encode())
        found.update(array.reshape(-1)[: _HEAD_BYTES // array.itemsize].tobytes())
    return found.hexdigest()


def optimiser_arrays(optimiser: torch.optim.Optimizer) -> dict[str, NDArray[Any]]:
    """Give what an optimiser remembers: ``<parameter>/<name>``; its settings are not included."""
    return {
        f"{number}/{name}": value.detach().cpu().numpy() if isinstance(value, Tensor) else np.array(value, np.int64)
        for number, remembered in optimiser.state_dict()["state"].items()
        for name, value in remembered.items()
        if isinstance(value, Tensor | int)
    }


def load_optimiser(optimiser: torch.optim.Optimizer, arrays: Arrays) -> None:
    """Give an optimiser of the same parameters what :func:`optimiser_arrays` gave."""
    state: dict[int, dict[str, Tensor | int]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition("/")
        # Adam counts its steps in a tensor of float32, SparseAdam in an int.
        counts = array.ndim == 0 and np.issubdtype(array.dtype, np.integer)
        state.setdefault(int(number), {})[name] = int(array) if counts else torch.from_numpy(array)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _generators(module: nn.Module) -> dict[str, torch.Generator]:
    return {
        f"{path}.{name}": value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, torch.Generator)
    }
