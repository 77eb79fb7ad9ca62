"""Matching a data set with a model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeVar

import numpy as np
import onnx_ir as ir

from pysurgeon.data import Dataset, ImageSize, Inputs
from pysurgeon.errors import DataError
from pysurgeon.graph import Array
from pysurgeon.model import Model, Port
from pysurgeon.model.session import Session
from pysurgeon.training.task.head import float_outputs

T = TypeVar("T", int, str)

Arrange = Literal["as is", "channels last", "flat", "reshaped"]


@dataclass(frozen=True)
class InputFit:
    """How samples become what one input of a model is fed.

    Attributes:
        name: Name of the model's input.
        arrange: `as is`; `channels last`, ``(C, H, W)`` to ``(H, W, C)``; `flat`, to ``(values,)``; `reshaped`, values in
            the same order in another shape.
        shape: Shape of a sample as the model sees it.
        dtype: What the input takes.
        axis: Where the samples of a batch are counted; 1 for models that want time first, `None` for an input that is the same for all of
            them, as a temperature is.
    """

    name: str
    arrange: Arrange
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axis: int | None

    def of_batch(self, size: T) -> tuple[int | T, ...]:
        """The shape of what is fed for so many samples."""
        return self.shape if self.axis is None else (*self.shape[: self.axis], size, *self.shape[self.axis :])

    def batch(self, x: Array) -> Array:
        """Arrange a batch.

        Args:
            x: ``(n, *sample)``; not modified.

        Returns:
            ``(n, *shape)`` in the input's type, contiguous, or with `n` on another axis; the same array where nothing has
            to be done. Of an input without samples, that of the first of them.
        """
        if self.axis is None:
            return np.require(x[0].reshape(self.shape), self.dtype, "C")
        if self.arrange == "channels last":
            x = x.transpose(0, 2, 3, 1)
        elif self.arrange != "as is":
            x = x.reshape(len(x), *self.shape)
        # Not ascontiguousarray: it would give a scalar an axis.
        return np.require(np.moveaxis(x, 0, self.axis) if self.axis else x, self.dtype, "C")


@dataclass(frozen=True)
class Fit:
    """How a data set is fed to a model.

    Attributes:
        inputs: One for each input of the model.
        named: Whether the samples are named.
    """

    inputs: tuple[InputFit, ...]
    named: bool

    @property
    def raw(self) -> bool:
        """Whether samples are fed without normalization: integers to an input that takes integers."""
        return not self.named and self.inputs[0].dtype.kind != "f"

    @property
    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """What the inputs are fed, by their names, with the batch open."""
        return {fit.name: fit.of_batch("batch") for fit in self.inputs}

    def feeds(self, x: Inputs) -> dict[str, Array]:
        """Arrays by the names of the model's inputs."""
        return {
            fit.name: fit.batch(x[fit.name] if isinstance(x, dict) else x)  # the names were compared
            for fit in self.inputs
        }


def fit_input(model: Model, data: Dataset) -> Fit:
    """Find out how a data set is fed to a model. What it learns from it is `pysurgeon.training.losses`.

    Raises:
        DataError: The samples do not fit the inputs.
        ModelError: The model has no output that could be trained.
    """
    output = float_outputs(model)[0]
    samples = _by_input(model, data)
    inputs = tuple(
        _fit_one(model, port, samples[port.name], data, _batch_axis(model, port, output)) for port in model.inputs
    )
    return Fit(inputs, bool(data.train.named))


def image_size(model: Model, channels: int, sizes: AbstractSet[ImageSize]) -> ImageSize | None:
    """Height and width that images must have for a model, `None` where it leaves them open.

    Args:
        model: Takes images if its one input has four axes, channels first or last.
        channels: Of the images.
        sizes: That they have now.

    Raises:
        DataError: The model takes images with another number of channels.
        ModelError: The model has no output that could be trained.
    """
    if len(model.inputs) != 1:
        return None
    port = model.inputs[0]
    wanted = _sample_shape(port, _batch_axis(model, port, float_outputs(model)[0]))
    if len(wanted) == 3 and channels in (wanted[0], wanted[2]):
        height, width = wanted[1:] if wanted[0] == channels else wanted[:2]
        if height is None or width is None:
            return None
        # A row of values is no image.
        if height > 1 and width > 1:
            return height, width
    if None in wanted:
        return None
    if len(sizes) == 1:
        (size,) = sizes
        if _arranged(wanted, (channels, *size)) is not None:
            return size
    if len(wanted) != 3 or channels in (wanted[0], wanted[2]):
        return None
    message = (
        f"the images have {channels} channel{'s' if channels > 1 else ''}, and input {port.name!r} of the model takes "
        f"{written(port.shape)}; use images with as many channels, or export the model for these"
    )
    raise DataError(message)


