"""LSTM, GRU and RNN: the engine differentiates the first two, forward, with all their inputs given; the rest is put in those terms.

What runs backwards is a forward layer on the reversed sequence, and an RNN is a GRU whose gates stand open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import CannotWriteError
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite

# Gates, and the activations that the engine knows; the states are h, and of an LSTM c.
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
# The sigmoid of it is 1 to the last bit, and of its opposite 0: too small a number for float32.
_OPEN = 200.0


def replace(build: Builder) -> Sequence[ir.Value]:
    """One forward layer for each direction."""
    node, x = build.node, build.x()
    _check(build)
    direction = node.attributes.get_string("direction", "forward")
    backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    found = [_one(build, x, k, len(backwards), reverse) for k, reverse in enumerate(backwards)]
    if len(found) == 1:
        return found[0]
    return [build.op("Concat", *parts, axis=1 if k == 0 else 0) for k, parts in enumerate(zip(*found, strict=True))]


def _one(build: Builder, x: ir.Value, k: int, directions: int, reverse: bool) -> Sequence[ir.Value]:
    node, kind = build.node, build.node.op_type
    hidden = build.size(node.inputs[2], 2)
    one = build.integers([k])

    def part(position: int) -> ir.Value | None:
        value = build.input(position)
        return build.op("Gather", value, one, axis=0) if value is not None and directions > 1 else value

    w, r, b, h = part(1), part(2), part(3), part(5)
    if b is None:
        b = build.constant(np.zeros((1, 2 * _GATES[kind] * hidden), np.float32))
    state = h if h is not None else _zeros(build, x, hidden)
    order = _reversed(build, x) if reverse else None
    if order is not None:
        x = build.op("Gather", x, order, axis=0)
    attributes: dict[str, object] = {"hidden_size": hidden}
    if kind == "LSTM":
        c = part(6)
        inputs = [x, w, r, b, None, state, c if c is not None else _zeros(build, x, hidden)]
        outputs = build.several("LSTM", *inputs, outputs=3, **attributes)
    else:
        attributes["linear_before_reset"] = node.attributes.get_int("linear_before_reset", 0)
        if kind == "RNN":
            w, r, b = _opened(build, w, r, b, hidden)
            attributes["linear_before_reset"] = 1
        outputs = build.several("GRU", x, w, r, b, None, state, outputs=2, **attributes)
    if order is not None:
        return [build.op("Gather", outputs[0], order, axis=0), *outputs[1:]]
    return outputs


def _opened(
    build: Builder, w: ir.Value | None, r: ir.Value | None, b: ir.Value | None, hidden: int
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The tensors of a GRU that does what an RNN does: never keeps its state (z = 0), never resets it (r = 1)."""
    assert w is not None
    assert r is not None
    assert b is not None

    def behind(value: ir.Value, rank: int) -> ir.Value:
        # Not a Concat with zeros: the engine trips over the gradient of a constant that two of them share.
        amounts = [0] * (2 * rank)
        amounts[1] = 2 * hidden
        return build.op("Pad", value, build.integers(amounts))

    ours, theirs = (build.op("Gather", b, build.integers(range(k * hidden, (k + 1) * hidden)), axis=1) for k in (0, 1))
    gates = np.zeros((1, 6 * hidden), np.float32)
    gates[:, :hidden], gates[:, hidden : 2 * hidden] = -_OPEN, _OPEN
    bias = build.op("Concat", behind(ours, 2), behind(theirs, 2), axis=1)
    return behind(w, 3), behind(r, 3), build.op("Add", bias, build.constant(gates))


def _check(build: Builder) -> None:
    node, kind = build.node, build.node.op_type
    activations = node.attributes.get("activations")
    directions = 2 if node.attributes.get_string("direction", "forward") == "bidirectional" else 1
    if activations is not None and tuple(activations.as_strings()) != _ACTIVATIONS[kind] * directions:
        message = f"activations other than {', '.join(_ACTIVATIONS[kind])} are not supported"
        raise CannotWriteError(message)
    for name in ("clip", "input_forget", "layout"):
        attribute = node.attributes.get(name)
        if attribute is not None and attribute.value:
            message = f"the attribute {name!r} is not supported"
            raise CannotWriteError(message)
    for position, what in ((4, "sequences of different lengths"), (7, "peepholes")):
        if build.input(position) is not None:
            message = f"{what} are not supported"
            raise CannotWriteError(message)


def _zeros(build: Builder, x: ir.Value, hidden: int) -> ir.Value:
    """An initial state ``(1, n, hidden)``."""
    shape = build.op("Concat", build.integers([1]), build.extent(x, 1), build.integers([hidden]), axis=0)
    zero = ir.Tensor(np.zeros(1, np.float32))
    return build.op("ConstantOfShape", shape, value=zero)


def _reversed(build: Builder, x: ir.Value) -> ir.Value:
    """The steps from the last to the first."""
    below = build.constant(np.array(-1))
    length = build.op("Squeeze", build.extent(x, 0), build.integers([0]))
    return build.op("Range", build.op("Add", length, below), below, below)


_HOW = "forward layers with all inputs given"
REWRITES = {kind: Rewrite(_HOW if kind != "RNN" else "GRU with its gates open", replace) for kind in _GATES}
