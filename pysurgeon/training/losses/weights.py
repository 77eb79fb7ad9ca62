"""What classes and labels count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.errors import UsageError
from pysurgeon.graph import Array
from pysurgeon.settings import ClassWeights


@dataclass(frozen=True)
class Importance:
    """What classes and labels count.

    Attributes:
        balanced: Whether those that are rare count more.
        smoothing: Share of a label that is spread over all classes.
    """

    balanced: bool = False
    smoothing: float = 0.0

    def of(self, balanced: Callable[[], Array], count: int) -> Array:
        """Weights as asked for.

        Args:
            balanced: Makes them where they make up for what is rare.
            count: How many there are else, all 1.
        """
        return balanced() if self.balanced else np.ones(count)


def importance(data: Dataset, taught: bool, class_weights: ClassWeights, smoothing: float) -> Importance:
    """What is asked for.

    Raises:
        UsageError: The share is none, or there are no labels that could be weighed.
    """
    if not 0.0 <= smoothing < 1.0:
        message = f"label smoothing is {smoothing}; it must be a share from 0 to below 1"
        raise UsageError(message)
    if class_weights != "none" or smoothing:
        why = {"regression": "has numbers to predict", "unlabelled": "has no labels"}.get(data.task, "")
        if taught:
            why = "is learnt from what a teacher gives"
        if why:
            message = f"class weights and label smoothing are for classes and labels, but {data.name} {why}"
            raise UsageError(message)
    return Importance(class_weights == "balanced", smoothing)


def by_class(y: Array, classes: int) -> Array:
    """Inverse frequencies of mean 1 over all labels; a class without any counts as one that has one."""
    there = y[y >= 0]
    counts = np.maximum(np.bincount(there, minlength=classes), 1)
    weights: Array = len(there) / (classes * counts)
    return weights


def by_label(y: Array) -> Array:
    """How many samples lack a label for every one that has it, by label; of places, over all of them."""
    flat = np.reshape(y, (len(y), -1)) if y.ndim < 3 and y.dtype.kind == "f" else np.reshape(y[y >= 0], (-1, 1))
    there = flat.sum(axis=0)
    weights: Array = (len(flat) - there) / np.maximum(there, 1)
    return np.maximum(weights, 1.0 / len(flat))
