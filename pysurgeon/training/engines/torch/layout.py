"""Where elements lie: shapes, orders, parts and what is put around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator, simple
from pysurgeon.training.engines.torch.windows import pad as pad_constant

_EDGES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}  # what NumPy calls them


def _reshape(node: Node) -> Function:
    keeps = not node.integer("allowzero", 0)

    def function(x: Tensor, shape: Sequence[int]) -> Tensor:
        return x.reshape([x.shape[k] if d == 0 and keeps else d for k, d in enumerate(shape)])

    return function


def _flatten(node: Node) -> Function:
    axis = node.integer("axis", 1)

    def function(x: Tensor) -> Tensor:
        before = x.shape[: axis if axis >= 0 else axis + x.ndim]
        return x.reshape(int(np.prod(before)), -1) if x.numel() else x.reshape(int(np.prod(before)), 0)

    return function


def _transpose(node: Node) -> Function:
    order = node.integers("perm")
    return lambda x: x.permute(order if order is not None else tuple(reversed(range(x.ndim))))


def _squeeze(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(x: Tensor, axes: Sequence[int]) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(node: Node) -> Function:
    axis = node.integer("axis", 0)
    return lambda *xs: torch.cat(xs, axis)


def _split(node: Node) -> Function:
    axis, count = node.integer("axis", 0), node.integer("num_outputs", len(node.outputs))

    def function(x: Tensor, sizes: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        if sizes is None:
            each = -(-x.shape[axis] // count)  # the last part may be smaller
            sizes = [min(each, x.shape[axis] - k * each) for k in range(count)]
        return tuple(torch.split(x, list(sizes), axis))

    return function


def _slice(
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> Tensor:
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = (axes[k] if axes is not None else k) % x.ndim, steps[k] if steps is not None else 1
        # Python cuts off bounds as the operator does.
        chosen = range(*slice(start, end, step).indices(x.shape[axis]))
        if step > 0:
            x = x[(slice(None),) * axis + (slice(chosen.start, max(chosen.start, chosen.stop), step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))
    return x


def _expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    both: torch.Size = torch.broadcast_shapes(x.shape, tuple(shape))  # type: ignore[no-untyped-call]
    return x.expand(both)


def _tile(x: Tensor, repeats: Sequence[int]) -> Tensor:
    return x.repeat(tuple(repeats))


def _pad(node: Node) -> Function:
    mode = node.text("mode", "constant")

    def function(
        x: Tensor, pads: Sequence[int], value: float | None = None, axes: Sequence[int] | None = None
    ) -> Tensor:
        chosen = [a % x.ndim for a in (axes if axes is not None else range(x.ndim))]
        padding = [(0, 0)] * x.ndim
        for axis, before, after in zip(chosen, pads[: len(chosen)], pads[len(chosen) :], strict=True):
            padding[axis] = (before, after)
        if mode == "constant":
            return pad_constant(x, padding, value or 0.0)
        for axis, (before, after) in enumerate(padding):
            if before or after:
                # A negative number cuts off, before anything is repeated.
                kept = np.arange(max(0, -before), x.shape[axis] - max(0, -after))
                places = np.pad(kept, (max(0, before), max(0, after)), _EDGES[mode])  # type: ignore[call-overload]
                x = x.index_select(axis, torch.from_numpy(places).to(x.device))
        return x

    if mode != "constant" and mode not in _EDGES:
        message = f"padding {mode!r} is not known"
        raise CannotRunError(message)
    return function


def _depth_to_space(node: Node) -> Function:
    block, mode = node.integer("blocksize", 1), node.text("mode", "DCR")

    def function(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if mode == "CRD":
            parts = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        else:
            parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, c // block**2, h * block, w * block)

    return function


def _space_to_depth(node: Node) -> Function:
    block = node.integer("blocksize", 1)

    def function(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * block**2, h // block, w // block)

    return function


def _triangle(node: Node) -> Function:
    cut = torch.triu if node.integer("upper", 1) else torch.tril
    return lambda x, k=0: cut(x, k)


OPERATORS = {
    "Concat": Operator(_concat),
    "DepthToSpace": Operator(_depth_to_space),
    "Expand": simple(_expand, (1,)),
    "Flatten": Operator(_flatten),
    "Pad": Operator(_pad, (1, 2, 3)),
    "Reshape": Operator(_reshape, (1,)),
    "Slice": simple(_slice, (1, 2, 3, 4)),
    "SpaceToDepth": Operator(_space_to_depth),
    "Split": Operator(_split, (1,)),
    "Squeeze": simple(_squeeze, (1,)),
    "Tile": simple(_tile, (1,)),
    "Transpose": Operator(_transpose),
    "Trilu": Operator(_triangle, (1,)),
    "Unsqueeze": simple(_unsqueeze, (1,)),
}
