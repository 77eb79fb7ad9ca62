"""Targets: what a loss compares a value of the model with, made and checked in NumPy from labels or from what a teacher gives.

Targets carry class weights and label smoothing, weights the division by the batch. So one graph serves all of them, gradients of parts of a batch
add up to that of the whole, and no label can make an engine read out of bounds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pysurgeon.graph import Array


@dataclass(frozen=True, eq=False)
class Encoded:
    """Targets of a batch.

    Attributes:
        arrays: By the names of the loss graph's inputs, ``(n, ...)`` each.
        weight: What the loss of every place counts, float64 ``(n, places...)``.
        counts: What all that counts sums up to when it counts fully, float64 ``(n,)``: the loss is the weighted sum over the sum of these.
    """

    arrays: dict[str, Array]
    weight: Array
    counts: Array


class Targets(ABC):
    """Makes targets.

    Attributes:
        shape: Of the targets of a sample.
        places: Shape of the losses of a sample.
        taught: Names of the teacher's values that they are made of.
    """

    shape: tuple[int, ...]
    places: tuple[int, ...]
    taught: tuple[str, ...] = ()

    def of_batch(self, y: Array, taught: Mapping[str, Array], *, plain: bool = False) -> Encoded:  # noqa: ARG002
        """Targets of a batch.

        Args:
            y: Labels ``(n, ...)``.
            taught: What the teacher gives, by the names of its values.
            plain: See `encoded`.
        """
        return self.encoded(y, plain=plain)

    @abstractmethod
    def encoded(self, y: Array, *, plain: bool = False) -> Encoded:
        """Targets that are made of one array.

        Args:
            y: Labels ``(n, ...)``, or what the teacher gives.
            plain: Whether class weights and label smoothing are left out, as they are when a model is measured.
        """


@dataclass(frozen=True, eq=False)
class Classes(Targets):
    """One class a place, as the probability of each class.

    Attributes:
        shape: Of the logits of a sample.
        axis: Of the classes in it.
        weights: Of each class ``(k,)``, float64.
        smoothing: Share of a label that is spread over all classes.
    """

    shape: tuple[int, ...]
    axis: int
    weights: Array
    smoothing: float = 0.0

    @property
    def places(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape without the classes."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    def encoded(self, y: Array, *, plain: bool = False) -> Encoded:
        """The weighted mean as torch defines it: over the weights of the classes of all places that have one."""
        classes = len(self.weights)
        weights, smoothing = (np.ones(classes), 0.0) if plain else (self.weights, self.smoothing)
        y = y.reshape(len(y), *self.places)
        counted = y >= 0
        label = np.where(counted, y, 0)
        target = np.zeros((*y.shape, classes), np.float32)
        target += (smoothing / classes * weights).astype(np.float32)
        own = (1.0 - smoothing) * weights[label]
        at = label[..., None]
        np.put_along_axis(target, at, np.take_along_axis(target, at, -1) + own[..., None].astype(np.float32), -1)
        target = np.ascontiguousarray(np.moveaxis(target, -1, 1 + self.axis))
        counts = (weights[label] * counted).reshape(len(y), -1).sum(axis=1)
        return Encoded({"target": target}, counted.astype(np.float64), counts)


@dataclass(frozen=True, eq=False)
class Labels(Targets):
    """Labels that are there or are not, as 0 and 1 or a probability between them.

    Attributes:
        shape: Of the logits of a sample.
        weights: Of each label that is there, float64, as broadcast to the labels of a sample laid flat.
        smoothing: Share of a label that is spread over both answers.
    """

    shape: tuple[int, ...]
    weights: Array = field(default_factory=lambda: np.ones(1))
    smoothing: float = 0.0

    @property
    def places(self) -> tuple[int, ...]:  # type: ignore[override]
        """Every label."""
        return self.shape

    def encoded(self, y: Array, *, plain: bool = False) -> Encoded:
        """Weights multiply the loss of labels that are there; what is below 0 does not count."""
        weights, smoothing = (np.ones(1), 0.0) if plain else (self.weights, self.smoothing)
        t = np.asarray(y, np.float64).reshape(len(y), -1)
        counted = t >= 0
        t = (1.0 - smoothing) * np.maximum(t, 0) + smoothing / 2
        # The loss is W softplus(z) - w t z with W = w t + 1 - t, which is W times the loss of the label w t / W.
        whole = weights * t + 1.0 - t
        target = (weights * t / whole).astype(np.float32).reshape(len(y), *self.shape)
        return Encoded({"target": target}, (whole * counted).reshape(target.shape), counted.sum(axis=1, dtype=float))


@dataclass(frozen=True, eq=False)
class Numbers(Targets):
    """Numbers in units of their own, so that the squares of who predicts the mean are 1, whatever the units are.

    Attributes:
        shape: Of the output of a sample.
        mean: Of each number, float64, broadcast to ``(1, *shape)``.
        deviation: Likewise, above 0.
    """

    shape: tuple[int, ...]
    mean: Array
    deviation: Array

    @property
    def places(self) -> tuple[int, ...]:  # type: ignore[override]
        """Every number."""
        return self.shape

    def encoded(self, y: Array, *, plain: bool = False) -> Encoded:  # noqa: ARG002  (nothing is left out)
        """Every number counts the same."""
        y = y.reshape(len(y), *self.shape)
        target = ((y.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)
        every = np.full(y.shape, 1.0)
        return Encoded({"target": target}, every, np.full(len(y), float(max(1, every[0].size))))


@dataclass(frozen=True, eq=False)
class AsTheyAre(Targets):
    """Numbers as they come.

    Attributes:
        shape: Of the targets of a sample.
        places: Of the losses of a sample.
    """

    shape: tuple[int, ...]
    places: tuple[int, ...]

    def encoded(self, y: Array, *, plain: bool = False) -> Encoded:  # noqa: ARG002
        """Every place counts the same."""
        return _even({"target": np.require(y.reshape(len(y), *self.shape), np.float32, "C")}, len(y), self.places)


@dataclass(frozen=True, eq=False)
class Fed(Targets):
    """What the inputs of a loss ask for, as it comes.

    Attributes:
        places: Of the losses of a sample.
        labels: Types and sample shapes of the inputs that take labels, by name, and whose labels they take, where there are several.
        of_teacher: Names of the teacher's values by those of the inputs that take them.
    """

    places: tuple[int, ...]
    labels: Mapping[str, tuple[np.dtype[np.generic], tuple[int, ...], str]] = field(default_factory=dict)
    of_teacher: Mapping[str, str] = field(default_factory=dict)

    @property
    def taught(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those that inputs take."""
        return tuple(self.of_teacher.values())

    def of_batch(self, y: Array, taught: Mapping[str, Array], *, plain: bool = False) -> Encoded:  # noqa: ARG002
        """Every place counts the same."""
        arrays = {
            name: np.require((y[output] if output else y).reshape(len(y), *shape), dtype, "C")
            for name, (dtype, shape, output) in self.labels.items()
        }
        arrays |= {n: np.require(taught[value], np.float32, "C") for n, value in self.of_teacher.items()}
        return _even(arrays, len(y), self.places)

    def encoded(self, y: Array, *, plain: bool = False) -> Encoded:
        """Of labels alone."""
        return self.of_batch(y, {}, plain=plain)


