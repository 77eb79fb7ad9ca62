"""Rounding of activations to steps. The gradient goes through as if it were not rounded, and ends where values are clipped."""

from __future__ import annotations

import torch
from torch import Tensor

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator

# Least and greatest step by the type of the zero point.
_BOUNDS = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-32768, 32767)}


def _quantize(node: Node) -> Function:
    """Steps as integers in floating point, which carry a gradient."""
    _plain(node)
    axis = node.integer("axis", 1)

    def function(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        low, high = _BOUNDS[torch.uint8 if zero is None else zero.dtype]
        steps = x / _along(scale, x, axis)
        shift = 0.0 if zero is None else _along(zero.to(x.dtype), x, axis)
        return torch.clamp(steps + (torch.round(steps) - steps).detach() + shift, low, high)

    return function


def _dequantize(node: Node) -> Function:
    _plain(node)
    axis = node.integer("axis", 1)

    def function(steps: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        steps = steps.to(scale.dtype)
        if zero is not None:
            steps = steps - _along(zero.to(scale.dtype), steps, axis)
        return steps * _along(scale, steps, axis)

    return function


def _plain(node: Node) -> None:
    if node.integer("block_size", 0) or node.integer("output_dtype", 0):
        message = "it rounds in blocks, or to a type of its own"
        raise CannotRunError(message)


def _along(steps: Tensor, x: Tensor, axis: int) -> Tensor:
    """One for all elements, or one for every unit along an axis, so that it is broadcast."""
    if steps.numel() == 1:
        return steps.reshape(())
    return steps.reshape([-1 if k == axis % x.ndim else 1 for k in range(x.ndim)])


OPERATORS = {"DequantizeLinear": Operator(_dequantize), "QuantizeLinear": Operator(_quantize)}
