"""Maxima and means of windows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pysurgeon.training.torch_engine.node import CannotRunError, Function, Node, Operator, simple
from pysurgeon.training.torch_engine.windows import Windows, even, pad

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _windows(node: Node) -> Windows:
    windows = Windows.of(node, node.integers("kernel_shape") or ())
    if len(windows.kernel) not in _MAX:
        message = f"it pools over {len(windows.kernel)} axes, and only 1 to 3 are known"
        raise CannotRunError(message)
    return windows


def _max_pool(node: Node) -> Function:
    node.only_first()
    windows = _windows(node)
    pool = _MAX[len(windows.kernel)]

    def function(x: Tensor) -> Tensor:
        padding = windows.padding(x)
        over = windows.overhang(x, padding)
        # torch pads evenly, by half a window at most.
        if (
            even(padding)
            and not any(over)
            and all(2 * p <= k for (p, _), k in zip(padding, windows.kernel, strict=True))
        ):
            around = tuple(before for before, _ in padding)
        else:
            around = (0,) * len(over)
            x = pad(
                x, [(before, after + more) for (before, after), more in zip(padding, over, strict=True)], -torch.inf
            )
        y: Tensor = pool(x, windows.kernel, windows.strides, around, windows.dilations)
        return y

    return function


def _average_pool(node: Node) -> Function:
    windows = _windows(node)
    if any(step != 1 for step in windows.dilations):
        message = "its windows have gaps"
        raise CannotRunError(message)
    include = bool(node.integer("count_include_pad", 0))
    pool = _MEAN[len(windows.kernel)]

    def function(x: Tensor) -> Tensor:
        padding = windows.padding(x)
        over = windows.overhang(x, padding)
        if (
            even(padding)
            and not any(over)
            and all(2 * p <= k for (p, _), k in zip(padding, windows.kernel, strict=True))
        ):
            around = tuple(before for before, _ in padding)
            y: Tensor = pool(x, windows.kernel, windows.strides, around, count_include_pad=include)
            return y
        # The mean over what is counted is that of all over the share that is counted.
        counted = x.new_ones((1, 1, *x.shape[2:]))
        counted = pad(pad(counted, padding, float(include)), [(0, more) for more in over])
        x = pad(x, [(before, after + more) for (before, after), more in zip(padding, over, strict=True)])
        mean: Tensor = pool(x, windows.kernel, windows.strides)
        share: Tensor = pool(counted, windows.kernel, windows.strides)
        return mean / share

    return function


def _global_mean(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def _global_max(x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


OPERATORS = {
    "AveragePool": Operator(_average_pool),
    "GlobalAveragePool": simple(_global_mean),
    "GlobalMaxPool": simple(_global_max),
    "MaxPool": Operator(_max_pool),
}
