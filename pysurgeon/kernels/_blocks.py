"""Edits of one axis of an array, seen as blocks ``(outer, n, inner)`` with that axis in the middle."""

from __future__ import annotations

import numpy.typing as npt

from pysurgeon.kernels import _native
from pysurgeon.kernels._arguments import FloatArray, as_gather, as_map, check_threads


def gather_blocks(source: npt.ArrayLike, index: npt.ArrayLike, scale: npt.ArrayLike, *, threads: int = 1) -> FloatArray:
    """Selects, repeats, drops and scales blocks: ``out[:, j, :] = scale[j] * source[:, index[j], :]``.

    Args:
        source: Float32, ``(outer, n, inner)``. It is not modified.
        index: integers, ``(m,)``, each from 0 to ``n - 1``, or -1 for a block of zeros.
        scale: Float32, ``(m,)``.
        threads: How many threads share the work.

    Returns:
        A new float32 array, ``(outer, m, inner)``.

    Raises:
        DataError: The shapes do not fit together, or an index is out of range.
        UsageError: ``threads`` is no integer from 1.
    """
    check_threads(threads)
    return _native.gather_blocks(*as_gather(source, index, scale), threads)


def map_blocks(source: npt.ArrayLike, matrix: npt.ArrayLike, *, threads: int = 1) -> FloatArray:
    """Maps the middle axis linearly: ``out[o, j, i] = sum over k of matrix[j, k] * source[o, k, i]``.

    The result does not depend on ``threads``.

    Args:
        source: Float32, ``(outer, n, inner)``. It is not modified.
        matrix: Float32, ``(m, n)``.
        threads: How many threads share the work.

    Returns:
        A new float32 array, ``(outer, m, inner)``.

    Raises:
        DataError: The shapes do not fit together.
        UsageError: ``threads`` is no integer from 1.
    """
    check_threads(threads)
    return _native.map_blocks(*as_map(source, matrix), threads)
