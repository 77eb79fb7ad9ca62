r"""Ridge least squares whose ridge is chosen, and whose error is estimated, on samples that it was not fitted to.

`y ~ x B + c`: the second moments of (x, y, 1) are summed up once for each of a few folds of the samples. Whatever is fitted to all
folds but one, for any ridge, can then be judged on the remaining one without looking at a sample again. The ridge with the least
error on held-out folds is taken; with far more samples than unknowns that is the smallest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pysurgeon.graph import Array
from pysurgeon.surgery.calibration import FOLDS

# Relative to the mean square of a column of x. The smallest lies above what float32 activations leave undetermined (1e-14), and is
# small enough that what is a copy or a combination of other columns is found without a trace.
RIDGES = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# A larger ridge has to be this much better than a smaller one.
_BETTER = 0.999
_CHUNK = 4096


@dataclass(frozen=True)
class Fit:
    """`y ~ x matrix + constant`.

    Attributes:
        matrix: float64 (k, m).
        constant: float64 (m,), zero where none was asked for.
        lost: Sum of the squared errors on samples that a fit did not see, every sample once.
        ridge: What was chosen; infinite where nothing could be gained and the matrix is zero.
    """

    matrix: Array
    constant: Array
    lost: float
    ridge: float


def fit(x: Array, y: Array, folds: Array, *, constant: bool, metric: Array | None = None) -> Fit:
    """Fit y by x.

    Args:
        x: (samples, k).
        y: (samples, m).
        folds: int (samples,), 0 ... FOLDS - 1; samples that depend on one another belong into one fold.
        constant: Whether a constant may be added.
        metric: Positive semidefinite (m, m) in which errors are measured, the identity where `None`.
    """
    moments = np.stack([_moments(x, y, folds == f) for f in range(FOLDS)])
    k, m = x.shape[1], y.shape[1]
    total = moments.sum(0)
    metric = np.eye(m) if metric is None else metric
    nothing = np.zeros((k + 1, m))
    best, lost = np.inf, _lost(total, nothing, metric)
    filled = [f for f in range(FOLDS) if moments[f, -1, -1] > 0]
    if len(filled) > 1:
        for ridge in RIDGES:
            error = sum(
                _lost(moments[f], _solve(total - moments[f], k, ridge, constant=constant), metric) for f in filled
            )
            if error < _BETTER * lost:
                best, lost = ridge, error
            elif np.isfinite(best):
                break
    solution = _solve(total, k, best, constant=constant) if np.isfinite(best) else nothing
    return Fit(solution[:k], solution[k], max(0.0, lost), best)


def _moments(x: Array, y: Array, chosen: Array) -> Array:
    """Sums of products of the columns of (x, y, 1) over some samples, float64."""
    rows = np.flatnonzero(chosen)
    width = x.shape[1] + y.shape[1] + 1
    total = np.zeros((width, width))
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        joint = np.ones((len(part), width))
        joint[:, : x.shape[1]] = x[part]
        joint[:, x.shape[1] : -1] = y[part]
        total += joint.T @ joint
    return total


def _solve(moments: Array, k: int, ridge: float, *, constant: bool) -> Array:
    """Coefficients (k + 1, m) of x and of the constant, which costs no ridge."""
    m = len(moments) - k - 1
    columns = [*range(k), *([k + m] if constant else [])]
    gram = moments[np.ix_(columns, columns)]
    level = float(np.trace(moments[:k, :k])) / k
    gram[np.arange(k), np.arange(k)] += ridge * level if level > 0 else 1.0
    solution = np.zeros((k + 1, m))
    solved = np.linalg.solve(gram, moments[np.ix_(columns, range(k, k + m))])
    solution[: len(columns)] = solved
    return solution


def _lost(moments: Array, solution: Array, metric: Array) -> float:
    """Sum of the squared errors of a solution on the samples behind these moments."""
    k, m = len(solution) - 1, solution.shape[1]
    error = np.concatenate([-solution[:k], np.eye(m), -solution[k:]])
    return float(np.sum((error.T @ moments @ error) * metric))
