"""Products: matrices, convolutions, sums over named axes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator, simple
from pysurgeon.training.engines.torch.windows import Windows, even, pad

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def _gemm(node: Node) -> Function:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    turn_a, turn_b = bool(node.integer("transA", 0)), bool(node.integer("transB", 0))

    def function(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        if turn_a:
            a = a.t()
        if turn_b:
            b = b.t()
        if c is None:
            return alpha * (a @ b) if alpha != 1 else a @ b
        return torch.addmm(c, a, b, alpha=alpha, beta=beta)

    return function


def _einsum(node: Node) -> Function:
    equation = node.text("equation", "")
    return lambda *xs: torch.einsum(equation, *xs)


def _conv(node: Node) -> Function:
    groups = node.integer("group", 1)

    def function(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows = Windows.of(node, weight.shape[2:])
        padding = windows.padding(x)
        if even(padding):
            around = tuple(before for before, _ in padding)
        else:
            x, around = pad(x, padding), (0,) * len(padding)
        conv = _CONV[len(around)]
        return conv(x, weight, bias, windows.strides, around, windows.dilations, groups)

    return function


def _conv_transpose(node: Node) -> Function:
    if node.integers("output_shape") is not None or node.text("auto_pad", "NOTSET").startswith("SAME"):
        message = "its padding follows from the size of its output"
        raise CannotRunError(message)
    groups = node.integer("group", 1)

    def function(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows = Windows.of(node, weight.shape[2:])
        d = len(windows.kernel)
        extra = node.integers("output_padding") or (0,) * d
        y: Tensor = _TRANSPOSED[d](x, weight, None, windows.strides, 0, 0, groups, windows.dilations)
        # torch pads evenly and has bounds for the padding of outputs; here both are a matter of what is cut off.
        cut = [(-before, more - after) for (before, after), more in zip(windows.padding(x), extra, strict=True)]
        y = pad(y, cut)
        return y if bias is None else y + bias.reshape(-1, *(1,) * d)

    return function


OPERATORS = {
    "Conv": Operator(_conv),
    "ConvTranspose": Operator(_conv_transpose),
    "Einsum": Operator(_einsum),
    "Gemm": Operator(_gemm),
    "MatMul": simple(torch.matmul),
}
