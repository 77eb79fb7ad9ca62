"""Blocks with graphs and functions of their own, on features along the last axis."""

from __future__ import annotations

from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from benchmarks.graphs.maker import Maker, Size
from benchmarks.graphs.rows import Rows, activation, project

FLOAT = TensorProto.FLOAT
DOMAIN = "own.blocks"


def _graph(
    m: Maker, since: tuple[int, int], name: str, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]
) -> GraphProto:
    """What was written since, as a graph of its own; constants come along, or stay outside and are captured."""
    nodes, m.nodes[since[0] :] = m.nodes[since[0] :], []
    own: list[TensorProto] = []
    if m.opset >= 9 and m.chance(0.5):  # older files list initializers as inputs, which a branch has none of
        own, m.tensors[since[1] :] = m.tensors[since[1] :], []
    return helper.make_graph(nodes, name, inputs, outputs, own)


def _now(m: Maker) -> tuple[int, int]:
    return len(m.nodes), len(m.tensors)


def _port(name: str, shape: list[Size], kind: int = FLOAT) -> ValueInfoProto:
    """Sizes that are open have no name here: inside, they are what comes from outside."""
    return helper.make_tensor_value_info(name, kind, [s if isinstance(s, int) else None for s in shape])


def branch(m: Maker, x: str, shape: list[Size]) -> Rows:
    """An `If` whose branches capture what is outside; on the data, on a size, or always the same way."""
    units = m.rng.randint(2, 6)
    axes = list(range(len(shape)))
    way = m.rng.choice(["data", "size", "always"])
    if way == "data":
        total = m.reduce("Sum", x, *axes, keep=False)
        condition = m.op("Greater", total, m.array(0.0, "float32")) if m.opset >= 7 else ""
    elif way == "size":
        count = m.squeeze(m.dims(x, 0)[0], 0)
        condition = m.op("Greater", m.op("Cast", count, to=FLOAT), m.array(2.0, "float32"))
    else:
        condition = m.array(m.chance(0.5), bool)
    outer = m.weight(int(shape[-1]), units, fan=int(shape[-1]))
    graphs = []
    for k in range(2):
        since = _now(m)
        inner = m.op("MatMul", x, outer) if m.chance(0.4) else project(m, x, shape, units)
        out = activation(m, inner, units)
        if out in (x, inner):
            out = m.op("Identity", out)
        graphs.append(_graph(m, since, f"branch {k}", [], [_port(out, [*shape[:-1], units])]))
    result = m.op("If", condition, then_branch=graphs[0], else_branch=graphs[1])
    return result, [*shape[:-1], units]


def loop(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Some rounds of a layer that is captured; how many is written down, or a size says so."""
    units = int(shape[-1])
    outer = m.weight(units, units, fan=units)
    count = m.array(m.rng.randint(1, 3), "int64") if m.chance(0.7) else m.squeeze(m.dims(x, 0)[0], 0)
    go_on = m.array(True, bool) if m.chance(0.6) else ""
    turn, still, state = m.name("turn"), m.name("go"), m.name("state")
    ports = [_port(turn, [], TensorProto.INT64), _port(still, [], TensorProto.BOOL), _port(state, shape)]
    since = _now(m)
    inner = m.op("Tanh", m.op("MatMul", state, outer))
    if m.chance(0.5):
        inner = m.op("Add", inner, project(m, x, shape, units))
    same = m.op("Identity", still)
    body = _graph(m, since, "body", ports, [_port(same, [], TensorProto.BOOL), _port(inner, shape)])
    return m.op("Loop", count, go_on, x, body=body), shape


def scan(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Step by step along the length, with a state; needs set 9."""
    if m.opset < 9 or len(shape) != 3:
        return loop(m, x, shape)
    given, size = int(shape[-1]), m.rng.randint(2, 4)
    weights = m.weight(given, size, fan=given), m.weight(size, size, fan=size)
    zeros = m.op("MatMul", m.reduce("Mean", x, 1, keep=False), m.weight(given, size, fan=given))
    state, step = m.name("state"), m.name("step")
    ports = [_port(state, [shape[0], size]), _port(step, [shape[0], given])]
    since = _now(m)
    new = m.op("Tanh", m.op("Add", m.op("MatMul", step, weights[0]), m.op("MatMul", state, weights[1])))
    told = m.op("Identity", new)
    body = _graph(m, since, "step", ports, [_port(n, [shape[0], size]) for n in (new, told)])
    _, out = m.ops("Scan", zeros, x, results=2, body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1])
    return out, [*shape[:-1], size]


def function(m: Maker, x: str, shape: list[Size]) -> Rows:
    """A layer that is a function of the file; called twice, or calling another, an attribute handed on."""
    name, units = f"layer_{len(m.functions)}", int(shape[-1])
    nodes = [helper.make_node("MatMul", ["a", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["s"])]
    leaky = helper.make_node("LeakyRelu", ["s"], ["y"])
    reference = leaky.attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "alpha", "slope", 1
    sets = [helper.make_opsetid("", m.opset), helper.make_opsetid(DOMAIN, 1)]
    m.functions.append(
        helper.make_function(DOMAIN, name, ["a", "w", "b"], ["y"], [*nodes, leaky], sets, attributes=["slope"])
    )
    if m.chance(0.4):
        inner, name = name, f"{name}_twice"
        calls = [
            helper.make_node(inner, ["a", "w", "b"], ["h"], domain=DOMAIN, slope=0.3),
            helper.make_node("Mul", ["h", "a"], ["y"]),
        ]
        m.functions.append(helper.make_function(DOMAIN, name, ["a", "w", "b"], ["y"], calls, sets))
        return m.op(name, x, m.weight(units, units, fan=units), m.weight(units), domain=DOMAIN), shape
    for _ in range(m.rng.randint(1, 2)):
        more = m.rng.randint(2, 6)
        weight = m.weight(units, more, fan=units)
        x = m.op(name, x, weight, m.weight(more), domain=DOMAIN, slope=m.rng.choice([0.1, 0.5]))
        units = more
    return x, [*shape[:-1], units]


BLOCKS = (branch, branch, loop, scan, function, function)
