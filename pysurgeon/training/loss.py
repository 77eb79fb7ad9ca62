"""Losses: what a task asks of a model, once for the training engine and once in NumPy for whoever measures.

The engine is given arrays of the shape of the logits in the place of labels. They carry class weights, label smoothing and the
division by the batch, so that one graph serves all of them, gradients of parts of a batch add up to that of the whole, and no
label can make the engine read out of bounds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from pysurgeon.data import Dataset, Task
from pysurgeon.errors import UsageError
from pysurgeon.graph import Array

ClassWeights: TypeAlias = Literal["none", "balanced"]

METRICS: dict[Task, str] = {"classification": "accuracy", "multi-label": "label accuracy", "regression": "R²"}

TARGETS, WEIGHTS, LOSS = "pysurgeon.targets", "pysurgeon.weights", "pysurgeon.loss"
ONE = f"{LOSS}.one"

# (operator, inputs, outputs, attributes) of a node; names that begin with a dot are the loss's own.
Line: TypeAlias = tuple[str, Sequence[str], str, dict[str, Any]]


def loss_name(name: str) -> str:
    """The name in a graph of a value that a line of a loss names. `ONE` is a constant, the others are computed."""
    return f"{LOSS}{name}" if name.startswith(".") else name


@dataclass(frozen=True, eq=False)
class Loss(ABC):
    """What is to be minimised.

    Attributes:
        metric: What scores are called.
        weights: Of each class or label ``(k,)``, float64; ones where none are asked for.
        smoothing: Share of a label that is spread over all classes.
    """

    metric: str
    weights: Array
    smoothing: float

    @abstractmethod
    def nodes(self, logits: str) -> list[Line]:
        """The loss as ONNX nodes from the logits and the two arrays of `arrays` to the scalar `LOSS`."""

    @abstractmethod
    def arrays(self, y: Array) -> tuple[Array, Array]:
        """Targets of a batch for the engine: the arrays `TARGETS` and `WEIGHTS`, float32 of the shape of the logits.

        The loss of the batch is a sum over all of their elements.
        """

    @abstractmethod
    def losses(self, logits: Array, y: Array) -> Array:
        """The plain loss of every sample, float64 ``(n,)``, without weights and smoothing; NaN where it is not finite."""

    @abstractmethod
    def scores(self, logits: Array, y: Array) -> Array:
        """The metric of every sample, float64 ``(n,)``; the larger the better, and 1 is the best."""


@dataclass(frozen=True, eq=False)
class CrossEntropy(Loss):
    """One class a sample: softmax cross-entropy in nats; the metric is the accuracy."""

    def nodes(self, logits: str) -> list[Line]:
        """``-sum(targets * log softmax(logits))``."""
        return [
            ("LogSoftmax", [logits], ".log", {"axis": -1}),
            ("Mul", [".log", TARGETS], ".picked", {}),
            ("ReduceSum", [".picked"], ".sum", {"keepdims": 0}),
            ("Neg", [".sum"], LOSS, {}),
        ]

    def arrays(self, y: Array) -> tuple[Array, Array]:
        """The weighted mean as torch defines it: over the weights of the samples' classes."""
        classes = len(self.weights)
        targets = np.tile(self.smoothing / classes * self.weights, (len(y), 1))
        targets[np.arange(len(y)), y] += (1.0 - self.smoothing) * self.weights[y]
        targets = (targets / self.weights[y].sum()).astype(np.float32)
        return targets, targets

    def losses(self, logits: Array, y: Array) -> Array:
        """Cross-entropy of each sample."""
        with np.errstate(invalid="ignore", over="ignore"):
            z = logits.astype(np.float64)
            z = z - z.max(axis=1, keepdims=True)
            picked: Array = z[np.arange(len(y)), y]
            found: Array = np.log(np.exp(z).sum(axis=1)) - picked
        return found

    def scores(self, logits: Array, y: Array) -> Array:
        """1 where the largest output is that of the class, else 0."""
        right: Array = logits.argmax(axis=1) == y
        return right.astype(np.float64)


@dataclass(frozen=True, eq=False)
class BinaryCrossEntropy(Loss):
    """Labels that are there or are not: sigmoid cross-entropy in nats, the mean over labels.

    Also two classes of which the model gives the logit of the second one.
    """

    def nodes(self, logits: str) -> list[Line]:
        """``sum(weights * softplus(logits) - targets * logits)``, without overflow: ``softplus(z) = relu(z) + log(1+exp(-|z|))``."""
        return [
            ("Relu", [logits], ".relu", {}),
            ("Abs", [logits], ".abs", {}),
            ("Neg", [".abs"], ".neg", {}),
            ("Exp", [".neg"], ".exp", {}),
            ("Add", [".exp", ".one"], ".above", {}),
            ("Log", [".above"], ".log", {}),
            ("Add", [".relu", ".log"], ".softplus", {}),
            ("Mul", [".softplus", WEIGHTS], ".all", {}),
            ("Mul", [logits, TARGETS], ".there", {}),
            ("Sub", [".all", ".there"], ".each", {}),
            ("ReduceSum", [".each"], LOSS, {"keepdims": 0}),
        ]

    def arrays(self, y: Array) -> tuple[Array, Array]:
        """Weights multiply the loss of labels that are there."""
        t = np.asarray(y, np.float64).reshape(len(y), -1)
        t = (1.0 - self.smoothing) * t + self.smoothing / 2
        there = self.weights * t
        return (there / t.size).astype(np.float32), ((there + 1.0 - t) / t.size).astype(np.float32)

    def losses(self, logits: Array, y: Array) -> Array:
        """The mean over the labels of each sample."""
        with np.errstate(invalid="ignore", over="ignore"):
            z, t = logits.astype(np.float64).reshape(len(y), -1), np.reshape(y, (len(y), -1))
            found: Array = (np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))) - t * z).mean(axis=1)
        return found

    def scores(self, logits: Array, y: Array) -> Array:
        """Share of the labels of each sample that are right at a probability of a half."""
        shape = len(y), -1
        right = (np.reshape(logits, shape) > 0) == (np.reshape(y, shape) > 0.5)
        share: Array = right.mean(axis=1)
        return share


