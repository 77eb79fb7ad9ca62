"""Quantization: elements are rounded to steps of a tensor, or of every unit along an axis."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.inference import Inference, describe
from pysurgeon.graph.operators.elementwise import broadcast
from pysurgeon.graph.registry import Operator, register
from pysurgeon.graph.terms import size


def quantize(inference: Inference, node: ir.Node) -> None:
    """x, scale, zero point: one of each, or one for every unit along `axis`."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    terms = inference.terms(node.outputs[0])
    for value in node.inputs[1:]:
        steps = inference.terms(value)
        if len(steps) > 1 or int(node.attributes.get_int("block_size", 0)) > 0:
            inference.pin_node(node, f"{describe(node)} quantizes in blocks")
        elif steps and terms and size(steps[0]) != 1:
            inference.equal(steps[0], terms[int(node.attributes.get_int("axis", 1)) % len(terms)], node)


register(
    "QuantizeLinear",
    "DequantizeLinear",
    operator=Operator(quantize, "all axes; quantization in blocks keeps all sizes"),
)
