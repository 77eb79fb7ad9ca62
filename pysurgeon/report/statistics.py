"""The little statistics that a report needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

_Z95 = 1.959963984540054


def wilson(share: float, samples: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a proportion, which stays sensible near 0 and 1.

    Args:
        share: Observed proportion, 0..1.
        samples: Number of independent trials behind it, at least 1.

    Returns:
        Lower and upper end, 0..1.
    """
    z2 = _Z95**2 / samples
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z95 / (1 + z2) * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples))
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(mean: float, samples: int, deviation: float | None, metric: str) -> tuple[float, float]:
    """95 % confidence interval of a score: Wilson's for a share of samples, by the normal law for anything else.

    Args:
        mean: The score.
        samples: How many it is the mean of.
        deviation: Of the scores of single samples, where it is known.
        metric: What the score is called.
    """
    if metric == "accuracy" or deviation is None:
        return wilson(mean, samples)
    half = _Z95 * deviation / math.sqrt(samples)
    return mean - half, min(1.0, mean + half)


def at_least(successes: int, chances: Sequence[float]) -> float:
    """Probability of at least so many successes in independent trials of unequal chances (Poisson's binomial law).

    Args:
        successes: How many.
        chances: Probability of success of each trial, 0..1.
    """
    law = [1.0]
    for p in chances:
        law = [a * (1 - p) + b * p for a, b in zip([*law, 0.0], [0.0, *law], strict=True)]
    return min(1.0, sum(law[successes:]))