@dataclass(frozen=True, eq=False)
class Picked(Targets):
    """Targets that are made of the labels of one output.

    Attributes:
        targets: Made of one array.
        output: Whose labels they are made of.
    """

    targets: Targets
    output: str

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """As of what they are made by."""
        return self.targets.shape

    @property
    def places(self) -> tuple[int, ...]:  # type: ignore[override]
        """As of what they are made by."""
        return self.targets.places

    def encoded(self, y: Array, *, plain: bool = False) -> Encoded:
        """Of the labels of that output."""
        return self.targets.encoded(y[self.output], plain=plain)


@dataclass(frozen=True, eq=False)
class Taught(Targets):
    """Targets that are made of what a teacher gives.

    Attributes:
        targets: Made of one array.
        value: Of the teacher.
        prepare: What is made of it before.
    """

    targets: Targets
    value: str
    prepare: Callable[[Array], Array] = lambda z: z

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """As of what they are made by."""
        return self.targets.shape

    @property
    def places(self) -> tuple[int, ...]:  # type: ignore[override]
        """As of what they are made by."""
        return self.targets.places

    @property
    def taught(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one value."""
        return (self.value,)

    def of_batch(self, y: Array, taught: Mapping[str, Array], *, plain: bool = False) -> Encoded:  # noqa: ARG002
        """Labels are not looked at."""
        return self.encoded(taught[self.value], plain=plain)

    def encoded(self, y: Array, *, plain: bool = False) -> Encoded:
        """Of what the teacher gives."""
        return self.targets.encoded(self.prepare(y), plain=plain)


def _even(arrays: dict[str, Array], count: int, places: tuple[int, ...]) -> Encoded:
    """Targets of which every place counts the same."""
    weight = np.ones((count, *places))
    return Encoded(arrays, weight, weight.reshape(count, -1).sum(axis=1))


def softmax(z: Array, axis: int) -> Array:
    """Probabilities of logits, float32."""
    e = np.exp(z.astype(np.float64) - z.max(axis=axis, keepdims=True))
    p: Array = e / e.sum(axis=axis, keepdims=True)
    return p.astype(np.float32)


def sigmoid(z: Array) -> Array:
    """Probabilities of logits, float32."""
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(-z.astype(np.float64)))).astype(np.float32)
