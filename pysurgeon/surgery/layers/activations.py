"""Activations that a file writes out in several nodes: SiLU as Sigmoid and Mul, Gelu by Erf or Tanh, hard ones by Clip."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from pysurgeon.graph import constant
from pysurgeon.operators.elementwise import UNARY

ACTIVATIONS = frozenset(UNARY) - {"Cast", "Identity", "Not", "IsInf", "IsNaN", "BitwiseNot"} | {"Clip", "PRelu"}

_COMBINING = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})
_MOST = 16  # nodes; the longest common one, Gelu by Tanh, has eight


def written_out(value: ir.Value) -> tuple[ir.Node, ...]:
    """The nodes that together are an activation of a value, the last of which gives it; none if they are no activation.

    All uses of the value lead through elementwise nodes, which take nothing else but scalars, into one node again. On the way there is
    something that is not linear.
    """
    inside, nodes = dict.fromkeys([value]), list[ir.Node]()
    while len(nodes) < _MOST:
        node = _next(inside, nodes, value)
        if node is None:
            return ()
        nodes.append(node)
        inside.update(dict.fromkeys(node.outputs))
        if _all_through(inside, nodes) and len(node.inputs) > 1:
            break
    else:
        return ()
    if not any(_bends(node, inside) for node in nodes):
        return ()
    while (more := _scaled(nodes[-1].outputs[0])) is not None:
        nodes.append(more)
    return tuple(nodes)


def _next(inside: Collection[ir.Value], nodes: list[ir.Node], value: ir.Value) -> ir.Node | None:
    """A node that takes values of the region and scalars, and is not yet in it."""
    for v in inside:
        for user, _ in v.uses():
            known = user in nodes or user.domain != "" or user.graph is not _graph(value)
            if known or user.op_type not in ACTIVATIONS | _COMBINING or len(user.outputs) != 1:
                continue
            if all(i is None or i in inside or _is_scalar(i) for i in user.inputs):
                return user
    return None


def _graph(value: ir.Value) -> ir.Graph | None:
    producer = value.producer()
    return None if producer is None else producer.graph


def _all_through(inside: Collection[ir.Value], nodes: list[ir.Node]) -> bool:
    """Whether nobody outside looks at anything but what the last node gives."""
    last = nodes[-1].outputs[0]
    return all(v is last or (not v.is_graph_output() and all(u in nodes for u, _ in v.uses())) for v in inside)


def _bends(node: ir.Node, inside: Collection[ir.Value]) -> bool:
    """Whether a node of the region is not linear in what comes in."""
    if node.op_type in ACTIVATIONS:
        return node.op_type != "Neg"
    varying = [v for v in node.inputs if v in inside]
    if node.op_type in ("Add", "Sub"):
        return False
    return node.op_type in ("Pow", "Max", "Min") or len(varying) > 1 or node.inputs[0] not in inside


def _scaled(value: ir.Value) -> ir.Node | None:
    """The only user of a value, if all that it does is to multiply it with a scalar."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    others = [v for k, v in enumerate(node.inputs) if k != uses[0].idx]
    scales = node.op_type == "Mul" or (node.op_type == "Div" and uses[0].idx == 0)
    if node.domain != "" or not scales or node.graph is not _graph(value) or not all(_is_scalar(v) for v in others):
        return None
    return node


def _is_scalar(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and array.size == 1 and array.ndim < 2
