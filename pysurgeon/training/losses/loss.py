"""A loss, made for a model and its data: ONNX graphs of the model's values and of targets, once for the engine and once for whoever measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pysurgeon.data import Task
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.session import Session
from pysurgeon.training.losses.targets import Encoded, Targets

LOSS, WEIGHT = "pysurgeon.loss", "weight"


def fed_name(term: int, name: str) -> str:
    """What the joined graph calls an array of a term."""
    return f"{LOSS}.{term}.{name}"


@dataclass(frozen=True, eq=False)
class Taken:
    """A value of the model that losses are taken on.

    Attributes:
        task: Says which end of the file is left out; see `pysurgeon.training.task.head`.
        output: Name of the output.
        value: Name of the value: the output, or the logits before it.
        nodes: Names of the nodes between.
    """

    task: Task
    output: str
    value: str
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Term:
    """One of the losses that are added.

    Attributes:
        graph: From values of the model and targets to losses ``(n, places...)``, or to one number for the batch.
        values: Positions in `Loss.taken`, by the names of the graph's inputs.
        targets: What the other inputs are fed.
        scalar: Whether the graph gives one number for the batch.
        factor: By which the term is multiplied.
    """

    graph: Model
    values: Mapping[str, int]
    targets: Targets
    scalar: bool = False
    factor: float = 1.0

    @cached_property
    def _session(self) -> Session:
        return Session(self.graph)

    def encoded(self, y: Array, taught: Mapping[str, Array], *, plain: bool = False) -> Encoded:
        """Targets of a batch; see `Targets.of_batch`."""
        return self.targets.of_batch(y, taught, plain=plain)

    def losses(self, values: tuple[Array, ...], y: Array, taught: Mapping[str, Array]) -> tuple[Array, Array]:
        """Weighted sum over the places of each sample, and what it counts, float64 ``(n,)`` each; infinite and NaN as they come."""
        encoded = self.encoded(y, taught, plain=True)
        feeds = {name: values[k] for name, k in self.values.items()} | encoded.arrays
        feeds = {port.name: np.require(feeds[port.name], port.dtype, "C") for port in self.graph.inputs}
        if self.scalar:
            return np.asarray(
                [self._run({n: x[k : k + 1] for n, x in feeds.items()}) for k in range(len(y))]
            ), encoded.counts
        each = self._run(feeds) * np.where(encoded.weight > 0, encoded.weight, 0.0)
        return each.reshape(len(y), -1).sum(axis=1), encoded.counts

    def _run(self, feeds: Mapping[str, Array]) -> Array:
        found: Array = self._session.run(feeds)[self.graph.outputs[0].name]
        return found.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Loss:
    """What is to be minimised: a weighted sum of terms.

    Attributes:
        taken: The values of the model that it is taken on.
        terms: What is added.
    """

    taken: tuple[Taken, ...]
    terms: tuple[Term, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values of the model that it is taken on."""
        return tuple(taken.value for taken in self.taken)

    @property
    def taught(self) -> tuple[str, ...]:
        """Names of the teacher's values that it needs."""
        return tuple(dict.fromkeys(value for term in self.terms for value in term.targets.taught))

    def arrays(self, y: Array, taught: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """What the engine is fed beside the model's own inputs, for a batch.

        The first axis of all arrays counts the samples, so that parts of them are those of parts of the batch.
        """
        fed: dict[str, Array] = {}
        for k, term in enumerate(self.terms):
            encoded = term.encoded(y, taught or {})
            fed |= {fed_name(k, name): array for name, array in encoded.arrays.items()}
            # A batch in which nothing counts teaches nothing.
            weight = encoded.weight * (term.factor / max(encoded.counts.sum(), 1e-300))
            fed[fed_name(k, WEIGHT)] = np.ascontiguousarray(weight, np.float32)
        return fed

    def losses(
        self, values: tuple[Array, ...], y: Array, taught: Mapping[str, Array] | None = None
    ) -> tuple[tuple[Array, Array], ...]:
        """Of every term, the loss of every sample and what it counts, float64 ``(n,)`` each, without class weights and smoothing.

        Args:
            values: Those that the loss is taken on, in order, ``(n, ...)`` each.
            y: Labels ``(n, ...)``.
            taught: What the teacher gives, by the names of its values.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            return tuple(term.losses(values, y, taught or {}) for term in self.terms)

    def of_samples(self, parts: list[tuple[tuple[Array, Array], ...]]) -> Array:
        """The loss of every sample, float64 ``(samples,)``, from what `losses` gave for batches: their mean is the loss of all places."""
        total: Array = np.zeros(sum(len(part[0][0]) for part in parts))
        for k, term in enumerate(self.terms):
            sums, counts = (np.concatenate([part[k][j] for part in parts]) for j in (0, 1))
            total = total + term.factor * per_sample(sums, counts)
        return total


def per_sample(sums: Array, counts: Array) -> Array:
    """Figures of samples whose mean is that of all places, however many of them each sample has.

    Args:
        sums: Over the places of each sample.
        counts: How many there are.
    """
    return sums / max(float(counts.mean()), 1e-300)
