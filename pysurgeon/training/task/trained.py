"""Whether somebody has trained a model: its weights tell, whatever it is fed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pysurgeon.graph import Array
from pysurgeon.model import Model

# A weight whose largest singular value is so many times that of noise of its size and deviation has been trained. Over 200 draws each of
# six sizes from 8x8 on, normal and uniform, the largest factor of noise was 1.08.
_BEYOND_NOISE = 1.25
_SMALLEST = 6  # rows and columns from which on a spectrum says something
_LARGEST = 4096  # of the smaller side: more would take minutes and tell the same
_ROUNDS = 30


def looks_trained(model: Model) -> bool:
    """Whether a model cannot be as it was initialized.

    Its normalizations have seen data, or a weight has a direction that random numbers of its deviation do not have: the largest singular
    value of `m x n` of them is about ``deviation * (sqrt(m) + sqrt(n))``.
    """
    return any(_has_moved(model.tensor(name)) for name in model.statistics()) or any(
        _has_direction(weight) for weight in _matrices(model)
    )


def _has_moved(statistic: Array) -> bool:
    return bool((statistic != statistic.flat[0]).any()) if statistic.size else False


def _matrices(model: Model) -> Iterator[Array]:
    """Weights as matrices, of a convolution the filters times all else; smallest first."""
    tensors = [model.tensor(name) for name in model.trainable()]
    for weight in sorted((t for t in tensors if t.ndim >= 2 and t.size), key=lambda t: t.size):
        matrix = weight.reshape(len(weight), -1)
        if _SMALLEST <= min(matrix.shape) <= _LARGEST:
            yield matrix


def _has_direction(matrix: Array) -> bool:
    deviation = float(np.sqrt(np.mean(np.square(matrix, dtype=np.float64))))
    if not 0 < deviation < np.inf:
        return False
    rows, columns = matrix.shape
    return bool(_norm(matrix) > _BEYOND_NOISE * deviation * (np.sqrt(rows) + np.sqrt(columns)))


def _norm(matrix: Array) -> float:
    """The largest singular value from below, by power iteration."""
    x = np.random.default_rng(0).standard_normal(matrix.shape[1]).astype(matrix.dtype)
    for _ in range(_ROUNDS):
        x /= np.linalg.norm(x)
        y = matrix @ x
        x = matrix.T @ y
        if not np.linalg.norm(x) > 0:
            return 0.0
    return float(np.linalg.norm(y))
