"""A teacher: a network whose outputs on the samples are the targets, so that samples need no labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pysurgeon.data import Batches, Dataset, Inputs, Part
from pysurgeon.errors import DataError, TrainingError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.model.session import Session
from pysurgeon.training.task.binding import fit_input

# What it gives for a part is kept where that takes no more memory than this.
KEPT_BYTES = 1 << 29
# Samples that units of its outputs are taken from, and how many at once.
_UNIT_SAMPLES, _UNIT_BATCH = 256, 32
# Of the largest deviation of an output: smaller ones are rounding.
_SMALLEST_DEVIATION = 1e-3


class Teacher:
    """Runs a network on samples; what it gives for a sample that is not augmented is computed once in a process.

    Args:
        model: The network; not modified.
        name: What messages call it.

    Attributes:
        model: As given, for any batch size.
        name: See the argument.

    Raises:
        DataError: It was exported for one batch size and cannot be made dynamic.
    """

    def __init__(self, model: Model, name: str) -> None:
        self.name = name
        try:
            self.model = make_batch_dynamic(model)
        except TrainingError as error:
            message = f"the teacher {name} cannot be used: {error}"
            raise DataError(message) from error
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        """Without what was computed: another process computes its own."""
        return {"model": self.model, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.model, self.name = state["model"], state["name"]
        self._forget()

    def _forget(self) -> None:
        self._sessions: dict[tuple[str, ...], Session] = {}
        self._kept: dict[tuple[Part, str], tuple[Array, Array]] = {}
        self._units: dict[tuple[str, tuple[int, ...]], tuple[Array, Array]] = {}

    def values(self, data: Dataset, names: Sequence[str], x: Inputs) -> dict[str, Array]:
        """What it gives for samples.

        Args:
            data: That they are of.
            names: Of values of the network.
            x: The samples, as `Batches` gives them.

        Raises:
            DataError: The samples do not fit its inputs.
        """
        if not names:
            return {}
        key = tuple(names)
        if key not in self._sessions:
            outputs = {port.name for port in self.model.outputs}
            self._sessions[key] = Session(self.model, [name for name in names if name not in outputs])
        found = self._sessions[key].run(fit_input(self.model, data).feeds(x))
        return {name: found[name] for name in names}

    def of_part(self, data: Dataset, names: Sequence[str], part: Part, rows: Array, x: Inputs) -> dict[str, Array]:
        """What it gives for samples of a part that are as they are in it.

        Args:
            data: That they are of.
            names: Of values of the network.
            part: Of the data.
            rows: Where the samples stand in it, int64 ``(n,)``.
            x: The samples, as `Batches` gives them.
        """
        kept = [self._kept.get((part, name)) for name in names]
        if names and all(k is not None and k[1][rows].all() for k in kept):
            return {name: k[0][rows] for name, k in zip(names, kept, strict=True) if k is not None}
        found = self.values(data, names, x)
        total = len(data.part(part))
        if sum(v[:1].nbytes * total for v in found.values()) <= KEPT_BYTES:
            for name, value in found.items():
                if (part, name) not in self._kept:
                    self._kept[part, name] = np.empty((total, *value.shape[1:]), value.dtype), np.zeros(total, np.bool_)
                arrays, there = self._kept[part, name]
                arrays[rows], there[rows] = value, True
        return found

    def unit(self, data: Dataset, name: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Mean of each number of a value, and its deviation from sample to sample, over some of the training samples.

        Deviations are pooled over all axes but the shortest one, which is that of the channels mostly: what hardly ever changes in one place is not
        worth more there than elsewhere.

        Args:
            data: Where the samples are from.
            name: Of the value.
            shape: Of the value for a sample, of as many numbers.

        Returns:
            Float64 ``(1, *shape)`` each; deviations are above 0.
        """
        key = name, shape
        if key not in self._units:
            self._units[key] = self._unit(data, name, shape)
        return self._units[key]

    def _unit(self, data: Dataset, name: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
        batches = Batches(data, _UNIT_BATCH, seed=0, raw=fit_input(self.model, data).raw)
        count, total, squares = 0, np.zeros(shape), np.zeros(shape)
        for step in range(min(batches.steps_per_epoch, _UNIT_SAMPLES // _UNIT_BATCH)):
            z = self.values(data, [name], batches.batch(step)[0])[name].astype(np.float64)
            z = z.reshape(len(z), *shape)
            if step == 0:
                offset = z[:1]  # so that large means cancel
            count, total, squares = count + len(z), total + (z - offset).sum(0), squares + ((z - offset) ** 2).sum(0)
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0.0)
        if len(shape) > 1:
            shortest = int(np.argmin(shape))
            others = tuple(k for k in range(len(shape)) if k != shortest)
            variance = np.broadcast_to(variance.mean(axis=others, keepdims=True), shape)
        deviation = np.sqrt(variance)
        least = _SMALLEST_DEVIATION * float(deviation.max(initial=0.0))
        return mean[None] + offset, np.maximum(deviation, least)[None] if least > 0 else np.ones((1, *shape))
