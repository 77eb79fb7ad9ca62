"""Half precision, read as single precision.

A file in float16 or bfloat16 was made to run fast. Neither sums over samples nor steps of an optimizer fit into eleven bits, and an
operation that keeps a function could not be told from one that does not. Every half is a float32 as well, so nothing of the weights is lost;
what is computed from them is no longer rounded on its way, and differs by that from what the file gave.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
# Attributes that say a type by its number.
_TYPE_NAMES = ("to", "dtype", "output_dtype", "softmax_precision", "stash_type")


def in_single_precision(model: ir.Model) -> bool:
    """Turn all halves of a graph and of those in it into float32, in place: tensors, types, inputs and outputs.

    Args:
        model: Without functions.

    Returns:
        Whether there were any.
    """
    found = [_retyped(value) for value in _values(model)]
    found += [_respelled(node) for node in model.graph.all_nodes()]
    return any(found)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
    for node in model.graph.all_nodes():
        yield from node.outputs


def _retyped(value: ir.Value) -> bool:
    found = _single(value.type)
    if found is not None:
        value.type = found
    tensor = value.const_value
    if tensor is not None and tensor.dtype in _HALVES:
        value.const_value = _converted(tensor)
        return True
    return found is not None


def _single(kind: ir.TypeProtocol | None) -> ir.TypeProtocol | None:
    """The type in float32; `None` if there are no halves in it."""
    if isinstance(kind, ir.SequenceType | ir.OptionalType):
        inner = _single(kind.elem_type)
        return None if inner is None else type(kind)(inner)
    if isinstance(kind, ir.TensorType) and kind.dtype in _HALVES:
        return ir.TensorType(ir.DataType.FLOAT)
    return None


def _respelled(node: ir.Node) -> bool:
    found = False
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in _HALVES:
            node.attributes[name] = ir.AttrTensor(name, _converted(attribute.value), attribute.doc_string)
        elif attribute.type == ir.AttributeType.INT and name in _TYPE_NAMES and attribute.value in _HALVES:
            node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT, attribute.doc_string)
        else:
            continue
        found = True
    return found


def _converted(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().astype(np.float32), name=tensor.name)
