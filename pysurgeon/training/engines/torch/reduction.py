"""Reductions along axes, and what looks for the largest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pysurgeon.training.engines.torch.node import Function, Node, Operator

Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _norm(order: int) -> Reduce:
    return lambda x, axes, keep: torch.linalg.vector_norm(x, order, axes, keep)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    # From the last axis on, so that the numbers of the others stay right.
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _mean(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return torch.mean(x, axes, keep)


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return torch.sum(x, axes, keep, dtype=x.dtype)


def _sum_square(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return torch.sum(x * x, axes, keep)


def _log_sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return torch.log(torch.sum(x, axes, keep))


def _over(reduce: Reduce) -> Operator:
    def make(node: Node) -> Function:
        keep, nothing = bool(node.integer("keepdims", 1)), bool(node.integer("noop_with_empty_axes", 0))
        given = node.integers("axes")

        def function(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
            chosen = tuple(axes) if axes is not None else given
            if not chosen:
                if nothing:
                    return x
                chosen = tuple(range(x.ndim))
            return reduce(x, chosen, keep)

        return function

    return Operator(make, (1,))


def _extreme(find: Callable[..., Tensor]) -> Operator:
    def make(node: Node) -> Function:
        axis, keep = node.integer("axis", 0), bool(node.integer("keepdims", 1))
        last = bool(node.integer("select_last_index", 0))

        def function(x: Tensor) -> Tensor:
            # Of equals, torch finds the first.
            return x.shape[axis] - 1 - find(x.flip(axis), axis, keep) if last else find(x, axis, keep)

        return function

    return Operator(make)


def _top(node: Node) -> Function:
    axis, largest = node.integer("axis", -1), bool(node.integer("largest", 1))

    def function(x: Tensor, count: int | Sequence[int]) -> tuple[Tensor, Tensor]:
        k = count if isinstance(count, int) else count[0]
        if k == 1 and x.shape[axis] > 0:
            values, places = (torch.max if largest else torch.min)(x, axis, keepdim=True)
            return values, places
        values, places = torch.topk(x, k, axis, largest, sorted=True)
        return values, places

    return function


def _cumulative_sum(node: Node) -> Function:
    exclusive, backwards = bool(node.integer("exclusive", 0)), bool(node.integer("reverse", 0))

    def function(x: Tensor, axis: int | Sequence[int]) -> Tensor:
        along = axis if isinstance(axis, int) else axis[0]
        y = x.flip(along) if backwards else x
        y = torch.cumsum(y, along, dtype=x.dtype)
        if exclusive:
            y = y.roll(1, along)
            y = y.index_fill(along, torch.zeros(1, dtype=torch.int64, device=y.device), 0)
        return y.flip(along) if backwards else y

    return function


OPERATORS = {
    "ArgMax": _extreme(torch.argmax),
    "ArgMin": _extreme(torch.argmin),
    "CumSum": Operator(_cumulative_sum, (1,)),
    "ReduceL1": _over(_norm(1)),
    "ReduceL2": _over(_norm(2)),
    "ReduceLogSum": _over(_log_sum),
    "ReduceLogSumExp": _over(torch.logsumexp),
    "ReduceMax": _over(torch.amax),
    "ReduceMean": _over(_mean),
    "ReduceMin": _over(torch.amin),
    "ReduceProd": _over(_product),
    "ReduceSum": _over(_sum),
    "ReduceSumSquare": _over(_sum_square),
    "TopK": Operator(_top, (1,)),
}
