"""A short stretch of the search for matrices that break a promise; benchmarks/kernels_sweep.py goes on for as long as one likes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernels_sweep import BOUNDS, errors, make
from pysurgeon.kernels import _native

SWEEP = Path(__file__).parents[2] / "benchmarks" / "kernels_sweep.py"


@pytest.mark.slow
@pytest.mark.parametrize("level", ["vnni", "avx512", "avx2", "baseline"])
@pytest.mark.parametrize(
    "sizes",
    [("--count", "400", "--largest", "80"), ("--count", "30", "--smallest", "200", "--largest", "400", "--few")],
    ids=["any", "few"],
)
def test_no_promise_is_broken(level, sizes):
    has = _native.choose_instructions(level)
    _native.choose_instructions("best")
    if not has:
        pytest.skip(f"no {level} here")
    command = [sys.executable, str(SWEEP), *sizes, "--seed", "1", "--instructions", level]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 bounds broken" in done.stdout


def test_a_matrix_that_broke_a_promise_once():
    """A permutation but for a few entries: products are exact, and what is left of vectors in the space found is rounding alone."""
    _, matrix = make(np.random.default_rng((43, 108)), 190, 420)
    found = errors(matrix, 1)
    assert set(found) == set(BOUNDS)
    assert all(found[name] <= bound for name, bound in BOUNDS.items()), found
