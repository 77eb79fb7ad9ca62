"""Pooling: every channel by itself."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.inference import Inference, describe
from pysurgeon.graph.registry import Operator, register


def pool(inference: Inference, node: ir.Node) -> None:
    """x (N, C, *) -> (N, C, *)."""
    x = node.inputs[0]
    assert x is not None
    source = inference.terms(x) or ()
    for output in node.outputs:
        target = inference.terms(output) or ()
        inference.equal(source[0], target[0], node)
        inference.equal(source[1], target[1], node)
        for term in (*source[2:], *target[2:]):
            inference.pin(term, f"it is a spatial axis of {describe(node)}")


register(
    "AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", operator=Operator(pool)
)
