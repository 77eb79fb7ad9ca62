"""Reductions, and operators that mix the elements along an axis without a weight."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.inference import Inference, describe, static
from pysurgeon.graph.registry import Operator, register


def reduce(inference: Inference, node: ir.Node) -> None:
    """The reduced axes keep their sizes: what is summed up there has no weight that could make up for a copy."""
    x, output = node.inputs[0], node.outputs[0]
    assert x is not None
    source, result = inference.terms(x) or (), inference.terms(output) or ()
    given = static(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", None)
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        inference.pin_node(node, f"{describe(node)}: its axes are not constants")
        return
    if not given and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        axes = set()
    else:
        axes = {a % len(source) for a in given} if given else set(range(len(source)))
    keep = bool(node.attributes.get_int("keepdims", 1))
    remaining = list(result)
    for k, term in enumerate(source):
        if k in axes:
            inference.pin(term, f"{describe(node)} reduces along it")
            if keep:
                inference.pin(remaining.pop(0), f"{describe(node)} reduces along it")
        else:
            inference.equal(term, remaining.pop(0), node)


def softmax(inference: Inference, node: ir.Node) -> None:
    """Every element along the axis depends on all others."""
    x, output = node.inputs[0], node.outputs[0]
    assert x is not None
    source, result = inference.terms(x) or (), inference.terms(output) or ()
    for a, b in zip(source, result, strict=True):
        inference.equal(a, b, node)
    old = inference.model.opset < 13  # before, all axes from `axis` on were flattened into one
    axis = int(node.attributes.get_int("axis", 1 if old else -1)) % len(source)
    for term in source[axis:] if old else [source[axis]]:
        inference.pin(term, f"{describe(node)} runs along it")


REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
).split()

register(*REDUCTIONS, operator=Operator(reduce))
register("Softmax", "LogSoftmax", "Hardmax", operator=Operator(softmax))
