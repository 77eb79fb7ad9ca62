"""Reductions, and operators that mix the elements along an axis without a weight."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.nodes import describe, operand, static
from pysurgeon.graph.terms import Term
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()

# Copies of all units leave these alone.
_AVERAGES = frozenset({"ReduceMean", "ReduceMax", "ReduceMin"})


def reduce(constraints: Constraints, node: ir.Node) -> None:
    """The reduced axes have no weight that could make up for a copy."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    axes = _reduced(node, len(source))
    if axes is None:
        constraints.pin_node(node, f"{describe(node)}: its axes are not constants")
        return
    _drop(constraints, node, source, result, axes, keep=bool(node.attributes.get_int("keepdims", 1)))
    for axis in axes:
        if node.op_type in _AVERAGES:
            constraints.average(source[axis], node)
        else:
            constraints.change(source[axis], f"{describe(node)} sums along it")


def _reduced(node: ir.Node, rank: int) -> set[int] | None:
    given = static(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", None)
    if given is None and operand(node, 1) is not None:
        return None
    if not given and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return set()
    return {a % rank for a in given} if given else set(range(rank))


def _drop(
    constraints: Constraints,
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
            constraints.equal(term, remaining.pop(0), node)
        elif keep:
            constraints.pin(remaining.pop(0), f"{describe(node)} reduces along it")


def arg(constraints: Constraints, node: ir.Node) -> None:
    """Which element along `axis` is the largest: their number is what the result means."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    axis = int(node.attributes.get_int("axis", 0)) % len(source)
    _drop(constraints, node, source, result, {axis}, keep=bool(node.attributes.get_int("keepdims", 1)))
    constraints.pin(source[axis], f"{describe(node)} gives places along it")


def softmax(constraints: Constraints, node: ir.Node) -> None:
    """Every element along the axis depends on all others."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    constraints.equal_all(source, result, node)
    old = constraints.opset < 13  # before, all axes from `axis` on were flattened into one
    axis = int(node.attributes.get_int("axis", 1 if old else -1)) % len(source)
    constraints.pin_all(source[axis:] if old else [source[axis]], f"{describe(node)} runs along it")


def along(constraints: Constraints, node: ir.Node) -> None:
    """The axis keeps its order and size; all others are free."""
    source = constraints.terms(node.inputs[0])
    if node.op_type == "CumSum":
        given = static(node.inputs[1])
        axis = None if given is None else given[0]
    else:
        axis = int(node.attributes.get_int("axis", -1))
    if axis is None:
        constraints.pin_node(node, f"{describe(node)}: its axis is not a constant")
        return
    axis %= len(source)
    for output in node.outputs:
        for k, term in enumerate(constraints.terms(output)):
            if k == axis:
                constraints.pin(term, f"{describe(node)} runs along it")
            else:
                constraints.equal(term, source[k], node)
    constraints.pin(source[axis], f"{describe(node)} runs along it")


_MOVING = "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum".split()
_REDUCED = "the axes that stay; along a mean or an extremum, widening is exact to whole multiples only, along a sum no resizing is"
FAMILY.add(*_MOVING, operator=Operator(reduce, _REDUCED, scaling=Scaling.MOVES))
FAMILY.add(
    *"ReduceLogSum ReduceLogSumExp ReduceProd ReduceSumSquare".split(),
    operator=Operator(reduce, _REDUCED),
)
FAMILY.add("Softmax", "LogSoftmax", "Hardmax", operator=Operator(softmax, "the other axes; `axis` stays"))
FAMILY.add("ArgMax", "ArgMin", operator=Operator(arg, "the other axes; `axis` stays"))
FAMILY.add("CumSum", "TopK", operator=Operator(along, "the other axes; `axis` stays"))
