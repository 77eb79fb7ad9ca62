"""Blocks on sequences (batch, length, features): attention, recurrent cells, convolutions along the length, places."""

from __future__ import annotations

from benchmarks.graphs.maker import Maker, Size
from benchmarks.graphs.rows import Rows, activation, norm, project


def attention(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Heads of queries, keys and values, in one of the ways in which they are made and laid out."""
    heads, size, units = m.rng.randint(1, 3), m.rng.randint(2, 4), int(shape[-1])
    wide = heads * size
    given = norm(m, x, shape)[0] if m.chance(0.5) else x
    shared = m.chance(0.25)  # one head of keys and values for all queries
    few = size if shared else wide
    if m.chance(0.4):
        joint = project(m, given, shape, wide + 2 * few)
        q, k, v = m.split(joint, 2, wide, few, few)
    else:
        q, k, v = (project(m, given, shape, n) for n in (wide, few, few))
    apart = [_heads(m, t, n // size, size) for t, n in ((q, wide), (k, few), (v, few))]
    keys = m.op("Transpose", apart[1], perm=[0, 1, 3, 2])
    if m.chance(0.3):
        apart[0] = m.op("Div", apart[0], m.scalar(size**0.5))
        scores = m.op("MatMul", apart[0], keys)
    else:
        scores = m.op("Mul", m.op("MatMul", apart[0], keys), m.scalar(size**-0.5))
    mixed = m.op("MatMul", m.op("Softmax", scores, axis=3), apart[2])
    out = project(m, _joined(m, mixed, wide), [*shape[:-1], wide], units)
    return m.op("Add", x, out), shape


def _heads(m: Maker, x: str, heads: int, size: int) -> str:
    """(batch, heads, length, size): the shape is written down, or computed."""
    if m.chance(0.5):
        apart = m.reshape(x, [0, 0, heads, size] if m.chance(0.5) else [0, 0, -1, size])
    else:
        batch, length = m.dims(x, 0, 1)
        apart = m.reshape(x, [batch, length, heads, m.rng.choice([size, -1])])
    return m.op("Transpose", apart, perm=[0, 2, 1, 3])


def _joined(m: Maker, x: str, wide: int) -> str:
    back = m.op("Transpose", x, perm=[0, 2, 1, 3])
    if m.chance(0.5):
        return m.reshape(back, [0, 0, m.rng.choice([wide, -1])])
    batch, length, heads, size = m.dims(back, 0, 1, 2, 3)
    return m.reshape(back, [batch, length, m.op("Mul", heads, size)])


def linear_attention(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Without a softmax over the length: keys and values are contracted first."""
    size, units = m.rng.randint(2, 4), int(shape[-1])
    q, k = (m.op("Softplus", project(m, x, shape, size)) for _ in range(2))
    v = project(m, x, shape, size)
    context = m.op("MatMul", m.op("Transpose", k, perm=[0, 2, 1]), v)
    total = m.op("Add", m.reduce("Sum", k, 1, keep=True), m.scalar(1.0))
    weight = m.reduce("Sum", m.op("Mul", q, total), 2, keep=True)
    mixed = m.op("Div", m.op("MatMul", q, context), m.op("Add", weight, m.scalar(1.0)))
    return m.op("Add", x, project(m, mixed, [*shape[:-1], size], units)), shape


def recurrent(m: Maker, x: str, shape: list[Size]) -> Rows:
    """A cell in one direction or both, most of its operands left out, its result or its last state used."""
    operator, gates = m.rng.choice([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    size, given = m.rng.randint(2, 5), int(shape[-1])
    direction = m.rng.choice(["forward", "reverse", "bidirectional"])
    both = 1 + (direction == "bidirectional")
    more = {"linear_before_reset": m.rng.randint(0, 1)} if operator == "GRU" else {}
    operands = [
        m.op("Transpose", x, perm=[1, 0, 2]),
        m.weight(both, gates * size, given, fan=given),
        m.weight(both, gates * size, size, fan=size),
        m.weight(both, 2 * gates * size) if m.chance(0.6) else "",
    ]
    if operator == "LSTM" and m.chance(0.2):
        operands += ["", "", "", m.weight(both, 3 * size)]
    while not operands[-1]:
        operands.pop()
    results = [m.name() for _ in range(3 if operator == "LSTM" and m.chance(0.5) else 2)]
    last = m.chance(0.3)
    unused = [("" if last else r) if k == 0 else (r if last and k == 1 else "") for k, r in enumerate(results)]
    while not unused[-1]:
        unused.pop()
    m.node(operator, operands, unused, hidden_size=size, direction=direction, **more)
    if last:  # (directions, batch, size), given to every step
        turned = m.op("Transpose", unused[1], perm=[1, 0, 2])
        flat = m.reshape(turned, [0, 1, both * size])
        wanted = int(shape[-1])
        return m.op("Add", x, project(m, flat, ["N", 1, both * size], wanted)), shape
    if both == 1 and m.chance(0.5):
        return m.op("Transpose", m.squeeze(unused[0], 1), perm=[1, 0, 2]), [*shape[:-1], size]
    back = m.op("Transpose", unused[0], perm=[2, 0, 1, 3])
    return m.reshape(back, [0, 0, both * size]), [*shape[:-1], both * size]


def convolution(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Along the length: what came before alone, or both sides, in groups, or every feature by itself."""
    given = int(shape[-1])
    turned = m.op("Transpose", x, perm=[0, 2, 1])
    groups = m.rng.choice([1, given] + [2] * (given % 2 == 0))
    units = groups * m.rng.randint(1, max(1, 6 // groups))
    kernel, dilation = m.rng.choice([1, 3]), m.rng.choice([1, 2])
    reach = (kernel - 1) * dilation
    pads = m.rng.choice([[reach, 0], [reach // 2, reach - reach // 2]])
    bias = [m.weight(units)] if m.chance(0.6) else []
    weight = m.weight(units, given // groups, kernel, fan=kernel * given // groups)
    how = {"pads": pads, "dilations": [dilation]} if dilation == 2 or m.chance(0.7) else {"auto_pad": "SAME_UPPER"}
    out = m.op("Conv", turned, weight, *bias, group=groups, kernel_shape=[kernel], **how)
    if m.chance(0.3):
        a, b = m.weight(units, around=1.0), m.weight(units)
        out = m.op("BatchNormalization", out, a, b, m.weight(units), m.op("Exp", m.weight(units)))
    out = m.op("Transpose", activation(m, out, 1), perm=[0, 2, 1])
    return (m.op("Add", x, out), shape) if units == given and m.chance(0.5) else (out, [*shape[:-1], units])


def over_length(m: Maker, x: str, shape: list[Size]) -> Rows:
    """What the whole sequence says, given to every step: a sum so far, a mean, a maximum, a gate."""
    units = int(shape[-1])
    way = m.rng.choice(["mean", "max", "gate", "sum", "softmax"])
    if way == "sum" and m.opset >= 11:
        return m.op("Mul", m.op("CumSum", x, m.array(1, "int64")), m.scalar(0.1)), shape
    if way == "max":
        return m.op("Sub", x, m.reduce("Max", x, 1, keep=True)), shape
    if way == "softmax":
        shares = m.op("Transpose", m.op("Softmax", m.op("Transpose", x, perm=[0, 2, 1]), axis=2), perm=[0, 2, 1])
        return m.op("Add", x, m.reduce("Sum", m.op("Mul", x, shares), 1, keep=True)), shape
    mean = m.reduce("Mean", x, 1, keep=way == "mean")
    if way == "mean":
        return m.op("Concat", x, m.op("Sub", x, mean), axis=2), [*shape[:-1], 2 * units]
    hidden = m.rng.randint(2, 4)
    inner = activation(m, project(m, mean, ["N", units], hidden), hidden)
    open_ = m.op("Sigmoid", project(m, inner, ["N", hidden], units))
    return m.op("Mul", x, m.unsqueeze(open_, 1)), shape


def places(m: Maker, x: str, shape: list[Size]) -> Rows:
    """A row of a table for every place, as many as the sequence is long."""
    table = m.weight(1, 64, int(shape[-1]))
    if m.opset < 10:
        return x, shape
    length = m.dims(x, 1)[0]
    return m.op("Add", x, m.op("Slice", table, m.ints(0), length, m.ints(1))), shape


def listed(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Through a sequence of tensors and back."""
    units = int(shape[-1])
    if m.opset < 11 or units < 2:
        return x, shape
    cut = m.rng.randint(1, units - 1)
    several = m.op("SplitToSequence", x, m.ints(cut, units - cut), axis=2)
    if m.chance(0.5):
        return m.op("ConcatFromSequence", several, axis=2), shape
    return m.op("Tanh", m.op("SequenceAt", several, m.array(1, "int64"))), [*shape[:-1], units - cut]


BLOCKS = (
    attention,
    attention,
    attention,
    linear_attention,
    recurrent,
    recurrent,
    convolution,
    convolution,
    over_length,
    places,
    listed,
)
