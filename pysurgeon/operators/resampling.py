"""Resize, Pad, and the exchange of channels for pixels."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from pysurgeon.graph.nodes import describe, operand, static
from pysurgeon.graph.shape_arithmetic import numbers
from pysurgeon.graph.tensors import Array, constant
from pysurgeon.graph.terms import Prod, Sum, Term, size
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.layout import written
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()


def resize(constraints: Constraints, node: ir.Node) -> None:
    """An axis whose scale is one is left alone."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    axes = [a % len(source) for a in node.attributes.get_ints("axes", tuple(range(len(source))))]
    scales = _scales(node)
    sizes = numbers(node, 3) if operand(node, 3) is not None else None
    for axis, (a, b) in enumerate(zip(source, result, strict=True)):
        k = axes.index(axis) if axis in axes else None
        by_scale = k is not None and scales is not None and len(scales) > k and float(scales[k]) == 1.0
        by_size = k is not None and sizes is not None and (axis == 0 or (size(a) is not None and size(a) == size(b)))
        if k is None or by_scale or by_size:
            constraints.equal(a, b, node)
            if k is not None and sizes is not None:
                written(constraints, node, sizes[k], b)
        else:
            constraints.pin_all((a, b), f"{describe(node)} resamples along it")


def _scales(node: ir.Node) -> Array | Sequence[float] | None:
    """One for each axis, `None` where they are computed or sizes are given in their place. Upsample had them as an attribute first."""
    if node.op_type == "Upsample" and "scales" in node.attributes:
        return node.attributes["scales"].as_floats()
    return constant(operand(node, 1 if node.op_type == "Upsample" or len(node.inputs) == 2 else 2))


def pad(constraints: Constraints, node: ir.Node) -> None:
    """What is added at the ends of an axis stands beside what was there."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    given = static(node.inputs[1]) if len(node.inputs) > 1 else list(node.attributes.get_ints("pads", ()))
    axes = static(node.inputs[3]) if operand(node, 3) is not None else list(range(len(source)))
    if given is None or axes is None or len(given) != 2 * len(axes):
        constraints.pin_node(node, f"{describe(node)}: its pads are not constants")
        return
    pads = {a % len(source): (given[k], given[k + len(axes)]) for k, a in enumerate(axes)}
    constant_mode = node.attributes.get_string("mode", "constant") == "constant"
    for axis, (a, b) in enumerate(zip(source, result, strict=True)):
        before, after = pads.get(axis, (0, 0))
        if not before and not after:
            constraints.equal(a, b, node)
        elif before < 0 or after < 0 or not constant_mode or size(a) is None:
            constraints.pin_all((a, b), f"{describe(node)} pads it")
        else:
            ends = [constraints.fresh(k) if k else None for k in (before, after)]
            for end in ends:
                if end is not None:
                    constraints.pin(end, f"{describe(node)} adds it")
            constraints.equal(b, Sum(tuple(t for t in (ends[0], a, ends[1]) if t is not None)), node)


def sample(constraints: Constraints, node: ir.Node) -> None:
    """x (N, C, *) at the points of a grid (N, *, axes), or in boxes (R, 4): every channel by itself."""
    x, points, result = (constraints.terms(v) for v in (*node.inputs[:2], node.outputs[0]))
    constraints.equal(x[1], result[1], node)
    constraints.pin_all((x[0], *x[2:], *points, result[0], *result[2:]), f"{describe(node)} samples along it")


def depth_to_space(constraints: Constraints, node: ir.Node) -> None:
    """Channels (b, b, C) become b x b pixels of C channels each; in CRD mode they are (C, b, b)."""
    _exchange(constraints, node, constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0]))


def space_to_depth(constraints: Constraints, node: ir.Node) -> None:
    """b x b pixels of C channels become channels (b, b, C)."""
    _exchange(constraints, node, constraints.terms(node.outputs[0]), constraints.terms(node.inputs[0]))


def _exchange(constraints: Constraints, node: ir.Node, deep: Sequence[Term], wide: Sequence[Term]) -> None:
    block = int(node.attributes.get_int("blocksize", 1))
    blocks = constraints.fresh(block * block)
    constraints.pin_all((blocks, *deep[2:], *wide[2:]), f"it is a spatial axis of {describe(node)}")
    constraints.equal(deep[0], wide[0], node)
    crd = node.attributes.get_string("mode", "DCR") == "CRD"
    constraints.equal(deep[1], Prod((wide[1], blocks) if crd else (blocks, wide[1])), node)


_MOVES = Scaling.MOVES
FAMILY.add("Resize", "Upsample", operator=Operator(resize, "axes whose scale is one; resampled ones stay"))
FAMILY.add(
    "GridSample", "RoiAlign", operator=Operator(sample, "channels; spatial axes, points and boxes stay", scaling=_MOVES)
)
FAMILY.add("Pad", operator=Operator(pad, "all axes; what is added stays, reflected axes stay"))
FAMILY.add("DepthToSpace", operator=Operator(depth_to_space, "channels; blocks and spatial axes stay", scaling=_MOVES))
FAMILY.add("SpaceToDepth", operator=Operator(space_to_depth, "channels; blocks and spatial axes stay", scaling=_MOVES))
