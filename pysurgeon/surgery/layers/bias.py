"""Where a reader can put a constant: least squares with a bias explain more than without one, and an affine layer goes exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import Array, count_uses, sizes
from pysurgeon.graph.nodes import operand
from pysurgeon.graph.terms import leaves
from pysurgeon.operators.constraints import Read
from pysurgeon.surgery.operation import Place
from pysurgeon.widths.axis_layout import Dense, map_axis
from pysurgeon.widths.structure import Structure, Width


@dataclass(frozen=True)
class Bias:
    """What a reader adds.

    Attributes:
        name: The initializer, one number for every output of the reader.
        padded: Whether zeros lie around what is read, so that a constant in it is none at the border.
    """

    name: str
    padded: bool


def bias_of(structure: Structure, width: Width, read: Read, *, once: bool = True) -> Bias | None:
    """The bias that can take up a constant in what is read; `None` where there is none or something else uses it.

    Args:
        structure: Of the model.
        width: What is read.
        read: How.
        once: Whether the constant is one for each unit, so that a reader of several of each cannot have it.
    """
    node = structure.constraints.nodes[read.node]
    weight = structure.model.ir.graph.initializers[read.tensor]
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    array = structure.model.tensor(read.tensor)
    outputs = len(array) if node.op_type == "Conv" else array.shape[1 - read.axis] if array.ndim == 2 else None
    bias = _bias(node)
    if outputs is None or bias is None or bias.name is None or _from_the_left(node, read):
        return None
    array = structure.model.tensor(bias.name)
    fits = array.dtype == np.float32 and array.size == outputs
    alone = count_uses(bias) == 1 and count_uses(weight) == 1 and bias.name not in {t for t, _ in width.writers}
    single = list(leaves(structure.term(read.tensor, read.axis))).count(width.dim) == 1
    return Bias(bias.name, _padded(node)) if fits and alone and (single or not once) else None


def given_by(structure: Structure, width: Width, read: Read) -> Place | None:
    """What a reader gives, with the bias that is added to it; `None` where it is no linear map or changes its size, too."""
    node = structure.constraints.nodes[read.node]
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"):
        return None
    value, bias = node.outputs[0], _bias(node)
    if bias is None and node.op_type in _BIASED and operand(node, 2) is not None:
        return None  # what the node adds by itself is not known, or not alike for all samples
    if node.op_type == "MatMul" and bias is not None:
        value = next(iter(value.uses())).node.outputs[0]
    if any(width.dim in leaves(t) for t in structure.constraints.resolved(value)):
        return None
    offset = np.zeros(1) if bias is None else structure.model.tensor(str(bias.name)).astype(np.float64).reshape(-1)
    axis = 1 if "Conv" in node.op_type else -2 if _from_the_left(node, read) else -1
    return Place(str(value.name), str(value.name), offset, axis, reader=read.tensor)


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


def _padded(node: ir.Node) -> bool:
    same = node.attributes.get_string("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    return node.op_type == "Conv" and (same or any(node.attributes.get_ints("pads", ())))


_BIASED = frozenset({"Conv", "ConvTranspose", "Gemm"})


def _from_the_left(node: ir.Node, read: Read) -> bool:
    """Whether a matrix stands before what it is multiplied with, so that its outputs run along the last axis but one."""
    value = node.inputs[0]
    matrices = all(v is not None and v.shape is not None and len(v.shape) > 1 for v in node.inputs[:2])
    return node.op_type in ("Gemm", "MatMul") and value is not None and value.name != read.value and matrices


def _bias(node: ir.Node) -> ir.Value | None:
    """The initializer that is added to what a node gives: one number for each of its outputs, or one for all of them.

    What a residual branch ends in is added to another value, which is nothing that the node gives.
    """
    scaled = any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    bias = _added(node) if node.op_type == "MatMul" else None if scaled else operand(node, 2)
    given, shape = sizes(node.outputs[0]), None if bias is None else sizes(bias)
    if bias is None or not bias.is_initializer() or bias.is_graph_input() or not given or shape is None:
        return None
    outputs = given[-1 if node.op_type in ("Gemm", "MatMul") else 1]
    each = shape[-1:] == (outputs,) and all(d == 1 for d in shape[:-1])
    return bias if each or all(d == 1 for d in shape) else None


def _added(node: ir.Node) -> ir.Value | None:
    """What is added to what a node gives, if that is all that it is used for."""
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or node.outputs[0].is_graph_output() or uses[0].node.op_type != "Add":
        return None
    return uses[0].node.inputs[1 - uses[0].idx]
