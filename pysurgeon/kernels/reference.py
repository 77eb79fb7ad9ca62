"""The kernels in NumPy, of the same signatures: slow and plain, the oracle of the tests.

``threads`` is checked and otherwise ignored. Arithmetic is float64 wherever the result is rounded to float32 only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pysurgeon.errors import DataError
from pysurgeon.kernels._arguments import (
    CohortIndex,
    DoubleArray,
    Factors,
    FloatArray,
    IndexArray,
    as_first,
    as_gather,
    as_map,
    as_matrices,
    as_ranks,
    as_readers,
    check_adamw,
    check_live,
    check_one_of,
    check_sgd,
    check_threads,
    ranks_for,
)

__all__ = [
    "adamw_step",
    "eliminate",
    "gather_blocks",
    "map_blocks",
    "sgd_step",
    "singular_values",
    "sum_of_squares",
    "truncated_svd",
]


def singular_values(matrices: Iterable[npt.ArrayLike], *, threads: int = 1) -> list[FloatArray]:
    """The singular values of every matrix; see ``pysurgeon.kernels.singular_values``."""
    return [s for _, s, _ in truncated_svd(matrices, np.iinfo(np.int64).max, threads=threads)]


def truncated_svd(
    matrices: Iterable[npt.ArrayLike],
    rank: int | Sequence[int] | None = None,
    *,
    tolerance: float | None = None,
    energy: float | None = None,
    threads: int = 1,
) -> list[Factors]:
    """The leading singular triplets of every matrix; see ``pysurgeon.kernels.truncated_svd``."""
    check_threads(threads)
    check_one_of(rank, tolerance, energy)
    arrays = as_matrices(matrices)
    if rank is None:
        rank = ranks_for(singular_values(arrays), tolerance, energy)
    factors = []
    for i, (matrix, k) in enumerate(zip(arrays, as_ranks(rank, arrays), strict=True)):
        shape = f"{matrix.shape[0]} x {matrix.shape[1]}"
        if not np.isfinite(matrix).all():
            msg = f"Matrix {i} ({shape}) holds NaN or infinity: singular values need finite elements."
            raise DataError(msg)
        U, s, Vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
        if s[:k].max(initial=0.0) > np.finfo(np.float32).max:
            msg = f"Matrix {i} ({shape}) has a singular value beyond the range of float32: scale it down."
            raise DataError(msg)
        factors.append(Factors(*(part.astype(np.float32) for part in (U[:, :k], s[:k], Vt[:k]))))
    return factors


def gather_blocks(source: npt.ArrayLike, index: npt.ArrayLike, scale: npt.ArrayLike, *, threads: int = 1) -> FloatArray:
    """Selected and scaled blocks; see ``pysurgeon.kernels.gather_blocks``."""
    check_threads(threads)
    blocks, positions, factors = as_gather(source, index, scale)
    out = np.zeros((blocks.shape[0], positions.size, blocks.shape[2]), dtype=np.float32)
    kept = positions >= 0
    out[:, kept] = factors[kept][:, np.newaxis] * blocks[:, positions[kept]]
    return out


def map_blocks(source: npt.ArrayLike, matrix: npt.ArrayLike, *, threads: int = 1) -> FloatArray:
    """A linear map of the middle axis; see ``pysurgeon.kernels.map_blocks``."""
    check_threads(threads)
    blocks, linear = as_map(source, matrix)
    out: npt.NDArray[np.float64] = np.matmul(linear.astype(np.float64), blocks.astype(np.float64))
    return out.astype(np.float32)


def eliminate(
    inverses: Sequence[npt.ArrayLike],
    energies: Sequence[npt.ArrayLike],
    floors: Sequence[npt.ArrayLike],
    *,
    first: Sequence[int] = (),
    most: float = np.inf,
) -> tuple[IndexArray, DoubleArray]:
    """Greedy elimination; see ``pysurgeon.kernels.eliminate``."""
    readers = [(h.copy(), m.copy(), floor) for h, m, floor in zip(*as_readers(inverses, energies, floors), strict=True)]
    n = len(readers[0][0])
    wanted = as_first(first, n)
    alive = np.ones(n, dtype=bool)
    order, cost, total = np.zeros(n, np.int64), np.full(n, np.inf), 0.0
    for k in range(n):
        increase = np.zeros(n)
        for h, m, floor in readers:
            increase += np.diag(m) / np.maximum(np.diag(h), floor)
        r = wanted[k] if k < len(wanted) else int(np.argmin(np.where(alive, increase, np.inf)))
        total += 0.0 if k < len(wanted) else max(0.0, float(increase[r])) / len(readers)
        order[k], cost[k], alive[r] = r, total, False
        if total > most:
            order[k + 1 :] = np.flatnonzero(alive)
            break
        for h, m, floor in readers:
            column = h[:, r] / max(h[r, r], floor[r])
            cross = m[:, r] - column * (m[r, r] / 2)
            m -= np.outer(column, cross)
            m -= np.outer(cross, column)
            h -= np.outer(column, h[:, r])
            h[r, :] = h[:, r] = 0.0
            h[r, r] = 1.0
            m[r, :] = m[:, r] = 0.0
    return order, cost


def adamw_step(
    parameter: FloatArray,
    gradient: FloatArray,
    m: FloatArray,
    v: FloatArray,
    *,
    learning_rate: float | Sequence[float],
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int | Sequence[int],
    cohort: CohortIndex | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """One step of AdamW in place; see ``pysurgeon.kernels.adamw_step``."""
    rates, steps = check_adamw(parameter, gradient, m, v, beta1, beta2, learning_rate, step, cohort)
    rate, age = _of_elements(rates, cohort), _of_elements(steps, cohort)
    g = gradient_scale * gradient.astype(np.float64)
    first = beta1 * m.astype(np.float64) + (1.0 - beta1) * g
    second = beta2 * v.astype(np.float64) + (1.0 - beta2) * g**2
    direction = first / (1.0 - beta1**age) / (np.sqrt(second / (1.0 - beta2**age)) + epsilon)
    parameter[...] = (1.0 - rate * weight_decay) * parameter.astype(np.float64) - rate * direction
    m[...] = first
    v[...] = second


def sgd_step(
    parameter: FloatArray,
    gradient: FloatArray,
    momentum_buffer: FloatArray | None,
    *,
    learning_rate: float | Sequence[float],
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    cohort: CohortIndex | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """One step of stochastic gradient descent in place; see ``pysurgeon.kernels.sgd_step``."""
    rates = check_sgd(parameter, gradient, momentum_buffer, momentum, nesterov, learning_rate, cohort)
    before = parameter.astype(np.float64)
    g = gradient_scale * gradient.astype(np.float64) + weight_decay * before
    direction = g
    if momentum_buffer is not None and momentum != 0.0:
        velocity = momentum * momentum_buffer.astype(np.float64) + g
        momentum_buffer[...] = velocity
        direction = g + momentum * velocity if nesterov else velocity
    parameter[...] = before - _of_elements(rates, cohort) * direction


def _of_elements(each: Sequence[float] | Sequence[int], cohort: CohortIndex | None) -> DoubleArray:
    """What belongs to the cohort of every element: float64 of the parameter's shape, or a scalar."""
    return np.asarray(each, np.float64)[0 if cohort is None else cohort.array]


def sum_of_squares(array: FloatArray) -> float:
    """The sum of the squares in float64; see ``pysurgeon.kernels.sum_of_squares``."""
    check_live(array, "array", writable=False)
    return float(np.sum(array.astype(np.float64) ** 2))
