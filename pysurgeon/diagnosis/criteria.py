r"""Information criteria: how many directions of a matrix are signal.

Two criteria are sound here, and one is not: the textbook BIC of a truncated matrix, `N ln(RSS/N) + k (m+n-k) ln N`, finds rank 0
where clear spikes stand, or full rank when k is not capped, because it estimates the noise from what is left over.

- `weight_rank`: the noise variance comes from the bulk (the median of the Marchenko-Pastur law), so the criterion is
  `RSS(k)/sigma^2 + c k (m+n-k)`. The penalty a degree of freedom, c, lies between AIC's 2 and BIC's ln N and is set so that the
  first direction passes exactly at the optimal hard threshold of Gavish and Donoho (IEEE Trans. Inf. Theory 60, 2014).
- `activation_rank`: Minka's BIC for probabilistic principal component analysis (NIPS 2000, eq. 79), for covariances of many more
  samples than dimensions.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pysurgeon.graph import Array


def weight_rank(values: Array, shape: tuple[int, int]) -> int:
    """Number of directions of a weight matrix that stand out of its noise.

    Args:
        values: Its singular values, descending, (min(m, n),).
        shape: (m, n).
    """
    m, n = shape
    small, large = min(m, n), max(m, n)
    s = np.asarray(values, dtype=np.float64)
    if not small or s[0] <= 0:
        return 0
    noise = float(np.median(s)) ** 2 / (large * _marchenko_pastur_median(small / large))
    if noise <= float(s[0]) ** 2 * 1e-12:
        return int(np.sum(s > s[0] * 1e-6))
    k = np.arange(small + 1)
    residual = np.concatenate([np.cumsum(s[::-1] ** 2)[::-1], [0.0]]) / noise
    penalty = _hard_threshold(small / large) ** 2 * large / (m + n - 1)
    return int(np.argmin(residual + penalty * k * (m + n - k)))


def activation_rank(eigenvalues: Array, samples: int) -> int:
    """Number of principal components of activations by Minka's BIC.

    Args:
        eigenvalues: Of the covariance, descending, (d,).
        samples: Number of samples behind it.
    """
    values = np.maximum(np.asarray(eigenvalues, dtype=np.float64), 0.0)
    d = len(values)
    if d == 0 or values[0] <= 0:
        return 0
    values = np.maximum(values, values[0] * 1e-12)
    best, best_k = -np.inf, d
    logs = np.cumsum(np.log(values))
    tails = np.cumsum(values[::-1])[::-1]
    for k in range(1, d + 1):
        noise = 0.0 if k == d else (d - k) * np.log(tails[k] / (d - k))
        free = d * k - k * (k + 1) / 2
        evidence = -samples / 2 * (logs[k - 1] + noise) - (free + k) / 2 * np.log(samples)
        if evidence > best:
            best, best_k = evidence, k
    return best_k


def effective_rank(energies: Array) -> float:
    """Exponential of the entropy of the normalized energies (Roy and Vetterli 2007)."""
    p = np.maximum(np.asarray(energies, dtype=np.float64), 0.0)
    if p.sum() <= 0:
        return 0.0
    p = p[p > 0] / p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def stable_rank(values: Array) -> float:
    """Squared Frobenius norm over squared spectral norm."""
    s = np.asarray(values, dtype=np.float64)
    return float(np.sum(s**2) / s[0] ** 2) if s.size and s[0] > 0 else 0.0


def _hard_threshold(beta: float) -> float:
    """Gavish and Donoho's lambda for known noise, in units of sigma sqrt(larger side); beta = smaller / larger side."""
    return float(np.sqrt(2 * (beta + 1) + 8 * beta / ((beta + 1) + np.sqrt(beta**2 + 14 * beta + 1))))


@lru_cache(maxsize=1024)
def _marchenko_pastur_median(beta: float) -> float:
    """Median of the Marchenko-Pastur law with ratio beta in (0, 1], variance one."""
    low, high = (1 - np.sqrt(beta)) ** 2, (1 + np.sqrt(beta)) ** 2
    # In the angle t, x = low + (high - low) sin(t)^2, the square-root ends of the density vanish.
    t = np.linspace(0, np.pi / 2, 20001)
    x = low + (high - low) * np.sin(t) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.sqrt(np.maximum((high - x) * (x - low), 0)) / (2 * np.pi * beta * x)
        weight = density * (high - low) * np.sin(2 * t)
    if low == 0:
        weight[0] = 0.0 if beta < 1 else weight[1]
    mass = np.concatenate([[0.0], np.cumsum((weight[1:] + weight[:-1]) / 2 * np.diff(t))])
    return float(np.interp(mass[-1] / 2, mass, x))