@dataclass(frozen=True, eq=False)
class SquaredError(Loss):
    """Numbers: the mean of squares, each number in units of its deviation over the training part.

    So the loss of who predicts the mean is 1, whatever the units are, and the metric is the coefficient of determination.

    Attributes:
        mean: Of each number over the training part, ``(1, ...)``.
        deviation: Likewise, above 0.
    """

    mean: Array
    deviation: Array

    def nodes(self, logits: str) -> list[Line]:
        """``sum(((logits - targets) * weights)^2)``."""
        return [
            ("Sub", [logits, TARGETS], ".error", {}),
            ("Mul", [".error", WEIGHTS], ".scaled", {}),
            ("Mul", [".scaled", ".scaled"], ".squares", {}),
            ("ReduceSum", [".squares"], LOSS, {"keepdims": 0}),
        ]

    def arrays(self, y: Array) -> tuple[Array, Array]:
        """The numbers themselves, and what scales their errors."""
        scale = (1.0 / self.deviation / np.sqrt(y.size)).astype(np.float32)
        return np.ascontiguousarray(y), np.ascontiguousarray(np.broadcast_to(scale, y.shape))

    def losses(self, logits: Array, y: Array) -> Array:
        """The mean over the numbers of each sample."""
        with np.errstate(invalid="ignore", over="ignore"):
            error = (logits.astype(np.float64).reshape(y.shape) - y) / self.deviation
            found: Array = (error**2).reshape(len(y), -1).mean(axis=1)
        return found

    def scores(self, logits: Array, y: Array) -> Array:
        """1 less the loss: 1 is without error, 0 as good as the mean."""
        return 1.0 - self.losses(logits, y)


def make_loss(
    data: Dataset, *, binary: bool = False, class_weights: ClassWeights = "none", smoothing: float = 0.0
) -> Loss:
    """The loss of a data set's task.

    Args:
        data: Class weights and the units of numbers come from its training part.
        binary: Two classes are told by one logit.
        class_weights: `balanced` makes up for classes and labels that are rare.
        smoothing: Share of a label that is spread over all classes.

    Raises:
        UsageError: Weights or smoothing are asked for where there are no classes, or the share is none.
    """
    if not 0.0 <= smoothing < 1.0:
        message = f"label smoothing is {smoothing}; it must be a share from 0 to below 1"
        raise UsageError(message)
    if data.task == "regression" and (class_weights != "none" or smoothing):
        message = (
            f"class weights and label smoothing are for classes and labels, but {data.name} has numbers to predict"
        )
        raise UsageError(message)
    weigh, make = _KINDS["multi-label" if binary else data.task]
    y = data.train.y
    return make(
        weigh(y, len(data.classes)) if class_weights == "balanced" else np.ones(_outputs(data, binary)), smoothing, y
    )


def _outputs(data: Dataset, binary: bool) -> int:
    return 1 if binary else len(data.classes)


def _by_class(y: Array, classes: int) -> Array:
    """Inverse frequencies of mean 1 over the samples; a class without samples counts as one that has one."""
    counts = np.maximum(np.bincount(y, minlength=classes), 1)
    weights: Array = len(y) / (classes * counts)
    return weights


def _by_label(y: Array, classes: int) -> Array:  # noqa: ARG001  (like `_by_class`)
    """How many samples lack a label for every one that has it."""
    there = np.reshape(y, (len(y), -1)).sum(axis=0)
    weights: Array = (len(y) - there) / np.maximum(there, 1)
    return np.maximum(weights, 1.0 / len(y))


def metric(data: Dataset) -> str:
    """What the scores of a data set's task are called."""
    return METRICS[data.task]


def _squared_error(weights: Array, smoothing: float, y: Array) -> Loss:
    mean = y.mean(axis=0, keepdims=True, dtype=np.float64)
    deviation = y.std(axis=0, keepdims=True, dtype=np.float64)
    return SquaredError(
        METRICS["regression"], weights, smoothing, mean, np.where(deviation > 1e-7 * np.abs(mean), deviation, 1.0)
    )


_KINDS: dict[Task, tuple[Callable[[Array, int], Array], Callable[[Array, float, Array], Loss]]] = {
    "classification": (_by_class, lambda w, s, _: CrossEntropy(METRICS["classification"], w, s)),
    "multi-label": (
        _by_label,
        lambda w, s, y: BinaryCrossEntropy(METRICS["classification" if y.ndim == 1 else "multi-label"], w, s),
    ),
    "regression": (_by_class, _squared_error),
}
