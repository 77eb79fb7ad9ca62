"""Elements that are picked and put by their numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _counted(indices: Tensor, size: int) -> Tensor:
    """Numbers that count from the end, from the beginning."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def _gather(node: Node) -> Function:
    axis = node.integer("axis", 0)

    def function(x: Tensor, indices: Tensor) -> Tensor:
        if indices.ndim == 0:
            return x.select(axis, int(indices))
        places = _counted(indices, x.shape[axis])
        if axis == 0 and x.ndim == 2 and x.is_floating_point():
            return functional.embedding(places, x)  # which has the quicker gradient
        at = axis % x.ndim
        picked = x.index_select(at, places.reshape(-1))
        return picked.reshape(*x.shape[:at], *indices.shape, *x.shape[at + 1 :])

    return function


def _gather_elements(node: Node) -> Function:
    axis = node.integer("axis", 0)
    return lambda x, indices: torch.gather(x, axis, _counted(indices, x.shape[axis]))


def _gather_nd(node: Node) -> Function:
    shared = node.integer("batch_dims", 0)

    def function(x: Tensor, indices: Tensor) -> Tensor:
        batch = x.shape[:shared]
        places = [_counted(p, x.shape[shared + k]) for k, p in enumerate(indices.unbind(-1))]
        # The number of an element's own batch, along each axis that both have.
        rank = places[0].ndim
        own = [
            torch.arange(n, device=x.device).reshape([n if k == axis else 1 for k in range(rank)])
            for axis, n in enumerate(batch)
        ]
        return x[(*own, *places)]

    return function


def _scatter_elements(node: Node) -> Function:
    axis, reduction = node.integer("axis", 0), node.text("reduction", "none")

    def function(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places = _counted(indices, x.shape[axis])
        if reduction == "none":
            return torch.scatter(x, axis, places, updates)
        return torch.scatter_reduce(x, axis, places, updates, _REDUCTIONS[reduction])

    if reduction != "none" and reduction not in _REDUCTIONS:
        message = f"the reduction {reduction!r} is not known"
        raise CannotRunError(message)
    return function


def _scatter_nd(node: Node) -> Function:
    reduction = node.text("reduction", "none")
    if reduction not in ("none", "add"):
        message = f"the reduction {reduction!r} is not known"
        raise CannotRunError(message)

    def function(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places = tuple(_counted(p, x.shape[k]) for k, p in enumerate(indices.unbind(-1)))
        return x.index_put(places, updates, accumulate=reduction == "add")

    return function


def _one_hot(node: Node) -> Function:
    axis = node.integer("axis", -1)

    def function(indices: Tensor, depth: int | list[int], values: Tensor) -> Tensor:
        size = depth if isinstance(depth, int) else depth[0]
        places = _counted(indices, size).unsqueeze(axis)
        shape = [1] * places.ndim
        shape[axis] = size
        there = places == torch.arange(size, device=places.device).reshape(shape)
        return torch.where(there, values[1], values[0])

    return function


OPERATORS = {
    "Gather": Operator(_gather),
    "GatherElements": Operator(_gather_elements),
    "GatherND": Operator(_gather_nd),
    "OneHot": Operator(_one_hot, (1,)),
    "ScatterElements": Operator(_scatter_elements),
    "ScatterND": Operator(_scatter_nd),
}
