"""Reductions, and operators that mix the elements along an axis without a weight."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.inference import Inference, describe, operand, static
from pysurgeon.graph.registry import Operator, Scaling, register
from pysurgeon.graph.terms import Term

# Copies of all units leave these alone.
_AVERAGES = frozenset({"ReduceMean", "ReduceMax", "ReduceMin"})


def reduce(inference: Inference, node: ir.Node) -> None:
    """The reduced axes have no weight that could make up for a copy."""
    source, result = inference.terms(node.inputs[0]), inference.terms(node.outputs[0])
    axes = _reduced(node, len(source))
    if axes is None:
        inference.pin_node(node, f"{describe(node)}: its axes are not constants")
        return
    _drop(inference, node, source, result, axes, keep=bool(node.attributes.get_int("keepdims", 1)))
    for axis in axes:
        if node.op_type in _AVERAGES:
            inference.average(source[axis], node)
        else:
            inference.change(source[axis], f"{describe(node)} sums along it")


def _reduced(node: ir.Node, rank: int) -> set[int] | None:
    given = static(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", None)
    if given is None and operand(node, 1) is not None:
        return None
    if not given and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return set()
    return {a % rank for a in given} if given else set(range(rank))


def _drop(
    inference: Inference,
    node: ir.Node,
    source: tuple[Term, ...],
    result: tuple[Term, ...],
    axes: set[int],
    *,
    keep: bool,
) -> None:
    remaining = list(result)
    for k, term in enumerate(source):
        if k not in axes:
            inference.equal(term, remaining.pop(0), node)
        elif keep:
            inference.pin(remaining.pop(0), f"{describe(node)} reduces along it")


def arg(inference: Inference, node: ir.Node) -> None:
    """Which element along `axis` is the largest: their number is what the result means."""
    source, result = inference.terms(node.inputs[0]), inference.terms(node.outputs[0])
    axis = int(node.attributes.get_int("axis", 0)) % len(source)
    _drop(inference, node, source, result, {axis}, keep=bool(node.attributes.get_int("keepdims", 1)))
    inference.pin(source[axis], f"{describe(node)} gives places along it")


def softmax(inference: Inference, node: ir.Node) -> None:
    """Every element along the axis depends on all others."""
    source, result = inference.terms(node.inputs[0]), inference.terms(node.outputs[0])
    inference.equal_all(source, result, node)
    old = inference.model.opset < 13  # before, all axes from `axis` on were flattened into one
    axis = int(node.attributes.get_int("axis", 1 if old else -1)) % len(source)
    inference.pin_all(source[axis:] if old else [source[axis]], f"{describe(node)} runs along it")


def along(inference: Inference, node: ir.Node) -> None:
    """The axis keeps its order and size; all others are free."""
    source = inference.terms(node.inputs[0])
    if node.op_type == "CumSum":
        given = static(node.inputs[1])
        axis = None if given is None else given[0]
    else:
        axis = int(node.attributes.get_int("axis", -1))
    if axis is None:
        inference.pin_node(node, f"{describe(node)}: its axis is not a constant")
        return
    axis %= len(source)
    for output in node.outputs:
        for k, term in enumerate(inference.terms(output)):
            if k == axis:
                inference.pin(term, f"{describe(node)} runs along it")
            else:
                inference.equal(term, source[k], node)
    inference.pin(source[axis], f"{describe(node)} runs along it")


_MOVING = "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum".split()
_REDUCED = "the axes that stay; along a mean or an extremum, widening is exact to whole multiples only, along a sum no resizing is"
register(*_MOVING, operator=Operator(reduce, _REDUCED, scaling=Scaling.MOVES))
register(
    *"ReduceLogSum ReduceLogSumExp ReduceProd ReduceSumSquare".split(),
    operator=Operator(reduce, _REDUCED),
)
register("Softmax", "LogSoftmax", "Hardmax", operator=Operator(softmax, "the other axes; `axis` stays"))
register("ArgMax", "ArgMin", operator=Operator(arg, "the other axes; `axis` stays"))
register("CumSum", "TopK", operator=Operator(along, "the other axes; `axis` stays"))
