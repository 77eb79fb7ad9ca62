"""Smooth and leaky activations: Relu, Exp and Log. No branch that is not taken overflows, so gradients stay finite."""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx_ir as ir

from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite

_EXP = "Relu, Exp and Log"
_SELU_ALPHA = 1.67326319217681884765625
_SELU_GAMMA = 1.05070102214813232421875
# From here on softplus(x) and x are the same float32.
_SOFTPLUS_LINEAR = 20.0


def _negative_part(build: Builder) -> ir.Value:
    """``min(x, 0)``."""
    return build.op("Neg", build.op("Relu", build.op("Neg", build.x())))


def _elu(build: Builder, alpha: float, gamma: float, divisor: float) -> ir.Value:
    negative = _negative_part(build)
    if divisor != 1.0:
        negative = build.op("Div", negative, build.scalar(divisor))
    curve = build.op("Sub", build.op("Exp", negative), build.scalar(1.0))
    # The slope of Relu at zero is 0 on both sides, so the point zero itself belongs to neither: as good as any.
    y = build.op("Add", build.op("Relu", build.x()), build.op("Mul", curve, build.scalar(alpha)))
    return y if gamma == 1.0 else build.op("Mul", y, build.scalar(gamma))


def elu(build: Builder) -> ir.Value:
    """``relu(x) + alpha (exp(min(x, 0)) - 1)``."""
    return _elu(build, build.node.attributes.get_float("alpha", 1.0), 1.0, 1.0)


def selu(build: Builder) -> ir.Value:
    """``gamma (relu(x) + alpha (exp(min(x, 0)) - 1))``."""
    attributes = build.node.attributes
    return _elu(build, attributes.get_float("alpha", _SELU_ALPHA), attributes.get_float("gamma", _SELU_GAMMA), 1.0)


def celu(build: Builder) -> ir.Value:
    """``relu(x) + alpha (exp(min(x, 0) / alpha) - 1)``."""
    alpha = build.node.attributes.get_float("alpha", 1.0)
    return _elu(build, alpha, 1.0, alpha)


def _softplus(build: Builder) -> ir.Value:
    """``log(1 + exp(min(x, c))) + relu(x - c)``."""
    bounded = build.op("Min", build.x(), build.scalar(_SOFTPLUS_LINEAR))
    curve = build.op("Log", build.op("Add", build.op("Exp", bounded), build.scalar(1.0)))
    beyond = build.op("Relu", build.op("Sub", build.x(), build.scalar(_SOFTPLUS_LINEAR)))
    return build.op("Add", curve, beyond)


def softplus(build: Builder) -> ir.Value:
    """``log(1 + exp(x))``."""
    return _softplus(build)


def mish(build: Builder) -> ir.Value:
    """``x tanh(softplus(x))``."""
    return build.op("Mul", build.x(), build.op("Tanh", _softplus(build)))


def softsign(build: Builder) -> ir.Value:
    """``x / (1 + |x|)``."""
    return build.op("Div", build.x(), build.op("Add", build.op("Abs", build.x()), build.scalar(1.0)))


def prelu(build: Builder) -> ir.Value:
    """``relu(x) + slope min(x, 0)``."""
    negative = build.op("Mul", _negative_part(build), build.input(1))
    return build.op("Add", build.op("Relu", build.x()), negative)


def thresholded_relu(build: Builder) -> ir.Value:
    """``x where x > alpha, else 0``."""
    alpha = build.scalar(build.node.attributes.get_float("alpha", 1.0))
    return build.op("Where", build.op("Greater", build.x(), alpha), build.x(), build.scalar(0.0))


def gelu_tanh(build: Builder) -> ir.Value:
    """``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``."""
    x = build.x()
    cube = build.op("Mul", build.op("Mul", x, x), x)
    inner = build.op("Add", x, build.op("Mul", cube, build.scalar(0.044715)))
    gate = build.op("Tanh", build.op("Mul", inner, build.scalar(math.sqrt(2.0 / math.pi))))
    half = build.op("Mul", x, build.scalar(0.5))
    return build.op("Mul", half, build.op("Add", gate, build.scalar(1.0)))


def approximate_gelu(node: ir.Node, wanted: Collection[ir.Value]) -> bool:  # noqa: ARG001
    """The exact Gelu trains as it is; the gradient of the other is off in the fourth digit."""
    return node.attributes.get_string("approximate", "none") == "tanh"


REWRITES = {
    "Elu": Rewrite(_EXP, elu),
    "Selu": Rewrite(_EXP, selu),
    "Celu": Rewrite(_EXP, celu),
    "Softplus": Rewrite(_EXP, softplus),
    "Mish": Rewrite("its definition by Tanh, Exp and Log", mish),
    "Softsign": Rewrite("Abs and Div", softsign),
    "PRelu": Rewrite("Relu and Mul", prelu),
    "ThresholdedRelu": Rewrite("Where", thresholded_relu),
    "Gelu": Rewrite("its definition by Tanh", gelu_tanh, approximate_gelu),
}
