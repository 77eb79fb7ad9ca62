"""Windows that slide: strides, dilations and the padding around them, as convolutions and poolings have them in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from pysurgeon.graph.padding import same_padding
from pysurgeon.training.engines.torch.node import Node


@dataclass(frozen=True)
class Windows:
    """How windows of known size slide over an image.

    Attributes:
        kernel: Size of a window, for each of the axes behind batch and channels.
        strides: Steps between windows.
        dilations: Steps between the elements of a window.
        pads: Elements before all axes, then behind them; `None` where they follow from the size.
        auto_pad: How they follow.
        ceil: Whether a last window may reach beyond the padding.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...] | None
    auto_pad: str
    ceil: bool

    @staticmethod
    def of(node: Node, kernel: Sequence[int]) -> Windows:
        """As a node's attributes say it."""
        d = len(kernel)
        auto_pad = node.text("auto_pad", "NOTSET")
        given = node.integers("pads") if auto_pad == "NOTSET" else None
        pads = None if auto_pad.startswith("SAME") else given or (0,) * (2 * d)
        strides, dilations = node.integers("strides") or (1,) * d, node.integers("dilations") or (1,) * d
        return Windows(tuple(kernel), strides, dilations, pads, auto_pad, bool(node.integer("ceil_mode", 0)))

    def padding(self, x: Tensor) -> tuple[tuple[int, int], ...]:
        """Elements before and behind each axis, without what only `ceil` adds."""
        d = len(self.kernel)
        if self.pads is not None:
            return tuple(zip(self.pads[:d], self.pads[d:], strict=True))
        sizes = zip(x.shape[2:], self.kernel, self.strides, self.dilations, strict=True)
        return tuple(same_padding(self.auto_pad, *size) for size in sizes)

    def overhang(self, x: Tensor, padding: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Elements behind the padding that `ceil` adds to each axis; the last window must begin before them."""
        if not self.ceil:
            return (0,) * len(self.kernel)
        found = []
        for axis, (before, after) in enumerate(padding):
            length, stride = x.shape[axis + 2], self.strides[axis]
            extent = (self.kernel[axis] - 1) * self.dilations[axis] + 1
            last = -(-(length + before + after - extent) // stride)  # the last window's number, counted from zero
            if last * stride >= length + before:
                last -= 1
            found.append(max(0, last * stride + extent - length - before - after))
        return tuple(found)


def pad(x: Tensor, padding: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Elements of a value around the last axes of a tensor, one pair an axis; negative numbers cut elements off."""
    flat = [number for pair in reversed(padding) for number in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


def even(padding: Sequence[tuple[int, int]]) -> bool:
    """Whether there is as much before each axis as behind it."""
    return all(before == after for before, after in padding)
