"""What a file says about its inputs and outputs, where that is not what it means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError, UsageError
from pysurgeon.operators import lookup

Declared = Mapping[ir.Value, ir.Shape]


def open_sizes(graph: ir.Graph) -> bool:
    """Let sizes that are written as -1 or 0, which old exporters wrote for any, be any; in place.

    Returns:
        Whether an input or an output of the graph has one.

    Raises:
        ModelError: A size is another negative number.
    """
    ports = False
    for inner in (graph, *graph.subgraphs()):
        for value in (*inner.inputs, *inner.outputs, *(o for node in inner for o in node.outputs)):
            if (
                value.shape is None
                or value.is_initializer()
                or all(not isinstance(d, int) or d > 0 for d in value.shape)
            ):
                continue
            if min(d for d in value.shape if isinstance(d, int)) < -1:
                message = f"the shape of {value.name!r} is {tuple(value.shape)}; a size is positive, or open"
                raise ModelError(message)
            value.shape = ir.Shape([d if not isinstance(d, int) or d > 0 else None for d in value.shape])
            ports |= value.is_graph_input() or value.is_graph_output()
    return ports


def fix_inputs(graph: ir.Graph, values: Mapping[str, Any]) -> Iterator[str]:
    """Make constants of inputs, in place.

    Args:
        graph: Just read.
        values: By input name: a number, of which all elements are, or an array.

    Yields:
        A note on each.

    Raises:
        UsageError: There is no such input, or the value does not fit it.
    """
    inputs = {str(v.name): v for v in graph.inputs if not v.is_initializer()}
    for name, given in values.items():
        value = inputs.get(name)
        if value is None:
            message = f"there is no input {name!r} to be fixed; the model has {', '.join(map(repr, inputs)) or 'none'}"
            raise UsageError(message)
        shape = None if value.shape is None else [d if isinstance(d, int) else 1 for d in value.shape]
        if value.dtype is None or value.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) or shape is None:
            message = f"input {name!r} has no shape of numbers, so that nothing can be put in its place"
            raise UsageError(message)
        try:
            array = np.asarray(given, value.dtype.numpy())
            array = np.array(np.broadcast_to(array, shape)) if array.ndim == 0 else array
        except (TypeError, ValueError) as error:
            message = f"input {name!r} cannot be fixed at {given!r}: {error}"
            raise UsageError(message) from error
        graph.inputs.remove(value)
        value.const_value = ir.Tensor(array, dtype=value.dtype, name=name)
        value.shape = ir.Shape(array.shape)
        graph.register_initializer(value)
        yield f"input {name!r} is fixed at {given}, and no longer an input"


def only_inputs(model: ir.Model) -> Iterator[str]:
    """Take initializers out of the inputs, in place: their values are defaults that nobody feeds.

    Before version 4 of the format every initializer had to be an input, and exporters went on to write them so. Where only some are, those
    that no operator takes as parameters, a state to begin with say, are somebody's to feed and stay.

    Yields:
        A note, if there are any.
    """
    graph = model.graph
    both = [v for v in graph.inputs if v.is_initializer()]
    if not both:
        return
    old = model.ir_version is not None and model.ir_version < 4
    everyone = old or len(both) == len(graph.initializers)
    weights = [v for v in both if everyone or _is_parameter(v)]
    for value in weights:
        graph.inputs.remove(value)
    if model.ir_version is not None:
        model.ir_version = max(4, model.ir_version)
    if weights:
        yield (
            f"{len(weights)} initializers were listed as inputs, too, as older exporters do; they are weights here, and no longer inputs"
        )


def _is_parameter(value: ir.Value) -> bool:
    for node, position in value.uses():
        operator = lookup(node)
        if operator is not None and position in (*operator.parameters, *operator.statistics, *operator.weights):
            return len(value.shape or ()) > 0
    return False


def forget_outputs(graph: ir.Graph) -> Declared:
    """Let the shapes of outputs be what is computed, in place. Returns what the file declares."""
    declared: dict[ir.Value, ir.Shape] = {}
    for value in graph.outputs:
        node = value.producer()
        if value.shape is not None and node is not None and lookup(node) is not None:
            declared[value] = value.shape
            value.shape = None
    return declared


def settle_outputs(declared: Declared) -> Iterator[str]:
    """Join what the file declares of its outputs with what is computed by now, in place: that counts where both are known and differ.

    Yields:
        Notes on those that differ.
    """
    for value, said in declared.items():
        found = value.shape
        if found is None:
            value.shape = said
        elif len(found) != len(said):
            yield f"output {value.name!r} is declared with {len(said)} axes and has {len(found)}; what is computed counts"
        else:
            value.shape = ir.Shape([_joined(a, b) for a, b in zip(said, found, strict=True)])
            if any(isinstance(a, int) and a != b for a, b in zip(said, value.shape, strict=True)):
                yield f"output {value.name!r} is declared as {_text(said)} and is {_text(value.shape)}; what is computed counts"


def _joined(said: int | ir.SymbolicDim, found: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
    """A name that the file gives stays, and so does a size where none is computed."""
    if isinstance(found, int):
        return found
    return said if found.value is None or not isinstance(said, int) else found


def _text(shape: ir.Shape) -> str:
    return "(" + ", ".join(str(d) if isinstance(d, int) else d.value or "any" for d in shape) + ")"
