"""Times the SVD kernels beside NumPy, SciPy, scikit-learn and PyTorch, with the accuracy of each.

``python -m benchmarks.kernels`` runs every table; ``--only few "resnet18, values"`` those whose titles begin so. All
methods run on one thread, where the time of the processor counts, and ours on two as well, where that of the clock does.
Every method runs once; those within three times the best of their kind then take turns, and the medians of the
repetitions are what is printed. A method that misses the accuracy asked of all (values to 1e-4 of the largest, residual
within 1 % of the best) counts for no ratio. ``--models FOLDER`` takes the weights of the ONNX files in a folder instead of
synthetic matrices: all layers of all of them in one call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before the libraries are loaded: they read it once. Ours does not need it.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import scipy
import sklearn
import torch

import pysurgeon as ps
from benchmarks.kernels_peers import FACTORS, FEW, VALUES, Peer, eigen
from pysurgeon import kernels
from pysurgeon.errors import Refused
from pysurgeon.kernels import _native
from pysurgeon.surgery.layers.weight_matrices import weight_matrix
from pysurgeon.widths.structure import Structure

Shape = tuple[int, int]

# Filters, and inputs times kernel, of every layer.
RESNET18: list[Shape] = [
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
# Its convolutions; the dense layers are too large for most peers.
VGG16: list[Shape] = [(64, 27), (64, 576), (128, 576), (128, 1152), (256, 1152), (256, 2304), (256, 2304), (512, 2304)]
VGG16 += [(512, 4608)] * 5
VIT: list[Shape] = [(768, 768), *[(2304, 768), (768, 768), (3072, 768), (768, 3072)] * 12, (1000, 768)]

# What is decomposed, and the share or number of the triplets that is wanted (0: the values alone).
TABLES: dict[str, tuple[list[Shape], tuple[float, ...]]] = {
    "resnet18": (RESNET18, (0, 0.25)),
    "vgg16": (VGG16, (0, 0.25)),
    "vit": (VIT, (0, 0.25)),
    "batch64": ([(64, 64)] * 500, (0, 0.25)),
    "batch128": ([(128, 576)] * 500, (0, 0.25)),
    "batch256": ([(256, 2304)] * 500, (0, 0.25)),
    **{f"few{m}x{n}": ([(m, n)], (8, 32, 0.25)) for m, n in ((512, 512), (3072, 512), (1024, 1024), (4096, 1024))},
}


def random_matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A layer as it is initialised: independent normal weights."""
    return (rng.standard_normal((rows, columns)) * np.sqrt(2.0 / columns)).astype(np.float32)


def trained_matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """About what training leaves of it: that bulk, and spikes above it by a power law in an eighth of the directions."""
    spikes = max(1, min(rows, columns) // 8)
    left = np.linalg.qr(rng.standard_normal((rows, spikes)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, spikes)))[0]
    return random_matrix(rng, rows, columns) + ((left * (8.0 / np.arange(1, spikes + 1) ** 0.7)) @ right.T).astype("f4")


def power_law_matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A layer without a bulk: the i-th singular value is 1 / i."""
    k = min(rows, columns)
    left = np.linalg.qr(rng.standard_normal((rows, k)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, k)))[0]
    return ((left / np.arange(1, k + 1)) @ right.T).astype("f4")


SPECTRA = {"random": random_matrix, "trained-like": trained_matrix, "power-law": power_law_matrix}


def weights(folder: Path) -> list[np.ndarray]:
    """The weight matrices of all layers of all models in a folder, as diagnosis sees them."""
    found = []
    for path in sorted(folder.glob("*.onnx")):
        structure = Structure(ps.load(path))
        for layer in structure.layers:
            with contextlib.suppress(Refused):  # a grouped convolution, or no matrix of its own
                found.append(np.ascontiguousarray(weight_matrix(structure, layer), dtype=np.float32))
    return found


class Timing:
    """Times of one method, in milliseconds."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def once(self) -> Any:
        """Runs it and keeps the times."""
        start, start_cpu = time.perf_counter(), time.process_time()
        result = self.run()
        self.cpu.append((time.process_time() - start_cpu) * 1e3)
        self.wall.append((time.perf_counter() - start) * 1e3)
        return result