def _by_input(model: Model, data: Dataset) -> Mapping[str, Array]:
    """The training samples by the names of the model's inputs."""
    names = [port.name for port in model.inputs]
    if data.train.named:
        if set(names) == set(data.train.named):
            return data.train.named
        message = (
            f"the model has the inputs {', '.join(names)}, and {data.name!r} has arrays for "
            f"{', '.join(data.train.named)}; give one array for each input, called by its name, and no other"
        )
        raise DataError(message)
    if len(names) == 1:
        return {names[0]: data.train.x}
    message = (
        f"the model has {len(names)} inputs ({', '.join(names)}), and {data.name!r} has one array of samples; give a .npz "
        f"file with an array for each input, such as {names[0]}_train"
    )
    raise DataError(message)


def _check_vocabulary(model: Model, port: Port, data: Dataset) -> None:
    """See that what an input picks out of a table is there: the engine could not tell which sample asks for more."""
    value = next(v for v in model.ir.graph.inputs if v.name == port.name)
    for node, position in value.uses():
        table = node.inputs[0]
        if node.op_type != "Gather" or position != 1 or table is None or not table.is_initializer():
            continue
        rows = model.tensor(str(table.name)).shape[node.attributes.get_int("axis", 0)]
        for title, split in (("training", data.train), ("validation", data.validation), ("test", data.test)):
            x = split.named.get(port.name, split.x)
            if -rows <= int(x.min()) and int(x.max()) < rows:
                continue
            wrong = np.argwhere((x >= rows) | (x < -rows))[0]
            message = (
                f"sample {int(wrong[0])} of the {title} part of {data.name!r} holds the number {int(x[tuple(wrong)])}, and input "
                f"{port.name!r} picks rows of {table.name!r}, which has {rows:,}: numbers must lie between 0 and {rows - 1:,}"
            )
            raise DataError(message)


def _fit_one(model: Model, port: Port, x: Array, data: Dataset, axis: int | None) -> InputFit:
    if port.dtype.kind not in "fiub":
        message = f"input {port.name!r} is {port.dtype}; only numbers can be fed"
        raise DataError(message)
    if port.dtype.kind != "f" and x.dtype.kind == "f":
        message = (
            f"input {port.name!r} is {port.dtype}, and samples of {data.name!r} are {x.dtype}; give integers, or export "
            "the model with a float32 input"
        )
        raise DataError(message)
    if port.dtype.kind in "iu":
        bounds = np.iinfo(port.dtype)
        if int(x.min()) < bounds.min or int(x.max()) > bounds.max:
            message = (
                f"input {port.name!r} is {port.dtype}, and samples of {data.name!r} go from {x.min()} to {x.max()}"
            )
            raise DataError(message)
        _check_vocabulary(model, port, data)
    if axis is None:
        return InputFit(port.name, "as is", _of_all(port, data), port.dtype, None)
    arrange, shape = _arrangement(port, _sample_shape(port, axis), tuple(x.shape[1:]), data)
    return InputFit(port.name, arrange, shape, port.dtype, axis)


def _of_all(port: Port, data: Dataset) -> tuple[int, ...]:
    """The shape of an input that all samples share.

    Raises:
        DataError: The data has another one for some of them, or of another size.
    """
    for split in (data.train, data.validation, data.test):
        x = split.named.get(port.name, split.x)
        if prod(x.shape[1:]) != prod(d or 1 for d in port.shape) or bool(
            (x != data.train.named.get(port.name, x)[:1]).any()
        ):
            message = (
                f"input {port.name!r} of the model takes {written(port.shape)} and has no axis for the samples, so that all of them "
                f"share what it is fed, and {data.name!r} has {tuple(x.shape[1:])} for each of them, which differ or do not fit"
            )
            raise DataError(message)
    return tuple(d or 1 for d in port.shape)


