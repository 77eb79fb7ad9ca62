"""The tensors that a graph holds fixed: their values, and who uses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, np.dtype[Any]]

# Between a tensor and the operator that works with it, these move elements but change none.
PASSING = frozenset({"Transpose", "Identity", "Cast"})

RESHAPING = PASSING | {"Reshape", "Squeeze", "Unsqueeze"}

_LISTS = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}


def constant(value: ir.Value | None) -> Array | None:
    """The values of an initializer or of a Constant node, `None` for anything computed or fed."""
    if value is None or (value.is_graph_input() and value.is_initializer()):
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or node.domain != "" or node.op_type != "Constant":
        return None
    for name, attribute in node.attributes.items():
        if name == "value":
            return np.asarray(
                attribute.value.numpy()
            )  # `as_tensor` checks a protocol, which takes longer than all the rest
        if name in _LISTS:
            return np.array(attribute.value, dtype=_LISTS[name])
    return None


def behind(value: ir.Value | None, through: frozenset[str] = PASSING) -> ir.Value | None:
    """The initializer behind a value, through operators that only pass it on; `None` where there is none."""
    while value is not None and not value.is_initializer():
        node = value.producer()
        if node is None or node.domain != "" or node.op_type not in through:
            return None
        value = node.inputs[0]
    return value


def count_uses(value: ir.Value) -> int:
    """How often a tensor is used, counted behind what only passes it on."""
    total = int(value.is_graph_output())
    for node, _ in value.uses():
        passes = node.domain == "" and node.op_type in PASSING
        total += count_uses(node.outputs[0]) if passes else 1
    return total


def sizes(value: ir.Value) -> tuple[int | None, ...] | None:
    """The shape of a value, `None` for a dimension of unknown size; `None` if not even the rank is known."""
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else None for d in value.shape)


# What files call dimensions that have no name: two of them need not be the same size.
_NAMELESS = frozenset({"", "?", "*", "-1", "none", "null", "unk", "unknown", "dynamic", "any"})


def dimension_name(dim: int | ir.SymbolicDim) -> str | None:
    """The name of an open dimension; two of one name are the same size. `None` for a number, and for what is no name."""
    given = None if isinstance(dim, int) else dim.value
    return None if given is None or given.strip().lower() in _NAMELESS else given


def input_dimension(value: ir.Value, axis: int) -> str:
    """The name of an open dimension of an input, or one made of the input's name."""
    assert value.shape is not None
    return dimension_name(value.shape[axis]) or f"{value.name}_{axis}"


def initializer(name: str, array: Array) -> ir.Value:
    """A value that holds an array; it is not in a graph yet."""
    tensor = ir.Tensor(np.asarray(array, order="C"), name=name)  # ascontiguousarray would give a scalar an axis
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
