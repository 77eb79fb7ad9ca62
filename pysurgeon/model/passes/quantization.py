"""Weights that are stored in few bits, read as float32.

A quantized file holds integers where it had weights, and a DequantizeLinear behind each of them. No step of an optimizer fits into
eight bits, nor the share of a unit that was split. What DequantizeLinear gives is what the model computes with, so the function stays; so
do the steps that activations are rounded to.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.names import Names, value_names
from pysurgeon.graph.tensors import Array, constant, initializer

# What onnxruntime's quantization appends to the name that a weight had.
_SUFFIX = "_DequantizeLinear_Output"


def in_full(graph: ir.Graph) -> int:
    """Put in place of every DequantizeLinear of a constant the weight that it gives.

    Returns:
        How many weights there were.
    """
    nodes = [n for n in graph if n.op_type == "DequantizeLinear" and n.domain in ("", "com.microsoft")]
    names = Names(value_names(graph)) if nodes else None
    found: dict[tuple[ir.Value | None, ...], ir.Value] = {}  # a weight that is shared stays one
    for node in nodes:
        output, array = node.outputs[0], _weight(node)
        if array is None or output.is_graph_output():
            continue
        stem, weight = str(output.name).removesuffix(_SUFFIX), found.get(tuple(node.inputs))
        if weight is None:
            assert names is not None
            weight = initializer(stem if stem == output.name else names.unique(stem), array)
            found[tuple(node.inputs)] = weight
        output.replace_all_uses_with(weight)
        graph.remove(node, safe=True)
        if weight.graph is None:
            graph.register_initializer(weight)
    return len(found)


def _weight(node: ir.Node) -> Array | None:
    """What a node gives, if that does not depend on anything that is fed and every unit has one step at most."""
    held = [None if v is None else constant(v) for v in node.inputs]
    if any((a is None) is not (v is None) for a, v in zip(held, node.inputs, strict=True)):
        return None
    whole, step = held[0], held[1]
    zero = held[2] if len(held) > 2 else None
    if whole is None or step is None or whole.dtype.kind not in "iu" or whole.size < 2 or step.dtype != np.float32:
        return None
    if node.attributes.get_int("block_size", 0) or step.ndim > 1:
        return None
    axis = node.attributes.get_int("axis", 1)
    shifted = whole.astype(np.float32)
    if zero is not None:
        shifted = shifted - _along(zero, whole.ndim, axis).astype(np.float32)
    return np.asarray(shifted * _along(step, whole.ndim, axis), np.float32)


def _along(array: Array, rank: int, axis: int) -> Array:
    """One number for all elements, or one for every unit along an axis, so that it is broadcast."""
    return array.reshape(()) if array.size == 1 else np.expand_dims(array, [k for k in range(rank) if k != axis % rank])
