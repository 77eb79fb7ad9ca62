"""Functions of every element, and of pairs of elements that are broadcast."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from pysurgeon.training.engines.torch.node import Function, Node, Operator, simple
from pysurgeon.training.engines.torch.types import torch_dtype


def _identity(x: Tensor) -> Tensor:
    return x


def _divide(a: Tensor, b: Tensor) -> Tensor:
    # integers are divided as in C.
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _power(a: Tensor, b: Tensor) -> Tensor:
    return torch.pow(a, b).to(a.dtype)


def _mean(*xs: Tensor) -> Tensor:
    return reduce(torch.add, xs) / len(xs)


def _softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def _is_infinite(node: Node) -> Function:
    below, above = node.integer("detect_negative", 1), node.integer("detect_positive", 1)
    return lambda x: (torch.isneginf(x) & bool(below)) | (torch.isposinf(x) & bool(above))


def _leaky(node: Node) -> Function:
    slope = node.number("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, slope)


def _elu(node: Node) -> Function:
    alpha = node.number("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


def _celu(node: Node) -> Function:
    alpha = node.number("alpha", 1.0)
    return lambda x: functional.celu(x, alpha)


def _selu(node: Node) -> Function:
    alpha, gamma = node.number("alpha", 1.67326319217681884765625), node.number("gamma", 1.05070102214813232421875)
    return lambda x: gamma * functional.elu(x, alpha)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    # Not torch's own: its slopes lie along the channels, the operator's are broadcast.
    return torch.where(x < 0, x * slope, x)


def _hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


def _thresholded_relu(node: Node) -> Function:
    alpha = node.number("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


def _shrink(node: Node) -> Function:
    bound, bias = node.number("lambd", 0.5), node.number("bias", 0.0)
    return lambda x: torch.where(x < -bound, x + bias, torch.where(x > bound, x - bias, torch.zeros_like(x)))


def _gelu(node: Node) -> Function:
    approximate = node.text("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


def _softplus(x: Tensor) -> Tensor:
    # torch's own is linear above a threshold; this one is exact.
    return torch.logaddexp(x, torch.zeros_like(x))


def _clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _modulo(node: Node) -> Function:
    return torch.fmod if node.integer("fmod", 0) else torch.remainder


def _cast(node: Node) -> Function:
    dtype = torch_dtype(node.integer("to", 1))
    return lambda x: x.to(dtype)


def _cast_like(x: Tensor, other: Tensor) -> Tensor:
    return x.to(other.dtype)


def _dropout(node: Node) -> Function:
    # Left out, so that training is repeatable, as for the other engine.
    node.only_first()
    return lambda x, *_: x


OPERATORS = {
    "Abs": simple(torch.abs),
    "Acos": simple(torch.acos),
    "Acosh": simple(torch.acosh),
    "Add": simple(torch.add),
    "And": simple(torch.logical_and),
    "Asin": simple(torch.asin),
    "Asinh": simple(torch.asinh),
    "Atan": simple(torch.atan),
    "Atanh": simple(torch.atanh),
    "Cast": Operator(_cast),
    "CastLike": simple(_cast_like),
    "Ceil": simple(torch.ceil),
    "Celu": Operator(_celu),
    "Clip": simple(_clip, (1, 2)),
    "Cos": simple(torch.cos),
    "Cosh": simple(torch.cosh),
    "Div": simple(_divide),
    "Dropout": Operator(_dropout),
    "Elu": Operator(_elu),
    "Equal": simple(torch.eq),
    "Erf": simple(torch.erf),
    "Exp": simple(torch.exp),
    "Floor": simple(torch.floor),
    "Gelu": Operator(_gelu),
    "Greater": simple(torch.gt),
    "GreaterOrEqual": simple(torch.ge),
    "HardSigmoid": Operator(_hard_sigmoid),
    "HardSwish": simple(functional.hardswish),
    "Identity": simple(_identity),
    "IsInf": Operator(_is_infinite),
    "IsNaN": simple(torch.isnan),
    "LeakyRelu": Operator(_leaky),
    "Less": simple(torch.lt),
    "LessOrEqual": simple(torch.le),
    "Log": simple(torch.log),
    "Max": simple(lambda *xs: reduce(torch.maximum, xs)),
    "Mean": simple(_mean),
    "Min": simple(lambda *xs: reduce(torch.minimum, xs)),
    "Mish": simple(functional.mish),
    "Mod": Operator(_modulo),
    "Mul": simple(torch.mul),
    "Neg": simple(torch.neg),
    "Not": simple(torch.logical_not),
    "Or": simple(torch.logical_or),
    "PRelu": simple(_prelu),
    "Pow": simple(_power),
    "Reciprocal": simple(torch.reciprocal),
    "Relu": simple(torch.relu),
    "Round": simple(torch.round),
    "Selu": Operator(_selu),
    "Shrink": Operator(_shrink),
    "Sigmoid": simple(torch.sigmoid),
    "Sign": simple(torch.sign),
    "Sin": simple(torch.sin),
    "Sinh": simple(torch.sinh),
    "Softplus": simple(_softplus),
    "Softsign": simple(_softsign),
    "Sqrt": simple(torch.sqrt),
    "Sub": simple(torch.sub),
    "Sum": simple(lambda *xs: reduce(torch.add, xs)),
    "Tan": simple(torch.tan),
    "Tanh": simple(torch.tanh),
    "ThresholdedRelu": Operator(_thresholded_relu),
    "Where": simple(torch.where),
    "Xor": simple(torch.logical_xor),
}
