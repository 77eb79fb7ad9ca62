"""LSTM, GRU and RNN over all steps of a sequence, one direction after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator

# From the input (steps, n, features), the tensors (gates * hidden, ...) and (2 * gates * hidden) of a direction and its first
# states (1, n, hidden) to the output (steps, n, hidden) and the last states.
Direction = Callable[[Tensor, Tensor, Tensor, Tensor, Sequence[Tensor]], tuple[Tensor, ...]]

# Where torch has what ONNX has: gates in, out, forget, cell; and of a GRU update, reset, new.
_LSTM_ORDER, _GRU_ORDER = (0, 2, 3, 1), (1, 0, 2)
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def _ordered(tensor: Tensor, order: Sequence[int]) -> Tensor:
    parts = tensor.chunk(len(order))
    return torch.cat([parts[k] for k in order])


def _parameters(w: Tensor, r: Tensor, b: Tensor, order: Sequence[int]) -> list[Tensor]:
    found = [_ordered(tensor, order) for tensor in (w, r, *b.chunk(2))]
    if w.device.type == "cpu":
        return found
    # On a GPU they are wanted one behind the other in one piece of memory.
    pieces = torch.split(torch.cat([tensor.flatten() for tensor in found]), [tensor.numel() for tensor in found])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, found, strict=True)]


def _lstm(x: Tensor, w: Tensor, r: Tensor, b: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.lstm(x, list(states), _parameters(w, r, b, _LSTM_ORDER), True, 1, 0.0, True, False, False)


def _rnn(x: Tensor, w: Tensor, r: Tensor, b: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.rnn_tanh(x, states[0], _parameters(w, r, b, (0,)), True, 1, 0.0, True, False, False)


def _gru(x: Tensor, w: Tensor, r: Tensor, b: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.gru(x, states[0], _parameters(w, r, b, _GRU_ORDER), True, 1, 0.0, True, False, False)


def _gru_that_resets_first(x: Tensor, w: Tensor, r: Tensor, b: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The state is reset before it is multiplied, which torch does not have."""
    h, hidden = states[0][0], r.shape[1]
    ours, theirs = b.chunk(2)
    from_input = x @ w.t() + ours + theirs
    found = []
    for step in from_input.unbind():
        update, reset = torch.sigmoid(step[:, : 2 * hidden] + h @ r[: 2 * hidden].t()).chunk(2, 1)
        new = torch.tanh(step[:, 2 * hidden :] + (reset * h) @ r[2 * hidden :].t())
        h = new + update * (h - new)
        found.append(h)
    return torch.stack(found), h.unsqueeze(0)


def _make(node: Node) -> Function:
    kind = node.op_type
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    reverses = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[
        node.text("direction", "forward")
    ]
    _check(node, len(reverses))
    run: Direction = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[kind]
    if kind == "GRU" and not node.integer("linear_before_reset", 0):
        run = _gru_that_resets_first

    def function(
        x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, _: None = None, *states: Tensor | None
    ) -> tuple[Tensor, ...]:
        hidden = r.shape[2]
        zero = x.new_zeros((1, x.shape[1], hidden))
        given = [*states, None, None][: 2 if kind == "LSTM" else 1]
        found = []
        for k, reverse in enumerate(reverses):
            bias = x.new_zeros(2 * gates * hidden) if b is None else b[k]
            first = [zero if state is None else state[k : k + 1] for state in given]
            y, *last = run(x.flip(0) if reverse else x, w[k], r[k], bias, first)
            found.append((y.flip(0) if reverse else y, *last))
        ys, *lasts = zip(*found, strict=True)
        return torch.stack(ys, 1), *(torch.cat(last) for last in lasts)

    return function


def _check(node: Node, directions: int) -> None:
    activations = node.attributes.get("activations")
    if activations is not None and tuple(activations) != _ACTIVATIONS[node.op_type] * directions:
        message = f"activations other than {', '.join(_ACTIVATIONS[node.op_type])} are not known"
        raise CannotRunError(message)
    for name in ("clip", "input_forget", "layout"):
        if node.attributes.get(name):
            message = f"the attribute {name!r} is not known"
            raise CannotRunError(message)
    for position, what in ((4, "sequences of different lengths"), (7, "peepholes")):
        if node.has(position):
            message = f"{what} are not known"
            raise CannotRunError(message)


OPERATORS = {kind: Operator(_make) for kind in _ACTIVATIONS}
