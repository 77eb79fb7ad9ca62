"""Half and double precision, read as single precision.

A file in float16 or bfloat16 was made to run fast. Neither sums over samples nor steps of an optimizer fit into eleven bits, and an
operation that keeps a function could not be told from one that does not. Every half is a float32 as well, so nothing of the weights is lost;
what is computed from them is no longer rounded on its way, and differs by that from what the file gave.

A file whose weights are float64 is one that nobody asked for: most engines lack its kernels, and training in float32 is what all of them do. Its
weights are rounded to float32, and what it gives is compared with the file as it is. Where doubles are few numbers in a graph of float32, as in
the arithmetic of sizes, they stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

_Kinds: TypeAlias = tuple[ir.DataType, ...]

_HALVES: _Kinds = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_DOUBLES: _Kinds = (ir.DataType.DOUBLE,)
# Attributes that say a type by its number.
_TYPE_NAMES = ("to", "dtype", "output_dtype", "softmax_precision", "stash_type")


def halves_in_single_precision(model: ir.Model) -> bool:
    """Turn all halves of a graph and of those in it into float32, in place: tensors, types, inputs and outputs.

    Args:
        model: Without functions.

    Returns:
        Whether there were any.
    """
    return _in_single_precision(model, _HALVES)


def doubles_in_single_precision(model: ir.Model) -> bool:
    """Turn all float64 of a graph whose weights are float64 into float32, in place.

    Args:
        model: Without functions.

    Returns:
        Whether it is such a graph.
    """
    return has_double_weights(model) and _in_single_precision(model, _DOUBLES)


def has_double_weights(model: ir.Model) -> bool:
    """Whether there is a float64 tensor of two axes or more."""
    return any(
        t.dtype in _DOUBLES and len(t.shape) > 1 for value in _values(model) if (t := value.const_value) is not None
    ) or any(
        a.type == ir.AttributeType.TENSOR and a.value.dtype in _DOUBLES and len(a.value.shape) > 1
        for node in model.graph.all_nodes()
        for a in node.attributes.values()
    )


def _in_single_precision(model: ir.Model, kinds: _Kinds) -> bool:
    found = [_retyped(value, kinds) for value in _values(model)]
    found += [_respelled(node, kinds) for node in model.graph.all_nodes()]
    return any(found)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
    for node in model.graph.all_nodes():
        yield from node.outputs


def _retyped(value: ir.Value, kinds: _Kinds) -> bool:
    found = _single(value.type, kinds)
    if found is not None:
        value.type = found
    tensor = value.const_value
    if tensor is not None and tensor.dtype in kinds:
        value.const_value = _converted(tensor)
        return True
    return found is not None


def _single(kind: ir.TypeProtocol | None, kinds: _Kinds) -> ir.TypeProtocol | None:
    """The type in float32; `None` if it is one already, or no float."""
    if isinstance(kind, ir.SequenceType | ir.OptionalType):
        inner = _single(kind.elem_type, kinds)
        return None if inner is None else type(kind)(inner)
    if isinstance(kind, ir.TensorType) and kind.dtype in kinds:
        return ir.TensorType(ir.DataType.FLOAT)
    return None


def _respelled(node: ir.Node, kinds: _Kinds) -> bool:
    found = False
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in kinds:
            node.attributes[name] = ir.AttrTensor(name, _converted(attribute.value), attribute.doc_string)
        elif attribute.type == ir.AttributeType.INT and name in _TYPE_NAMES and attribute.value in kinds:
            node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT, attribute.doc_string)
        else:
            continue
        found = True
    return found


def _converted(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and the comparison with the file shows it
        return ir.Tensor(tensor.numpy().astype(np.float32), name=tensor.name)
