"""Operators about shapes: what they give holds no units, but it may hold a size."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.nodes import describe
from pysurgeon.graph.shape_arithmetic import escapes, numbers
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.layout import written
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()


def shape(constraints: Constraints, node: ir.Node) -> None:
    """Loading has made constants of all sizes that it could; what is left may be used in a way that is not followed."""
    terms = constraints.terms(node.inputs[0])
    axes = list(range(len(terms)))[slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", None))]
    for reader, used in escapes(node.outputs[0], axes):
        where = "a graph output" if reader is None else describe(reader)
        constraints.pin_all([terms[axis] for axis in used], f"its size goes into {where}")


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
