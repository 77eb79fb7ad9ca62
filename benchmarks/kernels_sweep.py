"""Looks for a matrix on which the SVD kernels break a promise, among random ones of the nasty kinds.

Run ``python -m benchmarks.kernels_sweep --count 100000``, and for the triplets that the Lanczos method finds
``--smallest 200 --largest 600 --few --count 5000``. NumPy in float64 is the judge. Prints the worst that was found
of each kind, and ends with status 1 if a bound is broken: singular values within 1e-4 of the largest, vectors orthonormal
to 1e-5, the residual within 1 % of the best one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

from pysurgeon import kernels
from pysurgeon.kernels import _native

BOUNDS = {"value": 1e-4, "orthogonality": 1e-5, "residual": 0.01}
SMALLEST = 1.5e-45  # The step of denormal numbers: no float32 can be right to less.

Spectrum = Callable[[np.random.Generator, int], np.ndarray]


def _repeated(rng: np.random.Generator, k: int) -> np.ndarray:
    values = rng.random(int(rng.integers(1, 6))) + 0.01
    return np.sort(rng.choice(values, k))[::-1]


def _gaps(rng: np.random.Generator, k: int) -> np.ndarray:
    return np.sort(1.0 + 10.0 ** -rng.uniform(3, 16) * np.arange(k))[::-1]


def _clusters(rng: np.random.Generator, k: int) -> np.ndarray:
    centres = 10.0 ** -rng.uniform(0, 6, int(rng.integers(1, 5)))
    return np.sort(rng.choice(centres, k) * (1.0 + 10.0 ** -rng.uniform(3, 12) * rng.standard_normal(k)))[::-1]


def _spikes(rng: np.random.Generator, k: int) -> np.ndarray:
    values = np.full(k, 10.0 ** -rng.uniform(1, 6)) * (1 + 0.1 * rng.random(k))
    values[: int(rng.integers(1, k + 1))] = 1.0
    return np.sort(values)[::-1]


def _cut(rng: np.random.Generator, k: int) -> np.ndarray:
    values = rng.random(k) + 0.1
    values[int(rng.integers(0, k + 1)) :] = 0.0
    return values


def _leading(rng: np.random.Generator, k: int) -> np.ndarray:
    """A bulk, and above it a few values of which each stands once, twice or three times, or nearly so."""
    bulk = rng.uniform(0.05, 0.95) * np.sort(rng.random(k))[::-1] ** rng.uniform(0.3, 3)
    count = min(k, int(rng.integers(1, 20)))
    values = np.repeat(1.0 + 5.0 * rng.random(count), rng.integers(1, int(rng.integers(2, 5)), count))[:k]
    bulk[: len(values)] = values * (
        1.0 + rng.integers(0, 2) * 10.0 ** -rng.uniform(2, 9) * rng.standard_normal(len(values))
    )
    return np.sort(bulk)[::-1]


SPECTRA: dict[str, Spectrum] = {
    "bulk": lambda rng, k: np.sort(rng.random(k))[::-1],
    "power law": lambda rng, k: np.arange(1, k + 1) ** -rng.uniform(0.2, 4),
    "geometric": lambda rng, k: 10.0 ** -np.linspace(0, rng.uniform(0, 30), k),
    "repeated": _repeated,
    "tiny gaps": _gaps,
    "clusters": _clusters,
    "spikes": _spikes,
    "rank deficient": _cut,
    "leading repeats": _leading,
}


def planted(rng: np.random.Generator, m: int, n: int, values: np.ndarray) -> np.ndarray:
    """A matrix with these singular values, in random directions or along the axes."""
    k = min(m, n)
    if rng.random() < 0.2:
        matrix = np.zeros((m, n))
        matrix[rng.permutation(m)[:k], rng.permutation(n)[:k]] = values
        return matrix
    left = np.linalg.qr(rng.standard_normal((m, k)))[0]
    right = np.linalg.qr(rng.standard_normal((n, k)))[0]
    return (left * values) @ right.T


def rotated(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    """Blocks near the identity: one element dwarfs those about it, and all values are equal."""
    matrix = np.zeros((m, n))
    side = int(rng.integers(2, 65))
    small = 10.0 ** -rng.uniform(1, 4)
    for start in range(0, min(m, n) - side + 1, side):
        skew = small * rng.standard_normal((side, side))
        skew -= skew.T
        matrix[start : start + side, start : start + side] = np.linalg.solve(np.eye(side) + skew, np.eye(side) - skew)
    return matrix


def raw(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    """A matrix that is not made from its singular values."""
    kind = int(rng.integers(0, 7))
    if kind == 0:
        return rng.standard_normal((m, n)) + 10.0 ** rng.uniform(-3, 3)  # nearly all the same
    if kind == 1:
        return rng.integers(-1, 2, (m, n)).astype(float)
    if kind == 2:
        return rng.standard_normal((m, n)) * (rng.random((m, n)) < rng.random())  # sparse
    if kind == 3:
        return rng.standard_normal((m, n)) * 10.0 ** rng.uniform(-8, 8, (m, 1))  # graded rows
    if kind == 4:
        return np.repeat(rng.standard_normal((m, 1)), n, axis=1)
    if kind == 5:
        return rotated(rng, m, n)
    return rng.standard_t(1.1, (m, n))  # heavy tails


def make(rng: np.random.Generator, smallest: int, largest: int) -> tuple[str, np.ndarray]:
    """One matrix and the name of its kind."""
    m, n = (int(size) for size in np.exp(rng.uniform(np.log(smallest), np.log(largest), 2)).round())
    kind = str(rng.choice([*SPECTRA, "raw"]))
    matrix = raw(rng, m, n) if kind == "raw" else planted(rng, m, n, SPECTRA[kind](rng, min(m, n)))
    if rng.random() < 0.2:
        matrix[rng.random(m) < 0.3] = 0.0
    if rng.random() < 0.2:
        matrix *= 10.0 ** rng.uniform(-44, 30)
    with np.errstate(over="ignore"):
        narrow = matrix.astype(np.float32)
    return kind, narrow if np.isfinite(narrow).all() else np.ones((m, n), np.float32)


def errors(matrix: np.ndarray, rank: int) -> dict[str, float]:
    """How far the kernels are from what NumPy finds, in the units of the bounds."""
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    if exact[0] > 3e38:
        return {}
    (values,) = kernels.singular_values([matrix])
    (factors,) = kernels.truncated_svd([matrix], rank)
    u, s, vt = (part.astype(np.float64) for part in factors)
    unit = exact[0] + SMALLEST / BOUNDS["value"]
    wrong = max(np.abs(values - exact).max(), np.abs(s - exact[:rank]).max(initial=0.0))
    best = np.linalg.norm(exact[rank:])
    # Rounding the factors to float32 alone costs this much.
    slack = (1e-6 * exact[0] + SMALLEST) * np.sqrt(max(rank, 1))
    rest = np.linalg.norm(matrix - u * s @ vt)
    eye = np.eye(rank)
    return {
        "value": float(wrong / unit),
        "orthogonality": float(max(np.abs(u.T @ u - eye).max(initial=0), np.abs(vt @ vt.T - eye).max(initial=0))),
        "residual": float(max(0.0, rest - slack - best) / max(best, 1e-300)) if rest > slack + best else 0.0,
    }


def main() -> None:
    """Searches and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--smallest", type=int, default=1, help="side of a matrix")
    parser.add_argument("--largest", type=int, default=300, help="side of a matrix")
    parser.add_argument("--few", action="store_true", help="at most one triplet of 32, which are found another way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--instructions", default="best", help="vnni, avx512, avx2, baseline or best")
    arguments = parser.parse_args()
    if not _native.choose_instructions(arguments.instructions):
        parser.error(f"this processor has no {arguments.instructions}")
    worst: dict[str, dict[str, float]] = {}
    broken = 0
    for i in range(arguments.count):
        rng = np.random.default_rng([arguments.seed, i])
        kind, matrix = make(rng, arguments.smallest, arguments.largest)
        rank = int(rng.integers(0, min(matrix.shape) // (32 if arguments.few else 1) + 1))
        row = worst.setdefault(kind, dict.fromkeys(BOUNDS, 0.0))
        for name, value in errors(matrix, rank).items():
            row[name] = max(row[name], value)
            if not value <= BOUNDS[name]:
                broken += 1
                print(f"matrix {i} ({kind}, {matrix.shape}, rank {rank}): {name} {value:.2e}", flush=True)
    print(
        f"{arguments.count} matrices, sides {arguments.smallest} to {arguments.largest}, "
        f"{_native.instructions()}: {broken} bounds broken"
    )
    print(f"{'':16}" + "".join(f"{name:>15}" for name in BOUNDS))
    for kind, row in sorted(worst.items()):
        print(f"{kind:16}" + "".join(f"{row[name]:15.1e}" for name in BOUNDS))
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
