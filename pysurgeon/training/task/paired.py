"""Whether one of two models is better, told by the samples that both have seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pysurgeon.training.task.evaluate import Evaluation

_LEVEL = 0.95
_Z = 1.959963984540054  # of the normal law, for that level on both sides
_SIGNIFICANT = 1 - _LEVEL


@dataclass(frozen=True)
class Difference:
    """How much better a second model is than a first one, on the same samples.

    Attributes:
        mean: The second one's metric less the first one's.
        interval: 95 % confidence interval of that: Tango's score interval of a difference of paired shares where a sample is right or
            wrong, else that of Student's t.
        p: Probability of a difference of at least that size if both were equally good: by McNemar's exact test or by that of Student.
        won: Samples that the second model does better.
        lost: Samples that the first one does better.
        samples: How many both have seen.
    """

    mean: float
    interval: tuple[float, float]
    p: float
    won: int
    lost: int
    samples: int

    @property
    def decided(self) -> bool:
        """Whether chance alone would hardly give such a difference (p below 0.05)."""
        return self.p < _SIGNIFICANT


def paired(first: Evaluation, second: Evaluation) -> Difference:
    """Compare two models sample by sample.

    Args:
        first: A model on a part of the data.
        second: Another one on the same part.
    """
    from scipy import stats

    change = second.scores - first.scores
    won, lost, samples = int((change > 0).sum()), int((change < 0).sum()), len(change)
    mean = float(change.mean())
    if first.metric == "accuracy" and np.isin(first.scores, (0, 1)).all() and np.isin(second.scores, (0, 1)).all():
        p = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
        interval = tango(won, lost, samples)
    elif np.ptp(change) == 0 or samples < 2:
        p, interval = (1.0 if mean == 0 else 0.0), (mean, mean)
    else:
        tested = stats.ttest_1samp(change, 0.0)
        p, interval = tested.pvalue, tested.confidence_interval(_LEVEL)
    return Difference(mean, (float(interval[0]), float(interval[1])), float(p), won, lost, samples)


def tango(won: int, lost: int, samples: int) -> tuple[float, float]:
    """95 % score interval of a difference of two shares that were counted on the same samples (Tango, 1998).

    Args:
        won: Samples that count for the second share only.
        lost: Samples that count for the first share only.
        samples: All samples, at least 1.

    Returns:
        Lower and upper end of the second share less the first one, -1..1.
    """
    from scipy.optimize import brentq

    def beyond(d: float) -> float:
        """Above 0 where a difference of `d` is too far off what was counted."""
        b = -won - lost + (2 * samples - won + lost) * d
        c = -lost * d * (1 - d)
        share = (math.sqrt(max(0.0, b * b - 8 * samples * c)) - b) / (4 * samples)  # of those that are lost, if it is d
        off = won - lost - samples * d
        return off * off - _Z * _Z * samples * max(0.0, 2 * share + d * (1 - d))

    def end(outermost: float) -> float:
        if beyond(outermost) <= 0:
            return outermost
        # Not from the middle itself, where both terms may be 0.
        return float(brentq(beyond, outermost, middle + math.copysign(1e-9, outermost - middle)))

    middle = (won - lost) / samples
    return end(-1.0), end(1.0)
