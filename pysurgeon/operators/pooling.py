"""Pooling: every channel by itself."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.nodes import describe
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()


def pool(constraints: Constraints, node: ir.Node) -> None:
    """x (N, C, *) -> (N, C, *). Places, if they are asked for, are counted through the whole of x."""
    source = constraints.terms(node.inputs[0])
    for output in node.outputs:
        target = constraints.terms(output)
        if target:
            constraints.equal_all(source[:2], target[:2], node)
            constraints.pin_all((*source[2:], *target[2:]), f"it is a spatial axis of {describe(node)}")
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        constraints.pin_all(source, f"{describe(node)} gives places that are counted through it")


FAMILY.add(
    *"AveragePool MaxPool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool".split(),
    operator=Operator(pool, "channels; spatial axes stay, and all axes where places are used", scaling=Scaling.MOVES),
)
