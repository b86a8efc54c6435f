"""The same bits on every processor, and compiled code that a second process finds again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.digests import GROUPS
from vecstore.kernels import loading
from vecstore.kernels.intrinsics.emitting import has_feature

ROOT = Path(__file__).parents[2]


def digests(group, cache, **environment):
    """Give what a process prints that keeps compiled code in ``cache``: digests, and how many kernels it compiled."""
    settings = {**os.environ, "VECSTORE_CACHE": str(cache), **environment}
    command = [sys.executable, "-m", "tests.kernels.digests", group]
    done = subprocess.run(command, cwd=ROOT, env=settings, check=True, capture_output=True, text=True)
    *lines, compiled = done.stdout.splitlines()
    return lines, compiled


@pytest.fixture(scope="module", params=GROUPS)
def native(request, tmp_path_factory):
    """A group of kernels, and what a first process prints that runs them."""
    cache = tmp_path_factory.mktemp("cache")
    return request.param, cache, digests(request.param, cache)


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
    if "generic" not in processor.values() and not has_feature("avx2"):
        pytest.skip("this processor has no AVX2")
    group, _, (lines, _) = native
    assert lines
    assert digests(group, tmp_path, **processor)[0] == lines


@pytest.mark.slow
def test_a_second_process_compiles_nothing(native):
    group, cache, (lines, compiled) = native
    assert compiled != "compiled: 0"
    assert digests(group, cache) == (lines, "compiled: 0")


def test_features_follow_numbas_settings(monkeypatch):
    loading.processor.cache_clear()
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+avx2,-avx512vnni,+fma")
    assert has_feature("avx2")
    assert not has_feature("avx512vnni")
    assert not has_feature("avx512f")
    loading.processor.cache_clear()
    monkeypatch.delenv("NUMBA_CPU_FEATURES")
    monkeypatch.setenv("NUMBA_CPU_NAME", "some-other-processor")
    assert not has_feature("avx2")
    loading.processor.cache_clear()
