"""The same bits on every processor, and compiled code that a second process finds again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vecstore.kernels import intrinsics

ROOT = Path(__file__).parents[2]


def run(module, cache, **environment):
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment}
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, cwd=ROOT, env=settings, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return cache, run("tests.kernels.digests", cache)


@pytest.mark.slow
@pytest.mark.parametrize(
    "processor",
    [
        {"NUMBA_CPU_NAME": "generic"},
        {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""},
    ],
    ids=["generic", "avx2"],
)
def test_results_do_not_depend_on_the_processor(native, tmp_path, processor):
    if "generic" not in processor.values() and not intrinsics.has_feature("avx2"):
        pytest.skip("this processor has no AVX2")
    digests = run("tests.kernels.digests", tmp_path, **processor).splitlines()
    assert digests[:-1] == native[1].splitlines()[:-1]


@pytest.mark.slow
def test_a_second_process_compiles_nothing(native):
    cache, first = native
    assert first.splitlines()[-1] != "compiled: 0"
    assert run("tests.kernels.digests", cache).splitlines()[-1] == "compiled: 0"


def test_features_follow_numbas_settings(monkeypatch):
    config = intrinsics.config
    monkeypatch.setattr(config, "CPU_FEATURES", "+avx2,-avx512vnni,+fma")
    assert intrinsics.has_feature("avx2")
    assert not intrinsics.has_feature("avx512vnni")
    assert not intrinsics.has_feature("avx512f")
    monkeypatch.setattr(config, "CPU_FEATURES", None)
    monkeypatch.setattr(config, "CPU_NAME", "some-other-processor")
    assert not intrinsics.has_feature("avx2")
