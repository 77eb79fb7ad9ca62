"""Where a reader can put a constant: least squares with a bias explain more than without one, and an affine layer goes exactly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import Array, count_uses
from pysurgeon.graph.inference import Read
from pysurgeon.graph.terms import leaves
from pysurgeon.graph.widths import Structure, Width
from pysurgeon.surgery.edit import Dense, map_axis


def bias_of(structure: Structure, width: Width, read: Read) -> str | None:
    """Name of the initializer, one number for every output of a reader, that takes up a constant in what is read.

    `None` where there is none, where something else uses it, or where a constant would not be one: at the border of a padded
    convolution.
    """
    node = structure.inference.nodes[read.node]
    weight = structure.model.ir.graph.initializers[read.tensor]
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    outputs = _outputs(node, structure.model.tensor(read.tensor).shape, read.axis)
    bias = _bias(node)
    if outputs is None or bias is None or not bias.is_initializer() or bias.is_graph_input() or bias.name is None:
        return None
    array = structure.model.tensor(bias.name)
    fits = array.dtype == np.float32 and array.size == outputs and array.shape[-1:] == (outputs,)
    alone = count_uses(bias) == 1 and count_uses(weight) == 1 and bias.name not in {t for t, _ in width.writers}
    once = list(leaves(structure.term(read.tensor, read.axis))).count(width.dim) == 1
    return bias.name if fits and alone and once else None


def with_constant(structure: Structure, width: Width, read: Read, bias: str, constant: Array) -> Array:
    """A reader's bias once every unit that it reads is larger by a constant.

    Args:
        structure: Of the model.
        width: What is read.
        read: How it is read.
        bias: What `bias_of` returned.
        constant: (n,), by unit.
    """
    weight, term = structure.model.tensor(read.tensor), structure.term(read.tensor, read.axis)
    row = np.asarray(constant, np.float32)[None, :]
    # What else the axis holds is the same in both and cancels.
    read_of = [map_axis(weight, read.axis, term, width.dim, Dense(m)) for m in (row, np.zeros_like(row))]
    difference = (read_of[0] - read_of[1]).astype(np.float64)
    kept = 0 if weight.ndim > 2 else 1 - read.axis
    total = difference.sum(axis=tuple(k for k in range(weight.ndim) if k != kept))
    old = structure.model.tensor(bias)
    return np.asarray(old + total.reshape(old.shape), dtype=np.float32)


def _outputs(node: ir.Node, shape: tuple[int, ...], axis: int) -> int | None:
    if node.op_type == "Conv":
        padded = any(node.attributes.get_ints("pads", ())) or node.attributes.get_string("auto_pad", "NOTSET") in (
            "SAME_UPPER",
            "SAME_LOWER",
        )
        return None if padded else shape[0]
    return shape[1 - axis] if len(shape) == 2 else None


def _bias(node: ir.Node) -> ir.Value | None:
    if node.op_type == "MatMul":
        uses = list(node.outputs[0].uses())
        if len(uses) != 1 or node.outputs[0].is_graph_output() or uses[0].node.op_type != "Add":
            return None
        return uses[0].node.inputs[1 - uses[0].idx]
    scaled = any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    return node.inputs[2] if len(node.inputs) > 2 and not scaled else None
