"""Input to run a model on where no data is given: random, at sizes that the model takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError
from pysurgeon.graph.tensors import Array, dimension_name, input_dimension
from pysurgeon.model.model import Model, Port

# Elements of an input that is made up.
_LARGEST_INPUT = 1 << 28

# Batch, and the first, second, ... open dimension beside it. Files that halve sizes often take multiples of 32 alone, texts are short.
_CHOICES = (
    (1, (64, 96, 128, 160)),
    (3, (45, 59, 37, 83)),
    (2, (160, 128, 96, 192)),
    (1, (7, 11, 5, 13)),
    (3, (12, 8, 10, 6)),
    (2, (37, 37, 37, 37)),
    (1, (224, 256, 320, 288)),
    (2, (1, 1, 1, 1)),
)
# For a single open dimension: samples of a sound.
_LONG = ((1, (1600,)), (2, (4801,)), (1, (16000,)))


def random_feeds(
    model: Model, *, batch: int = 8, seed: int = 0, dimensions: Mapping[str, int] = MappingProxyType({})
) -> dict[str, Array]:
    """Input to compare models on where no data is given.

    Standard normal for float inputs, zeros and ones for integer ones: they may be indices, of which there need not be more.
    A first dimension of unknown size becomes `batch`, any other one what `dimensions` says, or 16. Dimensions of one name
    get the size that the first of them gets.

    Raises:
        ModelError: It would be too much.
    """
    rng = np.random.default_rng(seed)
    named: dict[str, int] = {}
    feeds: dict[str, Array] = {}
    values = {value.name: value for value in model.ir.graph.inputs}
    for port in model.inputs:
        dims = values[port.name].shape
        assert dims is not None
        shape = []
        for axis, dim in enumerate(dims):
            size = dim if isinstance(dim, int) else batch
            if not isinstance(dim, int) and axis:
                size = dimensions.get(input_dimension(values[port.name], axis), 16)
            if (name := dimension_name(dim)) is not None:
                size = named.setdefault(name, size)
            shape.append(size)
        if prod(shape) > _LARGEST_INPUT:
            message = f"input {port.name!r} takes {prod(shape):,} numbers for {batch} samples, more than can be made up: give data"
            raise ModelError(message)
        if np.issubdtype(port.dtype, np.floating):
            feeds[port.name] = rng.standard_normal(shape).astype(port.dtype)
        else:
            feeds[port.name] = rng.integers(0, 2, shape).astype(port.dtype)
    return feeds


def fitted(ports: Sequence[Port], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The same numbers in the float types that inputs take: a file may take halves or doubles where the model made of it takes float32."""
    types = {port.name: port.dtype for port in ports}
    return {
        name: array.astype(types[name], copy=False) if array.dtype.kind == types[name].kind == "f" else array
        for name, array in feeds.items()
    }


def open_dimensions(model: Model) -> list[tuple[ir.Value, int]]:
    """The open dimensions of what is fed: inputs and axes."""
    fed = [v for v in model.ir.graph.inputs if not v.is_initializer()]
    return [(v, axis) for v in fed for axis, d in enumerate(v.shape or ()) if not isinstance(d, int)]


def choices(model: Model) -> Iterator[tuple[int, dict[str, int]]]:
    """Sizes to try: of the batch, and of the other open dimensions by their names."""
    places = open_dimensions(model)
    first = {input_dimension(value, axis) for value, axis in places if not axis}
    names = list(
        dict.fromkeys(n for value, axis in places if axis and (n := input_dimension(value, axis)) not in first)
    )
    if not names:
        yield from ((1, {}), (3, {})) if places else ((1, {}),)
        return
    for batch, sizes in (*_CHOICES, *(_LONG if len(names) == 1 else ())):
        chosen = {name: sizes[k % len(sizes)] for k, name in enumerate(names)}
        yield batch, {name: _written_out(name, chosen) for name in names}


def _written_out(name: str, sizes: Mapping[str, int]) -> int:
    """The size of a dimension whose name may be a sum or a product of others, as in `past + new`."""
    with contextlib.suppress(ValueError, TypeError, ArithmeticError):
        dim = ir.SymbolicDim(name)
        if dim.free_symbols() - {name} and dim.free_symbols() <= sizes.keys():
            found = dim.evaluate(sizes)
            return found if isinstance(found, int) and found > 0 else sizes[name]
    return sizes[name]
