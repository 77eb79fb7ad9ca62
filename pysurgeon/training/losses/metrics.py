"""Metrics: how good what a model gives is; the larger the better, and 1 is the best, if it is not the negative of a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pysurgeon.data import Task
from pysurgeon.graph import Array
from pysurgeon.training.losses.targets import Numbers

METRICS: dict[Task, str] = {
    "classification": "accuracy",
    "multi-label": "label accuracy",
    "regression": "R²",
    "unlabelled": "R² to the teacher",
    "several": "mean score",
}
NEGATIVE = "negative loss"


def score_text(metric: str, score: float, digits: int = 2) -> str:
    """A score as a user reads it: in per cent, as 1 is the best, unless it is the negative of a loss."""
    return f"{score:.{digits + 2}g}" if metric == NEGATIVE else f"{score:.{digits}%}"


class Metric(ABC):
    """Scores of samples.

    Attributes:
        name: What they are called.
    """

    name: str

    @property
    @abstractmethod
    def values(self) -> tuple[str, ...]:
        """Names of the values of the model that it looks at."""

    @property
    def taught(self) -> tuple[str, ...]:
        """Names of the teacher's values that it looks at."""
        return ()

    @abstractmethod
    def scores(self, values: Mapping[str, Array], y: Array, taught: Mapping[str, Array]) -> tuple[Array, Array]:
        """Sum of the scores of each sample's places, and how many places there are, float64 ``(n,)`` each.

        Args:
            values: Of the model, by name.
            y: Labels.
            taught: Values of the teacher, by name.
        """


@dataclass(frozen=True)
class Accuracy(Metric):
    """Share of the places whose class has the largest logit.

    Attributes:
        value: Name of the logits.
        axis: Of the classes in a sample; `None` where two classes are told by one logit.
        name: See `Metric`.
    """

    value: str
    axis: int | None
    name: str = METRICS["classification"]

    @property
    def values(self) -> tuple[str, ...]:
        """The logits."""
        return (self.value,)

    def scores(self, values: Mapping[str, Array], y: Array, taught: Mapping[str, Array]) -> tuple[Array, Array]:  # noqa: ARG002
        """Right places and places that have a class."""
        z = values[self.value]
        label = z.reshape(y.shape) > 0 if self.axis is None else z.argmax(axis=1 + self.axis).reshape(y.shape)
        counted = y >= 0
        right = (label == y) & counted
        return right.reshape(len(y), -1).sum(axis=1, dtype=float), counted.reshape(len(y), -1).sum(axis=1, dtype=float)


@dataclass(frozen=True)
class LabelAccuracy(Metric):
    """Share of the labels that are right at a probability of a half."""

    value: str
    name: str = METRICS["multi-label"]

    @property
    def values(self) -> tuple[str, ...]:
        """The logits."""
        return (self.value,)

    def scores(self, values: Mapping[str, Array], y: Array, taught: Mapping[str, Array]) -> tuple[Array, Array]:  # noqa: ARG002
        """Right labels and labels."""
        shape = len(y), -1
        right = (np.reshape(values[self.value], shape) > 0) == (np.reshape(y, shape) > 0.5)
        return right.sum(axis=1, dtype=float), np.full(len(y), float(right.shape[1]))


@dataclass(frozen=True)
class Determination(Metric):
    """Coefficient of determination: 1 is without error, 0 as good as the mean. The mean over all outputs that are compared.

    Attributes:
        units: By value of the model.
        theirs: Names of the teacher's values by those of the model; nothing for one that is compared with the labels.
        name: See `Metric`.
    """

    units: Mapping[str, Numbers]
    theirs: Mapping[str, str]
    name: str = METRICS["regression"]

    @property
    def values(self) -> tuple[str, ...]:
        """Those that have a unit."""
        return tuple(self.units)

    @property
    def taught(self) -> tuple[str, ...]:
        """What they are compared with."""
        return tuple(self.theirs.values())

    def scores(self, values: Mapping[str, Array], y: Array, taught: Mapping[str, Array]) -> tuple[Array, Array]:
        """1 less the mean of squares in units of the deviation."""
        total = np.zeros(len(y))
        with np.errstate(invalid="ignore", over="ignore"):
            for value, unit in self.units.items():
                target = taught[self.theirs[value]] if self.theirs.get(value) else y
                ours, wanted = (x.reshape(len(y), *unit.shape).astype(np.float64) for x in (values[value], target))
                total += (((ours - wanted) / unit.deviation) ** 2).reshape(len(y), -1).mean(axis=1)
        return 1.0 - total / len(self.units), np.ones(len(y))


@dataclass(frozen=True)
class Several(Metric):
    """The mean of the metrics of several outputs; each sample counts the same.

    Attributes:
        metrics: By output.
        name: See `Metric`.
    """

    metrics: Mapping[str, Metric]
    name: str = METRICS["several"]

    @property
    def values(self) -> tuple[str, ...]:
        """Those of all of them."""
        return tuple(value for metric in self.metrics.values() for value in metric.values)

    def scores(self, values: Mapping[str, Array], y: Array, taught: Mapping[str, Array]) -> tuple[Array, Array]:
        """Means over the places of each sample, averaged over the outputs."""
        found = [metric.scores(values, y[output], taught) for output, metric in self.metrics.items()]
        total = sum(sums / np.maximum(counts, 1.0) for sums, counts in found)
        return np.asarray(total) / len(found), np.ones(len(y))
