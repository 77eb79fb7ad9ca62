"""The order of the classes: a trained network answers in its own, which need not be that of the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pysurgeon.graph import Array

# What the order has to be worth on samples that it was not found on: deviations of who tosses a coin where only one of two orders is right,
# and the share of what a guess gets wrong.
_DEVIATIONS = 4.0
_SKILL = 0.4


@dataclass(frozen=True)
class Order:
    """An order of the classes in which a model does better than in that of the data.

    Attributes:
        positions: int64 ``(classes,)``, for each class of the data the output that means it.
        accuracy: With it, of samples that it was not found on.
        given: In the data's order, of the same samples.
    """

    positions: Array
    accuracy: float
    given: float


def best_positions(answers: Array, y: Array, classes: int) -> Array:
    """For each class the output that most of its samples are answered with, no output twice: one assignment problem.

    Args:
        answers: int64 ``(n,)``, the largest output of each sample.
        y: int64 ``(n,)``, its class.
        classes: How many there are.
    """
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes, classes))
    np.add.at(counts, (y, answers), 1)
    # Of orders that are as good, the one that moves least.
    counts += np.eye(classes) / 2
    return np.asarray(linear_sum_assignment(counts, maximize=True)[1])


def found_order(answers: Array, y: Array, classes: int) -> Order | None:
    """The order in which a model does clearly better, seen on the half of the samples that it was not found on; `None` if there is none.

    Args:
        answers: int64 ``(n,)``, the largest output of each sample; in random order.
        y: int64 ``(n,)``, its class.
        classes: How many there are.
    """
    positions = best_positions(answers, y, classes)
    if (positions == np.arange(classes)).all():
        return None
    half = len(y) // 2
    first = best_positions(answers[:half], y[:half], classes)
    rest, labels = answers[half:], y[half:]
    with_order, as_given = first[labels] == rest, labels == rest
    better, worse = int((with_order & ~as_given).sum()), int((as_given & ~with_order).sum())
    chance = float(np.bincount(labels, minlength=classes).max()) / max(1, len(labels))
    accuracy = float(with_order.mean())
    if better - worse <= _DEVIATIONS * np.sqrt(better + worse) or accuracy < chance + _SKILL * (1 - chance):
        return None
    return Order(positions, accuracy, float(as_given.mean()))
