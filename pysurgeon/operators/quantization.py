"""Quantization: elements are rounded to steps of a tensor, or of every unit along an axis."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.nodes import describe
from pysurgeon.graph.terms import size
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.elementwise import broadcast
from pysurgeon.operators.operator import Family, Operator

FAMILY = Family()


def quantize(constraints: Constraints, node: ir.Node) -> None:
    """x, scale, zero point: one of each, or one for every unit along `axis`."""
    broadcast(constraints, node, [node.inputs[0], node.outputs[0]])
    terms = constraints.terms(node.outputs[0])
    for value in node.inputs[1:]:
        steps = constraints.terms(value)
        if len(steps) > 1 or int(node.attributes.get_int("block_size", 0)) > 0:
            constraints.pin_node(node, f"{describe(node)} quantizes in blocks")
        elif steps and terms and size(steps[0]) != 1:
            constraints.equal(steps[0], terms[int(node.attributes.get_int("axis", 1)) % len(terms)], node)


FAMILY.add(
    "QuantizeLinear",
    "DequantizeLinear",
    operator=Operator(quantize, "all axes; quantization in blocks keeps all sizes"),
)
