"""Resize, Pad, and the exchange of channels for pixels."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from pysurgeon.graph._shape_arithmetic import numbers
from pysurgeon.graph._tensors import Array, constant
from pysurgeon.graph.inference import Inference, describe, operand, static
from pysurgeon.graph.operators.layout import written
from pysurgeon.graph.registry import Operator, Scaling, register
from pysurgeon.graph.terms import Prod, Sum, Term, size


def resize(inference: Inference, node: ir.Node) -> None:
    """An axis whose scale is one is left alone."""
    source, result = inference.terms(node.inputs[0]), inference.terms(node.outputs[0])
    axes = [a % len(source) for a in node.attributes.get_ints("axes", tuple(range(len(source))))]
    scales = _scales(node)
    sizes = numbers(node, 3) if operand(node, 3) is not None else None
    for axis, (a, b) in enumerate(zip(source, result, strict=True)):
        k = axes.index(axis) if axis in axes else None
        by_scale = k is not None and scales is not None and len(scales) > k and float(scales[k]) == 1.0
        by_size = k is not None and sizes is not None and (axis == 0 or (size(a) is not None and size(a) == size(b)))
        if k is None or by_scale or by_size:
            inference.equal(a, b, node)
            if k is not None and sizes is not None:
                written(inference, node, sizes[k], b)
        else:
            inference.pin_all((a, b), f"{describe(node)} resamples along it")


def _scales(node: ir.Node) -> Array | Sequence[float] | None:
    """One for each axis, `None` where they are computed or sizes are given in their place. Upsample had them as an attribute first."""
    if node.op_type == "Upsample" and "scales" in node.attributes:
        return node.attributes["scales"].as_floats()
    return constant(operand(node, 1 if node.op_type == "Upsample" or len(node.inputs) == 2 else 2))


def pad(inference: Inference, node: ir.Node) -> None:
    """What is added at the ends of an axis stands beside what was there."""
    source, result = inference.terms(node.inputs[0]), inference.terms(node.outputs[0])
    given = static(node.inputs[1]) if len(node.inputs) > 1 else list(node.attributes.get_ints("pads", ()))
    axes = static(node.inputs[3]) if operand(node, 3) is not None else list(range(len(source)))
    if given is None or axes is None or len(given) != 2 * len(axes):
        inference.pin_node(node, f"{describe(node)}: its pads are not constants")
        return
    pads = {a % len(source): (given[k], given[k + len(axes)]) for k, a in enumerate(axes)}
    constant_mode = node.attributes.get_string("mode", "constant") == "constant"
    for axis, (a, b) in enumerate(zip(source, result, strict=True)):
        before, after = pads.get(axis, (0, 0))
        if not before and not after:
            inference.equal(a, b, node)
        elif before < 0 or after < 0 or not constant_mode or size(a) is None:
            inference.pin_all((a, b), f"{describe(node)} pads it")
        else:
            ends = [inference.fresh(k) if k else None for k in (before, after)]
            for end in ends:
                if end is not None:
                    inference.pin(end, f"{describe(node)} adds it")
            inference.equal(b, Sum(tuple(t for t in (ends[0], a, ends[1]) if t is not None)), node)


def sample(inference: Inference, node: ir.Node) -> None:
    """x (N, C, *) at the points of a grid (N, *, axes), or in boxes (R, 4): every channel by itself."""
    x, points, result = (inference.terms(v) for v in (*node.inputs[:2], node.outputs[0]))
    inference.equal(x[1], result[1], node)
    inference.pin_all((x[0], *x[2:], *points, result[0], *result[2:]), f"{describe(node)} samples along it")


def depth_to_space(inference: Inference, node: ir.Node) -> None:
    """Channels (b, b, C) become b x b pixels of C channels each; in CRD mode they are (C, b, b)."""
    _exchange(inference, node, inference.terms(node.inputs[0]), inference.terms(node.outputs[0]))


def space_to_depth(inference: Inference, node: ir.Node) -> None:
    """b x b pixels of C channels become channels (b, b, C)."""
    _exchange(inference, node, inference.terms(node.outputs[0]), inference.terms(node.inputs[0]))


def _exchange(inference: Inference, node: ir.Node, deep: Sequence[Term], wide: Sequence[Term]) -> None:
    block = int(node.attributes.get_int("blocksize", 1))
    blocks = inference.fresh(block * block)
    inference.pin_all((blocks, *deep[2:], *wide[2:]), f"it is a spatial axis of {describe(node)}")
    inference.equal(deep[0], wide[0], node)
    crd = node.attributes.get_string("mode", "DCR") == "CRD"
    inference.equal(deep[1], Prod((wide[1], blocks) if crd else (blocks, wide[1])), node)


_MOVES = Scaling.MOVES
register("Resize", "Upsample", operator=Operator(resize, "axes whose scale is one; resampled ones stay"))
register(
    "GridSample", "RoiAlign", operator=Operator(sample, "channels; spatial axes, points and boxes stay", scaling=_MOVES)
)
register("Pad", operator=Operator(pad, "all axes; what is added stays, reflected axes stay"))
register("DepthToSpace", operator=Operator(depth_to_space, "channels; blocks and spatial axes stay", scaling=_MOVES))
register("SpaceToDepth", operator=Operator(space_to_depth, "channels; blocks and spatial axes stay", scaling=_MOVES))
