"""The losses that come with pysurgeon: functions in ONNX's own text, one registry.

Each goes from `output` and `target` to `loss`, the losses of all places: those of every number, or one for every vector along an axis. What
is made of them, their weighted sum, is the same for all (`pysurgeon.training.losses.merge`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Literal

from pysurgeon.data import Task
from pysurgeon.errors import UsageError

Takes = Literal["distribution", "logits", "labels", "numbers", "vectors", "nothing"]
"""What a target is: the probability of each class; a teacher's logits; a probability for each label, 0 or 1 mostly; numbers, which come in units
of their deviation; vectors, which come as they are; or nothing, as the output says it all."""

# Before which end of the file a loss is taken: probabilities are no logits.
ENDS: dict[Takes, Task] = {
    "distribution": "classification",
    "logits": "classification",
    "labels": "multi-label",
    "numbers": "regression",
    "vectors": "regression",
    "nothing": "regression",
}


@dataclass(frozen=True)
class Shipped:
    """A loss of the registry.

    Attributes:
        takes: What the target is.
        body: Nodes in ONNX's text; `$axis` is that of the vectors, and every parameter stands by its name.
        parameters: Numbers that a user may set, with what they are otherwise.
        what: In words.
    """

    takes: Takes
    body: str
    what: str
    parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def along(self) -> bool:
        """Whether a place is a vector, and not a number."""
        return self.takes in ("distribution", "logits", "vectors")

    def text(self, axis: int, values: Mapping[str, float]) -> str:
        """The nodes.

        Args:
            axis: Of the vectors, not negative.
            values: Parameters that are not as they are otherwise.
        """
        numbers = {name: f"{value:.9g}" for name, value in {**self.parameters, **values}.items()}
        floats = {name: text if set(text) & set(".einf") else f"{text}.0" for name, text in numbers.items()}
        return Template(self.body).substitute(floats, axis=axis)


# Without overflow: log(1 + exp(z)) is relu(z) + log(1 + exp(-|z|)).
_SIGMOID_ENTROPY = """
        one = Constant <value_float = 1.0> ()
        positive = Relu (output)
        size = Abs (output)
        less = Neg (size)
        small = Exp (less)
        above = Add (small, one)
        log = Log (above)
        softplus = Add (positive, log)
        there = Mul (output, target)
        entropy = Sub (softplus, there)
        """

LOSSES: dict[str, Shipped] = {
    "cross-entropy": Shipped(
        "distribution",
        """
        axes = Constant <value_ints = [$axis]> ()
        log = LogSoftmax <axis = $axis> (output)
        picked = Mul (log, target)
        sum = ReduceSum <keepdims = 0> (picked, axes)
        loss = Neg (sum)
        """,
        "softmax cross-entropy in nats",
    ),
    "focal": Shipped(
        "distribution",
        """
        axes = Constant <value_ints = [$axis]> ()
        one = Constant <value_float = 1.0> ()
        gamma = Constant <value_float = $gamma> ()
        log = LogSoftmax <axis = $axis> (output)
        p = Exp (log)
        other = Sub (one, p)
        hard = Pow (other, gamma)
        harder = Mul (hard, log)
        picked = Mul (harder, target)
        sum = ReduceSum <keepdims = 0> (picked, axes)
        loss = Neg (sum)
        """,
        "cross-entropy times (1 - p)^gamma, p being the probability of the class",
        {"gamma": 2.0},
    ),
    "kl": Shipped(
        "logits",
        """
        axes = Constant <value_ints = [$axis]> ()
        temperature = Constant <value_float = $temperature> ()
        square = Mul (temperature, temperature)
        soft = Div (output, temperature)
        theirs = Div (target, temperature)
        log = LogSoftmax <axis = $axis> (soft)
        logt = LogSoftmax <axis = $axis> (theirs)
        p = Exp (logt)
        ratio = Sub (logt, log)
        each = Mul (p, ratio)
        sum = ReduceSum <keepdims = 0> (each, axes)
        loss = Mul (sum, square)
        """,
        "divergence of the softmax from the teacher's, both at a temperature, times its square",
        {"temperature": 1.0},
    ),
    "binary": Shipped(
        "labels",
        _SIGMOID_ENTROPY + "loss = Identity (entropy)",
        "sigmoid cross-entropy in nats",
    ),
    "binary-focal": Shipped(
        "labels",
        _SIGMOID_ENTROPY
        + """
        gamma = Constant <value_float = $gamma> ()
        p = Sigmoid (output)
        absent = Sub (one, target)
        gone = Sub (one, p)
        wrong0 = Mul (p, absent)
        wrong1 = Mul (gone, target)
        wrong = Add (wrong0, wrong1)
        hard = Pow (wrong, gamma)
        loss = Mul (hard, entropy)
        """,
        "sigmoid cross-entropy times (1 - p)^gamma, p being the probability of what is right",
        {"gamma": 2.0},
    ),
    "squares": Shipped(
        "numbers",
        """
        error = Sub (output, target)
        loss = Mul (error, error)
        """,
        "squares",
    ),
    "absolute": Shipped(
        "numbers",
        """
        error = Sub (output, target)
        loss = Abs (error)
        """,
        "absolute differences",
    ),
    "huber": Shipped(
        "numbers",
        """
        delta = Constant <value_float = $delta> ()
        half = Constant <value_float = 0.5> ()
        error = Sub (output, target)
        size = Abs (error)
        near = Min (size, delta)
        part = Mul (near, half)
        rest = Sub (size, part)
        loss = Mul (near, rest)
        """,
        "half the square up to delta, linear beyond",
        {"delta": 1.0},
    ),
    "cosine": Shipped(
        "vectors",
        """
        axes = Constant <value_ints = [$axis]> ()
        one = Constant <value_float = 1.0> ()
        least = Constant <value_float = 1e-16> ()
        both = Mul (output, target)
        dot = ReduceSum <keepdims = 0> (both, axes)
        square0 = Mul (output, output)
        square1 = Mul (target, target)
        sum0 = ReduceSum <keepdims = 0> (square0, axes)
        sum1 = ReduceSum <keepdims = 0> (square1, axes)
        bound0 = Max (sum0, least)
        bound1 = Max (sum1, least)
        norm0 = Sqrt (bound0)
        norm1 = Sqrt (bound1)
        norms = Mul (norm0, norm1)
        cosine = Div (dot, norms)
        loss = Sub (one, cosine)
        """,
        "1 less the cosine of the angle between vectors along the last axis",
    ),
    "itself": Shipped("nothing", "loss = Identity (output)", "the output is the loss"),
}


def parameters_of(name: str, given: Mapping[str, float]) -> dict[str, float]:
    """The parameters that a user sets, if the loss has them.

    Raises:
        UsageError: It does not.
    """
    known = LOSSES[name].parameters
    for parameter, value in given.items():
        if parameter not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            message = f"the loss {name} has no parameter {parameter!r}; {there}"
            raise UsageError(message)
        if not 0 < value < 1e6:
            message = f"{parameter} of the loss {name} is {value:g}; it must be a number above 0"
            raise UsageError(message)
    return dict(given)
