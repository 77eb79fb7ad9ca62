"""Normalizations."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.inference import Inference, describe
from pysurgeon.graph.operators.elementwise import broadcast
from pysurgeon.graph.registry import Operator, register


def batch_normalization(inference: Inference, node: ir.Node) -> None:
    """x (N, C, *), scale, bias, mean, var (C): every channel by itself, so a copied channel stays exact."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    channel = (inference.terms(node.outputs[0]) or ())[1]
    for value in (*node.inputs[1:], *node.outputs[1:]):
        if value is not None:
            inference.equal(channel, (inference.terms(value) or ())[0], node)


def layer_normalization(inference: Inference, node: ir.Node) -> None:
    """Normalizes along the axes from `axis` on: a copied unit would change the mean and variance that all others see."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    terms = inference.terms(node.outputs[0]) or ()
    axis = int(node.attributes.get_int("axis", -1)) % len(terms)
    for term in terms[axis:]:
        inference.pin(term, f"{describe(node)} normalizes along it, which no resizing could keep exact")
    for value in node.inputs[1:]:
        broadcast(inference, node, [value, node.outputs[0]])
    for value in node.outputs[1:]:
        for term in inference.terms(value) or ():
            inference.pin(term, f"it is a statistic of {describe(node)}")


register("BatchNormalization", operator=Operator(batch_normalization, parameters=(1, 2), statistics=(3, 4)))
register("LayerNormalization", operator=Operator(layer_normalization, parameters=(1, 2)))
