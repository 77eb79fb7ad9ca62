"""Operators that move elements without changing them."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.inference import Inference, describe, product, static
from pysurgeon.graph.registry import Operator, register
from pysurgeon.graph.terms import Sum


def reshape(inference: Inference, node: ir.Node) -> None:
    """The product of all axes stays; written-down sizes are remembered."""
    x, output = node.inputs[0], node.outputs[0]
    assert x is not None
    target = static(node.inputs[1])
    source, result = inference.terms(x) or (), inference.terms(output) or ()
    if target is None or len(target) != len(result):
        inference.pin_node(node, f"{describe(node)}: its shape is computed and could not be followed")
        return
    if not source or not result:
        for term in (*source, *result):
            inference.pin(term, f"{describe(node)} changes to or from a scalar")
        return
    inference.equal(product(source), product(result), node)
    keeps_zeros = bool(node.attributes.get_int("allowzero", 0))
    for element, dim in enumerate(target):
        if dim > 0:
            inference.shape_constant(node, 1, element, result[element])
        elif (
            dim == 0
            and not keeps_zeros
            and element < len(source)
            and not inference.same(source[element], result[element])
        ):
            # The size is copied from an axis that holds other elements, so both have to stay.
            for term in (source[element], result[element]):
                inference.pin(term, f"{describe(node)} copies its size from another axis")


def flatten(inference: Inference, node: ir.Node) -> None:
    """All axes before `axis` become one, all from there on another."""
    x, output = node.inputs[0], node.outputs[0]
    assert x is not None
    source, result = inference.terms(x) or (), inference.terms(output) or ()
    axis = int(node.attributes.get_int("axis", 1))
    axis = axis + len(source) if axis < 0 else axis
    for part, term in ((source[:axis], result[0]), (source[axis:], result[1])):
        if part:
            inference.equal(term, product(part), node)
        else:
            inference.pin(term, f"{describe(node)} adds it")


def transpose(inference: Inference, node: ir.Node) -> None:
    """Axes are permuted."""
    x, output = node.inputs[0], node.outputs[0]
    assert x is not None
    source, result = inference.terms(x) or (), inference.terms(output) or ()
    permutation = node.attributes.get_ints("perm", tuple(range(len(source)))[::-1])
    for term, axis in zip(result, permutation, strict=True):
        inference.equal(term, source[axis], node)


def concat(inference: Inference, node: ir.Node) -> None:
    """Parts stand side by side along `axis`; the other axes are equal."""
    result = inference.terms(node.outputs[0]) or ()
    axis = int(node.attributes.get_int("axis", 0)) % len(result)
    parts = [inference.terms(v) or () for v in node.inputs if v is not None]
    inference.equal(result[axis], Sum(tuple(p[axis] for p in parts)), node)
    for part in parts:
        for k, term in enumerate(part):
            if k != axis:
                inference.equal(term, result[k], node)


def squeeze(inference: Inference, node: ir.Node) -> None:
    """Axes of size one are dropped."""
    _axes_of_size_one(inference, node, longer=node.inputs[0], shorter=node.outputs[0])


def unsqueeze(inference: Inference, node: ir.Node) -> None:
    """Axes of size one are added."""
    _axes_of_size_one(inference, node, longer=node.outputs[0], shorter=node.inputs[0])


def _axes_of_size_one(inference: Inference, node: ir.Node, longer: ir.Value | None, shorter: ir.Value | None) -> None:
    assert longer is not None
    assert shorter is not None
    many, few = inference.terms(longer) or (), list(inference.terms(shorter) or ())
    given = static(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", None)
    if given is None:
        inference.pin_node(node, f"{describe(node)}: its axes are not constants")
        return
    axes = {a % len(many) for a in given}
    for k, term in enumerate(many):
        if k in axes:
            inference.pin(term, f"{describe(node)} adds or drops it")
        else:
            inference.equal(term, few.pop(0), node)


register("Reshape", operator=Operator(reshape))
register("Flatten", operator=Operator(flatten))
register("Transpose", operator=Operator(transpose))
register("Concat", operator=Operator(concat))
register("Squeeze", operator=Operator(squeeze))
register("Unsqueeze", operator=Operator(unsqueeze))