def _batch_axis(model: Model, port: Port, output: str) -> int | None:
    """The axis that has the name of the output's first: time comes first in some models. The first axis if none has.

    An input has none if all of its sizes are fixed, where the file says of others which axis is the batch.
    """
    values = {v.name: v for v in (*model.ir.graph.inputs, *model.ir.graph.outputs)}
    first, dims = values[output].shape, values[port.name].shape
    if not port.shape:
        return None
    batch = first[0] if first is not None and len(first) else None
    if not isinstance(batch, ir.SymbolicDim) or batch.value is None or dims is None:
        return 0
    known = next((k for k, d in enumerate(dims) if isinstance(d, ir.SymbolicDim) and d.value == batch.value), None)
    others = (d for p in model.inputs for d in values[p.name].shape or ())
    if known is None and None not in port.shape and any(getattr(d, "value", None) == batch.value for d in others):
        return None
    return known or 0


def _sample_shape(port: Port, axis: int | None) -> tuple[int | None, ...]:
    if axis is None:
        return port.shape
    return port.shape[:axis] + port.shape[axis + 1 :]


def _arrangement(
    port: Port, wanted: tuple[int | None, ...], sample: tuple[int, ...], data: Dataset
) -> tuple[Arrange, tuple[int, ...]]:
    found = _arranged(wanted, sample)
    if found is not None:
        return found
    message = (
        f"samples of {data.name!r} have the shape {sample}, and input {port.name!r} of the model takes "
        f"{written(port.shape)}; use data of that shape, or export the model for this data"
    )
    raise DataError(message)


def _arranged(wanted: tuple[int | None, ...], sample: tuple[int, ...]) -> tuple[Arrange, tuple[int, ...]] | None:
    if _matches(wanted, sample):
        return "as is", sample
    if len(sample) == 3:
        last = (sample[1], sample[2], sample[0])
        if _matches(wanted, last):
            return "channels last", last
    if len(wanted) == 1 and wanted[0] in (None, prod(sample)):
        return "flat", (prod(sample),)
    if sample[0] == 1 and _matches(wanted, sample[1:]):
        return "reshaped", sample[1:]  # sequences, read as grey images, whose length the model leaves open
    known = tuple(d for d in wanted if d is not None)
    # Values that were laid flat, or grey images without a channel axis; anything else would be a guess.
    if len(known) == len(wanted) and prod(known) == prod(sample) and (len(sample) == 1 or sample[0] == 1):
        return "reshaped", known
    return None


def _matches(wanted: tuple[int | None, ...], sample: tuple[int, ...]) -> bool:
    return len(wanted) == len(sample) and all(w in (None, s) for w, s in zip(wanted, sample, strict=True))


def output_shape(model: Model, output: str, inputs: tuple[InputFit, ...]) -> tuple[int, ...]:
    """The shape of an output, or of a value inside, for one sample; the model is run where the file does not say, nor that it counts samples.

    Raises:
        DataError: The first dimension of the output is something else.
    """
    values = {v.name: v.shape for node in model.nodes for v in node.outputs}
    values |= {v.name: v.shape for v in (*model.ir.graph.inputs, *model.ir.graph.outputs)}
    shape = values[output]
    batched = next((k for k, fit in enumerate(inputs) if fit.axis is not None), 0)
    axis, fed = inputs[batched].axis, values[inputs[batched].name]
    if axis is not None and shape is not None and fed is not None and len(shape) and shape[0] == fed[axis]:
        known = tuple(d for d in shape[1:] if isinstance(d, int))
        if len(known) == len(shape) - 1:
            return known
    # Zeros in the arrangement that the model wants, so nothing has to be arranged.
    fixed = [p.shape[fit.axis] for p, fit in zip(model.inputs, inputs, strict=True) if fit.axis is not None]
    size = next((s for s in fixed if s is not None), 2)
    feeds = {fit.name: np.zeros(fit.of_batch(size), fit.dtype) for fit in inputs}
    inside = [] if output in (port.name for port in model.outputs) else [output]
    found = Session(model, inside).run(feeds)[output].shape
    if found[:1] != (size,):
        message = (
            f"output {output!r} is {found} for {size} samples: its first dimension does not count the samples, so nobody "
            "knows which part of it belongs to which"
        )
        raise DataError(message)
    return tuple(found[1:])


def written(shape: tuple[int | None, ...]) -> str:
    """A shape as messages show it."""
    return "(" + ", ".join("any" if d is None else str(d) for d in shape) + ")"
