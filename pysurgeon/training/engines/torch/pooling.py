"""Maxima and means of windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator, simple
from pysurgeon.training.engines.torch.windows import Windows, even, pad

Pairs = Sequence[tuple[int, int]]

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _windows(node: Node) -> Windows:
    windows = Windows.of(node, node.integers("kernel_shape") or ())
    if len(windows.kernel) not in _MAX:
        message = f"it pools over {len(windows.kernel)} axes, and only 1 to 3 are known"
        raise CannotRunError(message)
    return windows


def _around(windows: Windows, padding: Pairs, over: Sequence[int]) -> tuple[int, ...] | None:
    """The padding as torch's own functions do it: evenly, by half a window at most; `None` where it is another one."""
    small = all(2 * before <= k for (before, _), k in zip(padding, windows.kernel, strict=True))
    return tuple(before for before, _ in padding) if even(padding) and not any(over) and small else None


def _with(padding: Pairs, over: Sequence[int]) -> list[tuple[int, int]]:
    """Padding and what the last windows reach beyond it."""
    return [(before, after + more) for (before, after), more in zip(padding, over, strict=True)]


def _max_pool(node: Node) -> Function:
    node.only_first()
    windows = _windows(node)
    pool = _MAX[len(windows.kernel)]

    def function(x: Tensor) -> Tensor:
        padding = windows.padding(x)
        over = windows.overhang(x, padding)
        around = _around(windows, padding, over)
        if around is None:
            around, x = (0,) * len(over), pad(x, _with(padding, over), -torch.inf)
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
        around = _around(windows, padding, over)
        if around is not None:
            y: Tensor = pool(x, windows.kernel, windows.strides, around, count_include_pad=include)
            return y
        # The mean over what is counted is that of all over the share that is counted.
        counted = x.new_ones((1, 1, *x.shape[2:]))
        counted = pad(pad(counted, padding, float(include)), [(0, more) for more in over])
        x = pad(x, _with(padding, over))
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
