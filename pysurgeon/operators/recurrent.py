"""Recurrent cells: the hidden units write, feed back and are read."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.nodes import describe, operand
from pysurgeon.graph.terms import Dim, Prod
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.operator import Family, Operator

FAMILY = Family()

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(constraints: Constraints, node: ir.Node) -> None:
    """x (T, N, I), W (D, gates*H, I), R (D, gates*H, H), B (D, 2*gates*H) -> Y (T, D, N, H), last states (D, N, H)."""
    x, w, r = node.inputs[:3]
    assert x is not None
    assert w is not None
    assert r is not None
    if node.attributes.get_int("layout", 0):
        constraints.pin_node(node, f"{describe(node)}: its batch comes first, which is not supported")
        return
    xs, ws, rs = constraints.terms(x), constraints.terms(w), constraints.terms(r)
    gates, hidden, directions = _GATES[node.op_type], rs[2], ws[0]
    constraints.pin(directions, f"it is the number of directions of {describe(node)}")
    constraints.equal(directions, rs[0], node)
    gate_axis = Prod((_fixed(constraints, node, gates), hidden))
    constraints.equal(ws[1], gate_axis, node)
    constraints.equal(rs[1], gate_axis, node)
    constraints.equal(xs[2], ws[2], node)
    constraints.attribute(node, "hidden_size", hidden)
    for position, per_unit in ((3, 2 * gates), (7, 3)):
        value = operand(node, position)
        if value is not None:
            term = constraints.terms(value)
            constraints.equal(term[0], directions, node)
            constraints.equal(term[1], Prod((_fixed(constraints, node, per_unit), hidden)), node)
    state = (directions, xs[1], hidden)
    for value in (operand(node, 5), operand(node, 6), *node.outputs[1:]):
        if value is not None and value.name:
            constraints.equal_all(constraints.terms(value), state, node)
    if node.outputs[0].name:
        constraints.equal_all(constraints.terms(node.outputs[0]), (xs[0], *state), node)
    constraints.contract(node, x, 2, w, 2, ws[2])
    # What is contracted with R are the states, which have no name in the graph: any value that holds them will do.
    states = next(o for o in node.outputs if o.name)
    constraints.contract(node, states, len(constraints.terms(states)) - 1, r, 2, hidden)


def _fixed(constraints: Constraints, node: ir.Node, count: int) -> Dim:
    gates = constraints.fresh(count)
    constraints.pin(gates, f"it is the number of gates of {describe(node)}")
    return gates


def recurrent_macs(node: ir.Node) -> int:
    """One sample: the weights of all gates, once a step."""
    x, w, r = node.inputs[:3]
    if x is None or w is None or r is None or x.shape is None or w.shape is None or r.shape is None:
        return 0
    steps = x.shape[0]
    total = 0
    for shape in (w.shape, r.shape):
        d, g, i = (k if isinstance(k, int) else 1 for k in shape)
        total += d * g * i
    return total * (steps if isinstance(steps, int) else 1)


FAMILY.add(
    *_GATES,
    operator=Operator(
        recurrent,
        "inputs and hidden units, `hidden_size` follows; gates and directions stay",
        recurrent_macs,
        parameters=(1, 2, 3),
        weights=(1,),
    ),
)
