"""Two models on the same samples: what is told apart, and what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pysurgeon.training import paired
from pysurgeon.training.task.evaluate import Evaluation
from pysurgeon.training.task.paired import tango


def seen(scores: np.ndarray, metric: str = "accuracy") -> Evaluation:
    scores = np.asarray(scores, np.float64)
    return Evaluation(0.0, float(scores.mean()), len(scores), scores, metric)


def counted(won: int, lost: int, samples: int) -> tuple[Evaluation, Evaluation]:
    """Two models that are right on the rest."""
    first, second = np.ones(samples), np.ones(samples)
    first[:won] = 0
    second[won : won + lost] = 0
    return seen(first), seen(second)


def test_a_loss_that_two_intervals_of_their_own_hide_is_seen_in_pairs() -> None:
    found = paired(*counted(5, 31, 449))
    assert (found.won, found.lost, found.samples) == (5, 31, 449)
    assert found.p == pytest.approx(1.3e-5, rel=0.05)
    assert found.decided
    assert found.mean == pytest.approx(-26 / 449)
    assert found.interval[0] < found.mean < found.interval[1] < 0


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    # Twice the tail of a fair coin.
    [(0, 0, 1.0), (1, 0, 1.0), (0, 5, 2 * 0.5**5), (0, 6, 2 * 0.5**6), (3, 3, 1.0), (9, 1, 2 * 11 * 0.5**10)],
)
def test_the_test_is_that_of_mcnemar(won: int, lost: int, p: float) -> None:
    found = paired(*counted(won, lost, 40))
    assert found.p == pytest.approx(p)
    assert found.decided == (p < 0.05)


def test_the_interval_is_that_of_tango() -> None:
    # Airway hyper-responsiveness before and after a transplantation (Bentur et al., 2009) in Fagerland, Lydersen and Laake (2014).
    assert tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    # Without a sample that tells them apart, its closed form.
    z = 1.959963984540054**2
    assert tango(0, 0, 100) == pytest.approx((-z / (100 + z), z / (100 + z)), rel=1e-6)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 3000))
def test_intervals_hold_what_was_counted_and_turn_round_with_the_models(won: int, lost: int, samples: int) -> None:
    assume(won + lost <= samples)
    low, high = tango(won, lost, samples)
    assert -1 <= low <= (won - lost) / samples <= high <= 1
    assert tango(lost, won, samples) == pytest.approx((-high, -low), abs=1e-7)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    for n, p_won, p_lost in ((40, 0.05, 0.1), (200, 0.02, 0.02), (449, 0.01, 0.07)):
        held = 0
        for won, lost, _ in rng.multinomial(n, (p_won, p_lost, 1 - p_won - p_lost), 400):
            low, high = tango(int(won), int(lost), n)
            held += low <= p_won - p_lost <= high
        assert 0.92 <= held / 400 <= 0.99


def test_numbers_are_compared_by_the_mean_of_their_differences() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(0.0, 1.0, 200)  # what both find hard hides a difference that pairs show
    first, second = seen(hard, "R²"), seen(hard + 0.05 + 0.1 * rng.normal(size=200), "R²")
    found = paired(first, second)
    assert found.decided
    assert found.interval[0] > 0
    # Unpaired, no difference could be seen.
    assert math.hypot(first.scores.std(), second.scores.std()) / math.sqrt(200) > found.mean
    assert not paired(first, seen(hard + 0.1 * rng.normal(size=200), "R²")).decided
    same = paired(first, first)
    assert (same.mean, same.interval, same.p, same.won, same.lost) == (0.0, (0.0, 0.0), 1.0, 0, 0)
