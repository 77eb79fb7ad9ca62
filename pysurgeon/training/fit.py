"""Matching a data set with a model's input and output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.errors import DataError
from pysurgeon.graph import Array, Model, Port
from pysurgeon.graph.session import Session


@dataclass(frozen=True)
class InputFit:
    """How samples become what a model is fed.

    Attributes:
        name: Name of the model's input.
        arrange: `as is`; `channels last`, ``(C, H, W)`` to ``(H, W, C)``; `flat`, to ``(values,)``; `reshaped`, values in
            the same order in another shape.
        shape: Shape of a sample as the model sees it.
    """

    name: str
    arrange: Literal["as is", "channels last", "flat", "reshaped"]
    shape: tuple[int, ...]

    def batch(self, x: Array) -> Array:
        """Arrange a batch.

        Args:
            x: float32 ``(n, *sample)``; not modified.

        Returns:
            float32 ``(n, *shape)``, contiguous; the same array where nothing has to be done.
        """
        if self.arrange == "channels last":
            x = x.transpose(0, 2, 3, 1)
        elif self.arrange != "as is":
            x = x.reshape(len(x), *self.shape)
        return np.ascontiguousarray(x, dtype=np.float32)


def fit_input(model: Model, data: Dataset) -> InputFit:
    """Find out how a data set is fed to a model, and that its classes are those of the model.

    Raises:
        DataError: The samples do not fit the input, or the classes do not fit the first output.
    """
    if len(model.inputs) != 1:
        names = ", ".join(port.name for port in model.inputs)
        message = f"the model has {len(model.inputs)} inputs ({names}); a data set can feed a model of one input"
        raise DataError(message)
    port = model.inputs[0]
    if port.dtype != np.float32:
        message = f"input {port.name!r} is {port.dtype}; data is fed as float32: export the model with a float32 input"
        raise DataError(message)
    sample = tuple(data.sample_shape)
    found = InputFit(port.name, *_arrangement(port, sample, data))
    _check_output(model, data, found)
    _check_labels(data)
    return found


def with_input_metadata(model: Model, data: Dataset) -> Model:
    """The same network with a note in its file's metadata on what must be done to raw samples before it sees them.

    The entry `pysurgeon.input` is a JSON object with the formula, its numbers by channel, and the arrangement of the axes;
    `pysurgeon.classes` is a JSON list of the names of the outputs.
    """
    formula = {
        "formula": "(raw * scale - mean) / std, per channel",
        "scale": data.scale,
        "mean": np.atleast_1d(data.mean).tolist(),
        "std": np.atleast_1d(data.std).tolist(),
        "arrange": fit_input(model, data).arrange,
    }
    return model.with_metadata({"pysurgeon.input": json.dumps(formula), "pysurgeon.classes": json.dumps(data.classes)})


def _arrangement(
    port: Port, sample: tuple[int, ...], data: Dataset
) -> tuple[Literal["as is", "channels last", "flat", "reshaped"], tuple[int, ...]]:
    wanted = port.shape[1:]
    if _matches(wanted, sample):
        return "as is", sample
    if len(sample) == 3:
        last = (sample[1], sample[2], sample[0])
        if _matches(wanted, last):
            return "channels last", last
    if len(wanted) == 1 and wanted[0] in (None, prod(sample)):
        return "flat", (prod(sample),)
    known = tuple(d for d in wanted if d is not None)
    # Values that were laid flat, or grey images without a channel axis; anything else would be a guess.
    if len(known) == len(wanted) and prod(known) == prod(sample) and (len(sample) == 1 or sample[0] == 1):
        return "reshaped", known
    message = (
        f"samples of {data.name!r} have the shape {sample}, and input {port.name!r} of the model takes "
        f"{_written(port.shape)}; use data of that shape, or export the model for this data"
    )
    raise DataError(message)


def _matches(wanted: tuple[int | None, ...], sample: tuple[int, ...]) -> bool:
    return len(wanted) == len(sample) and all(w in (None, s) for w, s in zip(wanted, sample, strict=True))


def _check_output(model: Model, data: Dataset, found: InputFit) -> None:
    port = model.outputs[0]
    shape: tuple[int | None, ...] = port.shape
    if len(shape) != 2 or shape[1] is None:
        size = model.inputs[0].shape[0] or 1
        shape = Session(model).run(np.zeros((size, *found.shape), np.float32))[port.name].shape
    if len(shape) != 2 or shape[1] != len(data.classes):
        message = (
            f"{data.name!r} has {len(data.classes)} classes, so the first output of the model must be (batch, "
            f"{len(data.classes)}), but output {port.name!r} is {_written(shape)}"
        )
        raise DataError(message)


def _check_labels(data: Dataset) -> None:
    # The engine reads out of bounds on a wrong label without a word, so this stands before it whatever made the data.
    for part, split in (("training", data.train), ("validation", data.validation)):
        y = split.y
        if (
            len(y) == 0
            or not np.issubdtype(y.dtype, np.integer)
            or int(y.min()) < 0
            or int(y.max()) >= len(data.classes)
        ):
            bounds = f"{y.dtype} from {y.min()} to {y.max()}" if len(y) else "missing"
            message = f"labels of the {part} part are {bounds}; they must be integers from 0 to {len(data.classes) - 1}"
            raise DataError(message)


def _written(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if d is None else str(d) for d in shape) + ")"
