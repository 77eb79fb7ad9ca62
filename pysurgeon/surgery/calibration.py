"""Calibration: what flows through a model on a few real samples, computed when asked for and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.graph.terms import Dim, Prod, leaves
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error, taken
from pysurgeon.operators.constraints import Read
from pysurgeon.widths.axis_layout import units
from pysurgeon.widths.constraints import WidthConstraints
from pysurgeon.widths.structure import Structure

T = TypeVar("T")

LARGEST_SAMPLE = 20_000  # rows of activations that a Gram matrix is estimated from
FOLDS = 4  # parts of the batch, so that what is fitted to some can be judged on the others


class Calibration:
    """A batch of input and the activations that it causes.

    Args:
        model: The model; the batch stays useful for every model edited from it.
        feeds: Arrays by input name, several batches one after another where the model's batch is fixed; standard normal input of the model's shape where `None`.
        holdout: More of it, that nothing is fitted to and operations are verified on; `feeds` where `None`.
        seed: Which rows of activations are sampled.
        axis: Which axis of the feeds counts the samples: 1 for models that want time first.
    """

    def __init__(
        self,
        model: Model,
        feeds: Mapping[str, Array] | None = None,
        *,
        holdout: Mapping[str, Array] | None = None,
        seed: int = 0,
        axis: int = 0,
    ) -> None:
        if feeds is None and holdout is None:
            holdout = _random(model, 16, seed=1)
        self.feeds = dict(feeds) if feeds is not None else _random(model, 64, seed=0)
        self.holdout_feeds = dict(holdout) if holdout is not None else self.feeds
        self.seed, self.axis = seed, axis
        self.compute = 0  # multiply-accumulate operations of all forward passes so far
        # Weak: a run sees many models, and what is known of one goes with it.
        self._activations: WeakKeyDictionary[Model, dict[str, Array]] = WeakKeyDictionary()
        self._checked: WeakKeyDictionary[Model, dict[str, Array]] = WeakKeyDictionary()
        self._kept: WeakKeyDictionary[Model, dict[tuple[str, ...], Any]] = WeakKeyDictionary()

    def activations(self, model: Model, names: list[str]) -> dict[str, Array]:
        """The values of these names on the calibration batch, graph inputs included."""
        known = self._activations.setdefault(model, {})
        missing = [n for n in dict.fromkeys(names) if n not in known and n not in self.feeds]
        if missing:
            known.update(self._ran(model, missing, self.feeds))
        return {n: self.feeds[n] if n in self.feeds else known[n] for n in names}

    def holdout(self, model: Model, names: list[str]) -> dict[str, Array]:
        """The values of these names on the samples that nothing was fitted to."""
        known = self._checked.setdefault(model, {})
        missing = [n for n in dict.fromkeys(names) if n not in known and n not in self.holdout_feeds]
        if missing:
            known.update(self._ran(model, missing, self.holdout_feeds, compared=True))
        return {n: self.holdout_feeds[n] if n in self.holdout_feeds else known[n] for n in names}

    def _ran(
        self, model: Model, names: list[str], feeds: Mapping[str, Array], *, compared: bool = False
    ) -> dict[str, Array]:
        self.compute += self.kept(model, ("macs",), lambda: costs(model).macs) * self.samples(feeds)
        return _run(model, names, feeds, compared=compared)

    def samples(self, feeds: Mapping[str, Array] | None = None) -> int:
        """How many samples are fed: all of them, or those of some feeds."""
        if feeds is None:
            return self.samples(self.feeds) + self.samples(self.holdout_feeds)
        return max((a.shape[self.axis] for a in feeds.values() if a.ndim > self.axis), default=1)

    def rounding(self, model: Model, names: list[str]) -> float:
        """How much these outputs change where every float that is fed is moved by half a unit in its last place, up or down.

        Relative to the largest output, on the samples that nothing was fitted to. No other order of the same sums can be asked to do better.
        """
        rng = np.random.default_rng(0)
        moved = {
            name: (a * (1 + np.copysign(0.5 * np.finfo(a.dtype).eps, rng.standard_normal(a.shape)))).astype(a.dtype)
            if np.issubdtype(a.dtype, np.floating)
            else a
            for name, a in self.holdout_feeds.items()
        }
        return output_error(self.holdout(model, names), _run(model, names, moved, compared=True))

    def nothing_in_the_way(self) -> None:
        """Said by an operation that wants no samples, once it has found nothing in the graph that speaks against it."""

    def kept(self, model: Model, key: tuple[str, ...], compute: Callable[[], T]) -> T:
        """What was computed for this model under this key, computed now if it was not.

        Plans of one model share a lot. What is kept must not refer to the model, or neither would ever be freed.
        """
        known = self._kept.setdefault(model, {})
        if key not in known:
            known[key] = compute()
        value: T = known[key]
        return value

    def rows(self, structure: Structure, read: Read, dim: Dim) -> Array:
        """What a reader sees of the units of a dim: float64 (samples, n), at most `LARGEST_SAMPLE` rows."""
        return self.units_of(structure, read.value, read.value_axis, dim)

    def units_of(self, structure: Structure, value: str, axis: int, dim: Dim) -> Array:
        """The units of a dim along the axis of any value: float64 (samples, n), at most `LARGEST_SAMPLE` rows."""
        activation = self.activations(structure.model, [value])[value]
        return self.sample(units(activation, axis, structure.value_term(value, axis), dim))

    def sample(self, rows: Array) -> Array:
        """At most `LARGEST_SAMPLE` rows, always the same ones for one number of rows, as float64.

        Raises:
            Refused: A value is infinite or not a number, so that nothing can be fitted to it.
        """
        return self.finite(rows[self.chosen(len(rows))])

    def chosen(self, count: int, most: int = LARGEST_SAMPLE) -> Array:
        """Which of so many rows are looked at: int64, ascending, at most `most`."""
        if count <= most:
            return np.arange(count)
        return np.sort(np.random.default_rng(self.seed).choice(count, most, replace=False))

    def folds(self, count: int, parts: int = 1) -> Array:
        """The fold of each of so many rows: int64, with all rows of a sample in one fold if there are enough samples.

        Args:
            count: Number of rows, sample after sample; or, where time comes first, step after step.
            parts: How often the samples are gone through.
        """
        samples = self.samples(self.feeds)
        if self.axis and samples >= FOLDS:
            return np.arange(count) % samples % FOLDS
        if samples < FOLDS:
            return np.arange(count) * FOLDS // max(1, count)
        each = max(1, count // (samples * parts))
        return np.arange(count) // each % samples % FOLDS

    @staticmethod
    def finite(rows: Array) -> Array:
        """The rows as float64.

        Raises:
            Refused: A value is infinite or not a number, so that nothing can be fitted to it.
        """
        if not np.isfinite(rows).all():
            message = "the activations there are infinite or not a number on the calibration batch"
            raise Refused(message)
        return rows.astype(np.float64)


def _fixed_batch(model: Model) -> int | None:
    """The batch size that all inputs were exported with, `None` where it is free or they differ."""
    found = {port.shape[0] if port.shape else None for port in model.inputs}
    return found.pop() if len(found) == 1 else None


def _random(model: Model, samples: int, *, seed: int) -> dict[str, Array]:
    """Standard normal input, as many batches as the samples take where the batch is fixed."""
    fixed, sizes = _fixed_batch(model), taken(model)
    if fixed is None:
        return random_feeds(model, batch=samples, seed=seed, dimensions=sizes)
    rng = np.random.default_rng(seed)
    batches = [
        random_feeds(model, seed=int(rng.integers(2**31)), dimensions=sizes)
        for _ in range(max(1, samples // max(1, fixed)))
    ]
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def _run(model: Model, names: list[str], feeds: Mapping[str, Array], *, compared: bool = False) -> dict[str, Array]:
    """The values of these names; batch after batch, and then put together, where the model's batch is fixed.

    Args:
        model: The model.
        names: Of values.
        feeds: Arrays by input name.
        compared: Whether they are only compared with those of another model, so that it does not matter in which order they stand.

    Raises:
        Refused: It is not known where a value counts the samples, so that batches of it cannot be put together.
    """
    session, fixed = Session(model, names), _fixed_batch(model)
    if fixed is None or any(a.ndim == 0 or len(a) % fixed or len(a) == fixed for a in feeds.values()):
        return session.run(feeds)
    count = min(len(a) for a in feeds.values()) // fixed
    parts = [session.run({k: a[i * fixed : (i + 1) * fixed] for k, a in feeds.items()}) for i in range(count)]
    if compared:
        return {name: np.concatenate([np.atleast_1d(p[name]) for p in parts]) for name in parts[0]}
    axes, fed = _batch_axes(model, names), _fed(model)
    found = {}
    for name in names:
        array, axis = parts[0][name], axes[name]
        if name not in fed:  # computed from weights alone, and the same for every batch
            found[name] = array
            continue
        if axis is None:
            message = (
                f"the model was exported for a batch of {fixed}, and where {name!r}, of the shape {array.shape}, counts the "
                "samples is not known: export it with a dynamic batch"
            )
            raise Refused(message)
        found[name] = np.concatenate([p[name] for p in parts], axis=axis)
    return found


def _fed(model: Model) -> set[str]:
    """The values that depend on what is fed."""
    found = {str(v.name) for v in model.ir.graph.inputs}
    for node in model.nodes:
        inner = [
            n for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH for n in a.as_graph().all_nodes()
        ]
        if any(v is not None and v.name in found for n in (node, *inner) for v in n.inputs):
            found.update(str(o.name) for o in node.outputs)
    return found


def _batch_axes(model: Model, names: Sequence[str]) -> dict[str, int | None]:
    """The axis of each value along which its samples may follow one another, `None` where there is none.

    That of the batch, as inference follows it; or else one that no weight has to do with, so that no unit lies along it.
    """
    inference = WidthConstraints(model)
    graph = model.ir.graph
    values = {str(v.name): v for v in (*graph.inputs, *(o for node in graph for o in node.outputs))}
    units = {d for v in graph.initializers.values() for t in inference.resolved(v) for d in leaves(t)}
    batches = {t for v in graph.inputs if v.shape is not None for t in inference.resolved(v)[:1]}
    found: dict[str, int | None] = {}
    for name in names:
        terms = inference.resolved(values[name])
        free = [k for k, t in enumerate(terms) if not units & set(leaves(t))]
        batch = [k for k, t in enumerate(terms) if (t.factors[0] if isinstance(t, Prod) else t) in batches]
        # A weight may hold a number for every sample: the batch is the batch all the same.
        found[name] = next(iter((*(k for k in batch if k in free), *free, *batch)), None)
    return found
