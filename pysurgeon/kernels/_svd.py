"""Singular values and truncated singular value decompositions of many matrices at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy.typing as npt

from pysurgeon.kernels import _native
from pysurgeon.kernels._arguments import (
    Factors,
    FloatArray,
    as_matrices,
    as_ranks,
    check_one_of,
    check_threads,
    ranks_for,
)

# Where elements are rounded to integers, what a rank leaves is off by up to 1e-4 of the norm: by 1 % of this share.
_LEAST_ROUNDED = 0.01


def singular_values(matrices: Iterable[npt.ArrayLike], *, threads: int = 1) -> list[FloatArray]:
    """Computes the singular values of every matrix.

    They are right to 1e-4 of the largest one of their matrix, those of most layers to 1e-6, or to 1e-5 where
    the processor multiplies 16-bit integers faster. The result does not depend on ``threads``.

    Args:
        matrices: 2-D arrays of any shapes. They are not modified; C-contiguous float32 ones are not copied either.
        threads: How many matrices are worked on at a time, each by one thread.

    Returns:
        For every matrix of shape ``(m, n)`` a float32 array of shape ``(min(m, n),)``, descending.

    Raises:
        DataError: A matrix is not 2-D, not real or not finite, or has a singular value beyond float32; the message
            names its index.
        UsageError: ``threads`` is no integer from 1.
    """
    check_threads(threads)
    return _native.singular_values(as_matrices(matrices), True, threads)


def truncated_svd(
    matrices: Iterable[npt.ArrayLike],
    rank: int | Sequence[int] | None = None,
    *,
    tolerance: float | None = None,
    energy: float | None = None,
    threads: int = 1,
) -> list[Factors]:
    """Computes the leading singular triplets of every matrix, the best approximation of that rank.

    Values are right to 1e-4 of the largest one of their matrix, and the residual is within 1 % of the best one of that
    rank. Vectors are orthonormal to 1e-5, those of singular values that are zero (rank-deficient matrices) included.
    The work is done in float32, or partly in 16-bit integers, where that keeps these promises, and in float64 where it
    does not. The result does not depend on ``threads``.

    Args:
        matrices: 2-D arrays of any shapes. They are not modified; C-contiguous float32 ones are not copied either.
        rank: How many triplets: one number for all matrices, or one for each. A matrix has no more than its smaller
            side, and gets that many where the rank is larger.
        tolerance: Instead of a rank: each gets the smallest one that leaves at most this share of its Frobenius norm.
        energy: Instead of a rank: each gets the smallest one that keeps at least this share of its squared norm.
        threads: How many matrices are worked on at a time, each by one thread.

    Returns:
        For every matrix of shape ``(m, n)`` a tuple ``(U, s, Vt)`` of float32 arrays of shapes ``(m, k)``, ``(k,)``
        descending, and ``(k, n)``, with ``k = min(rank, m, n)``.

    Raises:
        DataError: A matrix is not 2-D, not real or not finite, or has a singular value beyond float32; the message
            names its index.
        UsageError: A rank is negative, their number is not that of the matrices, a share is not from 0 to 1, not
            exactly one of ``rank``, ``tolerance`` and ``energy`` is given, or ``threads`` is no integer from 1.
    """
    check_threads(threads)
    check_one_of(rank, tolerance, energy)
    arrays = as_matrices(matrices)
    if rank is None:
        left = tolerance if tolerance is not None else math.sqrt(1.0 - (energy or 0.0))
        rank = ranks_for(_native.singular_values(arrays, left >= _LEAST_ROUNDED, threads), tolerance, energy)
    return [Factors(*factors) for factors in _native.truncated_svd(arrays, as_ranks(rank, arrays), threads)]