def accuracy(matrices: Sequence[np.ndarray], exact: Sequence[np.ndarray], found: Sequence[Any]) -> dict[str, float]:
    """The worst errors over all matrices: of values and of orthogonality, and by how much the residual is too large."""
    worst = {"value": 0.0, "orthogonal": 0.0, "residual": 0.0}
    for a, true, result in zip(matrices, exact, found, strict=True):
        s = result[1] if isinstance(result, tuple) else result
        worst["value"] = max(worst["value"], float(np.abs(s - true[: len(s)]).max() / true[0]))
        if not isinstance(result, tuple):
            continue
        u, s, vt = (np.asarray(part, dtype=np.float64) for part in result)
        eye = np.eye(len(s))
        worst["orthogonal"] = max(
            worst["orthogonal"], float(np.abs(u.T @ u - eye).max()), float(np.abs(vt @ vt.T - eye).max())
        )
        best = np.linalg.norm(true[len(s) :])
        worst["residual"] = max(worst["residual"], float(np.linalg.norm(a - u * s @ vt) / best - 1))
    return worst


def measure(matrices: list[np.ndarray], share: float, repetitions: int, threads: int) -> dict[str, dict[str, Any]]:
    """Times and errors of every method."""
    ranks = [int(share) if share >= 1 else max(1, int(share * min(a.shape))) for a in matrices]
    exact = [np.linalg.svd(a.astype(np.float64), compute_uv=False) for a in matrices]
    peers: dict[str, Peer] = VALUES if share == 0 else FACTORS if share < 1 else FEW

    def ours(threads: int) -> Any:
        if share == 0:
            return kernels.singular_values(matrices, threads=threads)
        return [tuple(factors) for factors in kernels.truncated_svd(matrices, ranks, threads=threads)]

    methods = {
        "pysurgeon": Timing(lambda: ours(1)),
        f"pysurgeon, {threads} threads": Timing(lambda: ours(threads)),
        **{name: Timing(lambda run=peer.run: run(matrices, ranks)) for name, peer in peers.items()},
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, timing in methods.items():
        kind = peers[name].kind if name in peers else "ours"
        try:
            found = timing.once()
        except (np.linalg.LinAlgError, scipy.sparse.linalg.ArpackError) as error:
            rows[name] = {"kind": kind, "failed": str(error).splitlines()[0]}
            continue
        errors = accuracy(matrices, exact, found)
        good = errors["value"] <= 1e-4 and errors["residual"] <= 0.01
        rows[name] = {"kind": kind, "good": good, **errors}
    best = {
        kind: min((methods[n].cpu[0] for n, row in rows.items() if row["kind"] == kind and row.get("good")), default=0)
        for kind in ("SVD", "Gram")
    }
    repeated = [
        name
        for name, row in rows.items()
        if "failed" not in row and (row["kind"] == "ours" or methods[name].cpu[0] <= 3 * best[row["kind"]])
    ]
    for name in repeated:
        methods[name].cpu.clear()
        methods[name].wall.clear()
    for _ in range(repetitions):
        for name in repeated:
            methods[name].once()
    for name, row in rows.items():
        if "failed" not in row:
            row["runs"] = len(methods[name].cpu)
            row["cpu"] = statistics.median(methods[name].cpu)
            row["wall"] = statistics.median(methods[name].wall)
    return rows


def ratios(rows: dict[str, dict[str, Any]], threads: int) -> dict[str, float]:
    """How many times faster we are than the best of either kind that is accurate, and on more threads than on one."""
    mine = rows["pysurgeon"]
    found = {"threads": mine["wall"] / rows[f"pysurgeon, {threads} threads"]["wall"]}
    for kind in ("SVD", "Gram"):
        times = [row["cpu"] for row in rows.values() if row["kind"] == kind and row.get("good")]
        if times:
            found[kind] = min(times) / mine["cpu"]
    return found


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


def describe() -> dict[str, str]:
    """What a figure means nothing without."""
    ours = f"{_native.instructions()} loops; {_native.blas_configuration()}; core type {_native.blas_core_name()}"
    return {
        "machine": f"{processor()}, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "pysurgeon": ours,
        "numpy": f"{np.__version__}; {blas_of('numpy.libs')}",
        "scipy": f"{scipy.__version__}; {blas_of('scipy.libs')}",
        "scikit-learn": sklearn.__version__,
        "torch": f"{torch.__version__}; {torch.get_num_threads()} thread(s)",
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set: each library chooses"),
    }


def show(title: str, rows: dict[str, dict[str, Any]], threads: int) -> None:
    """Prints one table."""
    print(f"\n{title}\n{'':37}{'kind':6}{'runs':>5}{'cpu ms':>10}{'x ours':>8}{'wall ms':>10}", end="")
    print(f"{'value':>10}{'orthog.':>10}{'residual':>10}")
    for name, row in rows.items():
        if "failed" in row:
            print(f"{name:37}{row['kind']:6} failed: {row['failed']}")
            continue
        mark = "" if row["good"] else "  not accurate enough"
        print(
            f"{name:37}{row['kind']:6}{row['runs']:5}{row['cpu']:10.2f}{row['cpu'] / rows['pysurgeon']['cpu']:8.2f}"
            f"{row['wall']:10.2f}{row['value']:10.1e}{row['orthogonal']:10.1e}{row['residual']:10.1e}{mark}"
        )
    best = ratios(rows, threads)
    text = "; ".join(f"{best[kind]:.2f} x the best {kind}" for kind in ("SVD", "Gram") if kind in best)
    print(f"{text}; {threads} threads {best['threads']:.2f} x one", flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", metavar="TABLE", help=f"beginnings of titles; tables are {' '.join(TABLES)}"
    )
    parser.add_argument("--spectrum", choices=SPECTRA, default="trained-like")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="for the second row of ours")
    parser.add_argument("--instructions", default="best", help="of our loops: vnni, avx512, avx2, baseline or best")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    parser.add_argument("--batch", type=int, default=500, help="matrices of the tables named so")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="the layers of its ONNX files instead of tables")
    parser.add_argument(
        "--eigen", type=Path, metavar="HEADERS", help="a peer more: the folder in which Eigen/Dense lies"
    )
    arguments = parser.parse_args()
    if not _native.choose_instructions(arguments.instructions):
        parser.error(f"this processor has no {arguments.instructions}")
    if arguments.eigen:
        values, factors = eigen(arguments.eigen)
        VALUES.update(values)
        FACTORS.update(factors)
        FEW.update(factors)
    torch.set_num_threads(1)
    environment = describe()
    if not arguments.json:
        for name, value in environment.items():
            print(f"{name:18} {value}")
        kind = "trained" if arguments.models else arguments.spectrum
        print(f"{'':18} {kind} matrices, medians of {arguments.repetitions} interleaved repetitions")
    results = {}
    tables = {f"models in {arguments.models.name}": ([], (0, 0.25))} if arguments.models else TABLES
    for table, (every, shares) in tables.items():
        shapes = every[: arguments.batch] if table.startswith("batch") else every
        titles = {
            share: f"{table}, "
            + ("values" if share == 0 else f"rank {share}" if share >= 1 else f"{share:.0%} factors")
            for share in shares
        }
        rng = np.random.default_rng(0)
        matrices: list[np.ndarray] = weights(arguments.models) if arguments.models else []
        for share, title in titles.items():
            if arguments.only and not any(title.startswith(name) for name in arguments.only):
                continue
            matrices = matrices or [SPECTRA[arguments.spectrum](rng, *shape) for shape in shapes]
            rows = measure(matrices, share, arguments.repetitions, arguments.threads)
            results[title] = {"rows": rows, "ratios": ratios(rows, arguments.threads)}
            if not arguments.json:
                show(title, rows, arguments.threads)
    if arguments.json:
        json.dump({"environment": environment, "results": results}, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
