"""Normalizations, and the soft maximum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator


def _batch_normalization(node: Node) -> Function:
    """By the batch; running statistics are kept with the variance of the batch as it is, as the operator is defined.

    A view whose statistics stay has arithmetic in the place of this operator.
    """
    node.only_first()
    epsilon, momentum = node.number("epsilon", 1e-5), node.number("momentum", 0.9)

    def function(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        y: Tensor
        y, found, deviation = torch.native_batch_norm(x, scale, bias, None, None, True, 0.0, epsilon)
        with torch.no_grad():
            mean.lerp_(found, 1 - momentum)
            variance.lerp_((deviation.pow(-2) - epsilon).clamp_min(0), 1 - momentum)
        return y

    return function


def _layer_normalization(node: Node) -> Function:
    axis, epsilon = node.integer("axis", -1), node.number("epsilon", 1e-5)

    def function(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        shape = x.shape[axis:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            y = functional.layer_norm(x, shape, scale, bias, epsilon)
        else:
            y = functional.layer_norm(x, shape, None, None, epsilon) * scale
            y = y if bias is None else y + bias
        if not (node.wants(1) or node.wants(2)):
            return y
        axes = tuple(range(x.ndim - len(shape), x.ndim))
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return y, mean, torch.rsqrt(variance + epsilon)

    return function


def _instance_normalization(node: Node) -> Function:
    epsilon = node.number("epsilon", 1e-5)
    # Not torch's own: it refuses images of one pixel.
    return lambda x, scale, bias: torch.group_norm(x, x.shape[1], scale, bias, epsilon)


def _group_normalization(node: Node) -> Function:
    epsilon, groups = node.number("epsilon", 1e-5), node.integer("num_groups", 1)

    def function(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if len(scale) != x.shape[1]:  # one number a group, up to opset 20
            each = x.shape[1] // len(scale)
            scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
        return torch.group_norm(x, groups, scale, bias, epsilon)

    return function


def _local_response(node: Node) -> Function:
    size = node.integer("size", 1)
    if size % 2 == 0:
        message = "its window is even, and torch puts it elsewhere"
        raise CannotRunError(message)
    alpha, beta, bias = node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0)
    return lambda x: functional.local_response_norm(x, size, alpha, beta, bias)


def _lp_normalization(node: Node) -> Function:
    axis, order = node.integer("axis", -1), node.integer("p", 2)
    return lambda x: x / torch.linalg.vector_norm(x, order, axis, keepdim=True)


def _softmax(node: Node) -> Function:
    axis = node.integer("axis", -1)
    return lambda x: torch.softmax(x, axis)


def _log_softmax(node: Node) -> Function:
    axis = node.integer("axis", -1)
    return lambda x: torch.log_softmax(x, axis)


OPERATORS = {
    "BatchNormalization": Operator(_batch_normalization),
    "GroupNormalization": Operator(_group_normalization),
    "InstanceNormalization": Operator(_instance_normalization),
    "LRN": Operator(_local_response),
    "LayerNormalization": Operator(_layer_normalization),
    "LogSoftmax": Operator(_log_softmax),
    "LpNormalization": Operator(_lp_normalization),
    "Softmax": Operator(_softmax),
}
