"""Times the SVD kernels on the layers of ResNet-18, beside NumPy, SciPy and PyTorch.

Run ``python benchmarks/kernels.py``. Every method runs on one thread, and ours on ``--threads`` too; they take turns,
and the median of the repetitions counts. On a machine that does other work as well, compare the processor times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before the libraries are loaded: they read it once. Ours does not need it.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import scipy.linalg
import torch

from pysurgeon import kernels
from pysurgeon.kernels import _native

# Filters and inputs x kernel of every convolution of ResNet-18, and its dense layer.
RESNET18 = [
    (64, 147),
    *[(64, 576)] * 4,
    (128, 576),
    *[(128, 1152)] * 3,
    (128, 64),
    (256, 1152),
    *[(256, 2304)] * 3,
    (256, 128),
    (512, 2304),
    *[(512, 4608)] * 3,
    (512, 256),
    (1000, 512),
]

Method = Callable[[], Any]


def random_matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A layer as it is initialised: independent normal weights."""
    return (rng.standard_normal((rows, columns)) * np.sqrt(2.0 / columns)).astype(np.float32)


def trained_matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A layer as training leaves it: that bulk, and heavy-tailed spikes above it in an eighth of the directions."""
    spikes = max(1, min(rows, columns) // 8)
    left = np.linalg.qr(rng.standard_normal((rows, spikes)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, spikes)))[0]
    return random_matrix(rng, rows, columns) + ((left * (8.0 / np.arange(1, spikes + 1) ** 0.7)) @ right.T).astype("f4")


def ranks_of(matrices: list[np.ndarray]) -> list[int]:
    """A quarter of every matrix's smaller side."""
    return [max(1, min(matrix.shape) // 4) for matrix in matrices]


def numpy_values(matrices: list[np.ndarray]) -> Any:
    """Singular values by NumPy, which works in float64 whatever it is given."""
    return [np.linalg.svd(matrix, compute_uv=False) for matrix in matrices]


def numpy_factors(matrices: list[np.ndarray]) -> Any:
    """Leading triplets by NumPy, which computes all of them, in float64."""
    found = []
    for matrix, rank in zip(matrices, ranks_of(matrices), strict=True):
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        found.append((u[:, :rank], s[:rank], vt[:rank]))
    return found


def scipy_values(matrices: list[np.ndarray]) -> Any:
    """Singular values by SciPy, in float32."""
    return [scipy.linalg.svdvals(matrix, check_finite=False) for matrix in matrices]


def scipy_factors(matrices: list[np.ndarray]) -> Any:
    """Leading triplets by SciPy, which computes all of them, in float32."""
    found = []
    for matrix, rank in zip(matrices, ranks_of(matrices), strict=True):
        u, s, vt = scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
        found.append((u[:, :rank], s[:rank], vt[:rank]))
    return found


def torch_values(matrices: list[np.ndarray]) -> Any:
    """Singular values by PyTorch, in float32."""
    return [torch.linalg.svdvals(torch.from_numpy(matrix)).numpy() for matrix in matrices]


def torch_factors(matrices: list[np.ndarray]) -> Any:
    """Leading triplets by PyTorch, which computes all of them, in float32."""
    found = []
    for matrix, rank in zip(matrices, ranks_of(matrices), strict=True):
        u, s, vt = torch.linalg.svd(torch.from_numpy(matrix), full_matrices=False)
        found.append((u[:, :rank].numpy(), s[:rank].numpy(), vt[:rank].numpy()))
    return found


def gram_values(matrices: list[np.ndarray]) -> Any:
    """The one-liner: roots of the eigenvalues of the Gram matrix in float32. It loses the small values."""
    found = []
    for matrix in matrices:
        small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        found.append(np.sqrt(np.maximum(np.linalg.eigvalsh(small @ small.T)[::-1], 0.0)))
    return found


def gram_factors(matrices: list[np.ndarray]) -> Any:
    """The same with vectors."""
    found = []
    for matrix, rank in zip(matrices, ranks_of(matrices), strict=True):
        wide = matrix.shape[0] <= matrix.shape[1]
        small = matrix if wide else matrix.T
        squares, vectors = np.linalg.eigh(small @ small.T)
        s = np.sqrt(np.maximum(squares[::-1][:rank], 1e-30))
        left = vectors[:, ::-1][:, :rank]
        right = (left / s).T @ small
        found.append((left, s, right) if wide else (right.T, s, left.T))
    return found


def medians(methods: dict[str, Method], repetitions: int) -> dict[str, dict[str, float]]:
    """The median times of every method in milliseconds; they take turns, so that all meet the same machine."""
    wall: dict[str, list[float]] = {name: [] for name in methods}
    cpu: dict[str, list[float]] = {name: [] for name in methods}
    for repetition in range(repetitions + 1):
        for name, method in methods.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            method()
            if repetition > 0:  # The first one warms up.
                cpu[name].append((time.process_time() - start_cpu) * 1e3)
                wall[name].append((time.perf_counter() - start) * 1e3)
    return {name: {"wall": statistics.median(wall[name]), "cpu": statistics.median(cpu[name])} for name in methods}


def worst_error(values: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """The largest error of a singular value, as a share of the largest value of its matrix."""
    pairs = zip(values, exact, strict=True)
    return float(max(np.abs(found - true[: found.size]).max() / true[0] for found, true in pairs))


def blas_of(module: str) -> str:
    """The core type and the threads of the OpenBLAS that a wheel brings along."""
    from threadpoolctl import threadpool_info

    for pool in threadpool_info():
        if module in pool["filepath"]:
            kind = f"{pool['internal_api']} {pool['version']}, core type {pool.get('architecture', '?')}"
            return f"{kind}, {pool['num_threads']} thread(s)"
    return "none found"


def processor() -> str:
    """The name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} core(s)"


def describe(threads: int) -> dict[str, str]:
    """What a figure means nothing without."""
    return {
        "machine": processor(),
        "python": platform.python_version(),
        "pysurgeon": f"threads 1 and {threads}; {_native.blas_configuration()}; core type {_native.blas_core_name()}",
        "numpy": f"{np.__version__}; {blas_of('numpy.libs')}",
        "scipy": f"{scipy.__version__}; {blas_of('scipy.libs')}",
        "torch": f"{torch.__version__}; {torch.get_num_threads()} thread(s)",
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set: each library chooses"),
    }


def jobs(layers: list[np.ndarray], threads: int) -> dict[str, dict[str, Method]]:
    """The methods that compete, by what they compute. The first of each is the one that others are compared to."""
    ranks = ranks_of(layers)
    return {
        "values": {
            "pysurgeon": lambda: kernels.singular_values(layers),
            f"pysurgeon, {threads} threads": lambda: kernels.singular_values(layers, threads=threads),
            "numpy.linalg.svd": lambda: numpy_values(layers),
            "scipy.linalg.svdvals": lambda: scipy_values(layers),
            "torch.linalg.svdvals": lambda: torch_values(layers),
            "numpy, float32 Gram": lambda: gram_values(layers),
        },
        "25 % factors": {
            "pysurgeon": lambda: kernels.truncated_svd(layers, ranks),
            f"pysurgeon, {threads} threads": lambda: kernels.truncated_svd(layers, ranks, threads=threads),
            "numpy.linalg.svd": lambda: numpy_factors(layers),
            "scipy.linalg.svd": lambda: scipy_factors(layers),
            "torch.linalg.svd": lambda: torch_factors(layers),
            "numpy, float32 Gram": lambda: gram_factors(layers),
        },
    }


def measure(repetitions: int, threads: int) -> dict[str, dict[str, dict[str, float]]]:
    """Times and errors of every method, by spectrum and job."""
    results = {}
    for label, make in (("random", random_matrix), ("trained-like", trained_matrix)):
        rng = np.random.default_rng(0)
        layers = [make(rng, *shape) for shape in RESNET18]
        exact = [np.linalg.svd(layer.astype(np.float64), compute_uv=False) for layer in layers]
        for job, methods in jobs(layers, threads).items():
            times = medians(methods, repetitions)
            rows = results[f"{label}, {job}"] = {}
            for name, method in methods.items():
                found = method()
                values = found if job == "values" else [s for _, s, _ in found]
                ratios = {f"{clock}_ratio": times[name][clock] / times["pysurgeon"][clock] for clock in times[name]}
                rows[name] = {**times[name], **ratios, "error": worst_error(values, exact)}
    return results


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="for the second row of ours")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = measure(arguments.repetitions, arguments.threads)
    environment = describe(arguments.threads)
    if arguments.json:
        json.dump({"environment": environment, "results": results}, sys.stdout, indent=2)
        return
    for name, value in environment.items():
        print(f"{name:18} {value}")
    print(
        f"{'':18} all {len(RESNET18)} layers of ResNet-18, medians of {arguments.repetitions} interleaved repetitions"
    )
    for job, rows in results.items():
        print(f"\n{job}\n{'':24}{'wall ms':>9}{'x ours':>8}{'cpu ms':>9}{'x ours':>8}{'error':>10}")
        for name, row in rows.items():
            print(
                f"{name:24}{row['wall']:9.1f}{row['wall_ratio']:8.2f}"
                f"{row['cpu']:9.1f}{row['cpu_ratio']:8.2f}{row['error']:10.1e}"
            )


if __name__ == "__main__":
    main()
