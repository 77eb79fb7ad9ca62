"""Reductions without a gradient, in terms of those that have one; a maximum is the first of a sorted list."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph import CannotWriteError, constant
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite, integers


def _axes(build: Builder) -> list[int]:
    node, rank = build.node, build.rank(build.x())
    axes = integers(node, "axes")
    if axes is None and build.input(1) is not None:
        values = constant(build.input(1))
        if values is None:
            message = "its axes are computed"
            raise CannotWriteError(message)
        axes = tuple(int(a) for a in values)
    if not axes:
        axes = () if node.attributes.get_int("noop_with_empty_axes", 0) else tuple(range(rank))
    return [a % rank for a in axes]


def _extreme(build: Builder, *, largest: bool) -> ir.Value:
    axes, y, one = _axes(build), build.x(), build.integers([1])
    for axis in axes:
        y = build.several("TopK", y, one, outputs=2, axis=axis, largest=int(largest))[0]
    if build.node.attributes.get_int("keepdims", 1) or not axes:
        return y
    return build.op("Squeeze", y, build.integers(axes))


def reduce_max(build: Builder) -> ir.Value:
    """TopK of one, axis by axis."""
    return _extreme(build, largest=True)


def reduce_min(build: Builder) -> ir.Value:
    """TopK of one from below, axis by axis."""
    return _extreme(build, largest=False)


def _sum_of(build: Builder, x: ir.Value) -> ir.Value:
    axes = _axes(build)
    return (
        build.reduce("ReduceSum", x, axes, keepdims=bool(build.node.attributes.get_int("keepdims", 1))) if axes else x
    )


def reduce_l1(build: Builder) -> ir.Value:
    """The sum of absolute values."""
    return _sum_of(build, build.op("Abs", build.x()))


def reduce_sum_square(build: Builder) -> ir.Value:
    """The sum of squares."""
    return _sum_of(build, build.op("Mul", build.x(), build.x()))


def reduce_log_sum(build: Builder) -> ir.Value:
    """The logarithm of the sum."""
    return build.op("Log", _sum_of(build, build.x()))


def global_max_pool(build: Builder) -> ir.Value:
    """A MaxPool whose window is the image."""
    x = build.x()
    return build.op("MaxPool", x, kernel_shape=[build.size(x, axis) for axis in range(2, build.rank(x))])


def add_all(build: Builder) -> ir.Value:
    """One Add after the other."""
    first, *others = [value for value in build.node.inputs if value is not None]
    if not others:
        return build.op("Identity", first)
    for other in others:
        first = build.op("Add", first, other)
    return first


def mean(build: Builder) -> ir.Value:
    """The sum over the number of inputs."""
    return build.op("Div", add_all(build), build.scalar(float(len(build.node.inputs))))


REWRITES = {
    "ReduceMax": Rewrite("TopK", reduce_max),
    "ReduceMin": Rewrite("TopK", reduce_min),
    "ReduceL1": Rewrite("ReduceSum of Abs", reduce_l1),
    "ReduceSumSquare": Rewrite("ReduceSum of squares", reduce_sum_square),
    "ReduceLogSum": Rewrite("Log of ReduceSum", reduce_log_sum),
    "GlobalMaxPool": Rewrite("MaxPool over the whole image", global_max_pool),
    "Sum": Rewrite("Add", add_all),
    "Mean": Rewrite("Add and Div", mean),
}
