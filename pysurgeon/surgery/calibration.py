"""Calibration: what flows through a model on a few real samples, computed when asked for and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, Model
from pysurgeon.graph.inference import Read
from pysurgeon.graph.session import Session, random_feeds
from pysurgeon.graph.terms import Dim
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery.edit import units

T = TypeVar("T")

LARGEST_SAMPLE = 20_000  # rows of activations that a Gram matrix is estimated from


class Calibration:
    """A batch of input and the activations that it causes.

    Args:
        model: The model; the batch stays useful for every model edited from it.
        feeds: Arrays by input name; standard normal input of the model's shape where `None`.
        seed: Which rows of activations are sampled.
    """

    def __init__(self, model: Model, feeds: Mapping[str, Array] | None = None, *, seed: int = 0) -> None:
        self.feeds = dict(feeds) if feeds is not None else random_feeds(model, batch=64)
        self.seed = seed
        # Weak: a run sees many models, and what is known of one goes with it.
        self._activations: WeakKeyDictionary[Model, dict[str, Array]] = WeakKeyDictionary()
        self._kept: WeakKeyDictionary[Model, dict[tuple[str, ...], Any]] = WeakKeyDictionary()

    def activations(self, model: Model, names: list[str]) -> dict[str, Array]:
        """The values of these names on the calibration batch, graph inputs included."""
        known = self._activations.setdefault(model, {})
        missing = [n for n in dict.fromkeys(names) if n not in known and n not in self.feeds]
        if missing:
            known.update(Session(model, missing).run(self.feeds))
        return {n: self.feeds[n] if n in self.feeds else known[n] for n in names}

    def outputs(self, model: Model) -> dict[str, Array]:
        """The outputs of a model on the calibration batch."""
        names = [o.name for o in model.outputs]
        return self.activations(model, names)

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
        if len(rows) > LARGEST_SAMPLE:
            chosen = np.random.default_rng(self.seed).choice(len(rows), LARGEST_SAMPLE, replace=False)
            rows = rows[np.sort(chosen)]
        if not np.isfinite(rows).all():
            message = "the activations there are infinite or not a number on the calibration batch"
            raise Refused(message)
        return rows.astype(np.float64)
