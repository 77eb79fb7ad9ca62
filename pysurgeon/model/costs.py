"""What a model costs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import onnx_ir as ir

from pysurgeon.graph.tensors import input_dimension
from pysurgeon.model.model import Model
from pysurgeon.operators import lookup
from pysurgeon.operators.operator import Operator

# What open dimensions are taken to be: pixels along an edge of an image, and steps of a sequence.
_PIXELS, _STEPS = 224, 128


@dataclass(frozen=True)
class Costs:
    """Trainable parameters, and multiply-accumulate operations for one sample."""

    parameters: int
    macs: int


def assumed(model: Model) -> dict[str, int]:
    """The sizes that the open dimensions of the inputs are taken to have where operations are counted, by name. The batch is one sample."""
    found: dict[str, int] = {}
    for value in model.ir.graph.inputs:
        for axis, d in enumerate(value.shape or ()):
            if axis and not isinstance(d, int) and not value.is_initializer():
                found.setdefault(input_dimension(value, axis), _PIXELS if len(value.shape or ()) > 3 else _STEPS)
    for value in model.ir.graph.inputs:
        if value.shape is not None and len(value.shape) and not isinstance(value.shape[0], int):
            found.pop(input_dimension(value, 0), None)
    return found


def costs(model: Model) -> Costs:
    """Count the costs of a model, at the sizes that are `assumed`. Operators that are not known, and elementwise ones, count no operations."""
    return Costs(model.parameter_count(), sum(macs(model).values()))


def macs(model: Model) -> dict[ir.Node, int]:
    """Multiply-accumulate operations for one sample of every node that does any, at the sizes that are `assumed`."""
    return {node: operator.count(sized) for node, sized, operator in counted(model)}


def counted(model: Model) -> Iterator[tuple[ir.Node, ir.Node, Operator]]:
    """Every node that does multiply-accumulate operations, with the same one of a copy that has the sizes that are `assumed`, and its operator.

    The copy is the model itself where no dimension is open.
    """
    at = tuple(assumed(model).items())
    graph = model.ir.graph
    for node, sized in zip(graph, _at(model.ir.clone(), at).graph if at else graph, strict=True):
        operator = lookup(node)
        if operator is not None and operator.macs is not None:
            yield node, sized, operator


def largest_value(model: Model, at: Mapping[str, int]) -> int:
    """Elements of the largest value at these sizes of open dimensions, as far as its shape follows from them."""
    sizes = tuple(at.items())
    shapes = (o.shape for node in model.ir.graph for o in node.outputs if o.shape is not None)
    return max(
        (prod((d if isinstance(d, int) else _evaluated(d.value, sizes)) or 1 for d in s) for s in shapes), default=0
    )


def _at(model: ir.Model, at: tuple[tuple[str, int], ...]) -> ir.Model:
    """A model whose open dimensions have these sizes, as far as they follow from them."""
    values = [*model.graph.inputs, *(o for node in model.graph for o in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape([d if isinstance(d, int) else _evaluated(d.value, at) for d in value.shape])
    return model


@lru_cache(4096)
def _evaluated(name: str | None, at: tuple[tuple[str, int], ...]) -> int | None:
    sizes = dict(at)
    if name is None or name in sizes:
        return None if name is None else sizes[name]
    with contextlib.suppress(ValueError, TypeError, ArithmeticError):
        found = ir.SymbolicDim(name).evaluate(sizes)
        return found if isinstance(found, int) else None
    return None
