"""Times the edits of one axis and the elimination of units beside NumPy: ``python -m benchmarks.kernels_edits``.

Processor time on one thread, medians of seven interleaved repetitions.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np

from pysurgeon import kernels
from pysurgeon.kernels import reference

# Blocks (outer, n, inner): rows and columns of dense layers, filters, taps of 3x3 convolutions, a large tensor.
BLOCKS = [
    (1, 512, 4608),
    (512, 512, 9),
    (4096, 64, 9),
    (2048, 2048, 1),
    (4096, 1024, 1),
    (64, 256, 1024),
    (1, 4096, 4096),
]


def medians(methods: dict[str, Callable[[], Any]], repetitions: int = 7) -> dict[str, float]:
    """Milliseconds of every method; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for repetition in range(repetitions + 1):
        for name, method in methods.items():
            start = time.process_time()
            method()
            if repetition > 0:  # The first one warms up.
                times[name].append((time.process_time() - start) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def show(title: str, found: dict[str, float]) -> None:
    """Prints one line."""
    print(f"{title:32}" + "".join(f"{name} {value:9.2f}   " for name, value in found.items()), flush=True)


def main() -> None:
    """Measures and prints."""
    rng = np.random.default_rng(0)
    for outer, n, inner in BLOCKS:
        source = rng.standard_normal((outer, n, inner)).astype("f4")
        m = n * 5 // 4
        index = np.concatenate([np.arange(n), rng.integers(0, n, m - n)])
        scale = rng.random(m).astype("f4")
        result = np.ones((outer, m, inner), "f4")
        methods: dict[str, Callable[[], Any]] = {
            "copy": lambda result=result: result.copy(),
            "gather": lambda a=source, i=index, s=scale: kernels.gather_blocks(a, i, s),
            "numpy": lambda a=source, i=index, s=scale: a[:, i] * s[:, None],
        }
        show(f"gather {outer} x {n} x {inner}, ms", medians(methods))
    for n in (64, 256, 512):
        data, weights = rng.standard_normal((4 * n, n)), rng.standard_normal((n, n))
        gram = data.T @ data / len(data)
        views = ([np.linalg.inv(gram)], [weights @ weights.T], [1 / np.diag(gram)])
        methods = {
            "kernel": lambda v=views: kernels.eliminate(*v),
            "numpy": lambda v=views: reference.eliminate(*v),
        }
        show(f"eliminate {n} units, ms", medians(methods))


if __name__ == "__main__":
    main()
