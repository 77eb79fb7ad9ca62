"""Operators about shapes: what they give holds no units, but it may hold a size."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from pysurgeon.graph.nodes import describe, static
from pysurgeon.graph.shape_arithmetic import numbers
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.layout import written
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()

# Where numbers that came from a shape are followed, or stated to be followed no further.
_FOLLOWED = frozenset(
    "Add Cast Concat ConstantOfShape Div Expand Gather Identity Mul Reshape Resize Slice Squeeze Sub Tile Unsqueeze".split()
)

_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)


def shape(constraints: Constraints, node: ir.Node) -> None:
    """Loading has made constants of all sizes that it could; what is left may be used in a way that is not followed."""
    terms = constraints.terms(node.inputs[0])
    axes = list(range(len(terms)))[slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", None))]
    for reader, used in _not_followed(node.outputs[0], axes, 0):
        for axis in used:
            constraints.pin(terms[axis], f"its size goes into {describe(reader)}")


def _not_followed(value: ir.Value, axes: list[int], depth: int) -> Iterator[tuple[ir.Node, list[int]]]:
    """Where sizes leave the shape arithmetic that is followed, and of which axes they are."""
    for user, position in value.uses():
        is_shape = user.op_type in ("Reshape", "Expand", "Tile", "Resize") and position > 0
        if is_shape or user.op_type == "ConstantOfShape":
            continue
        casts = user.op_type == "Cast" and user.attributes.get_int("to", 0) not in _INTEGERS
        index = user.op_type == "Gather" and position == 1
        if user.domain != "" or user.op_type not in _FOLLOWED or casts or index or depth > 16:
            yield user, axes
        else:
            picked = static(user.inputs[1]) if user.op_type == "Gather" and depth == 0 else None
            yield from _not_followed(user.outputs[0], axes if picked is None else [axes[k] for k in picked], depth + 1)


def filled(constraints: Constraints, node: ir.Node) -> None:
    """Every element is the same number, so any size will do where it is written down."""
    result, target = constraints.terms(node.outputs[0]), numbers(node, 0)
    if target is None or len(target) != len(result):
        constraints.pin_all(result, f"{describe(node)}: its shape is computed and could not be followed")
        return
    for number, term in zip(target, result, strict=True):
        written(constraints, node, number, term)


def fixed(constraints: Constraints, node: ir.Node) -> None:
    """What comes out depends on places or on numbers of elements."""
    constraints.pin_node(node, f"{describe(node)} gives numbers that depend on it")


def nothing(constraints: Constraints, node: ir.Node) -> None:
    """It has no axes that belong to any other."""


FAMILY.add(
    "Shape", operator=Operator(shape, "sizes that it gives are followed into shapes; used otherwise, all sizes stay")
)
FAMILY.add("ConstantOfShape", operator=Operator(filled, "all axes, the shape follows", scaling=Scaling.ADDS))
FAMILY.add("Constant", operator=Operator(nothing, "nothing: arrays become initializers"))
FAMILY.add("Range", "Size", "EyeLike", "NonZero", "OneHot", "Trilu", operator=Operator(fixed, "all sizes stay"))
