"""InstanceNormalization, GroupNormalization and LRN: reductions and arithmetic, by their definitions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import CannotWriteError
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite


def _standardized(build: Builder, x: ir.Value, axes: list[int], epsilon: float) -> ir.Value:
    centred = build.op("Sub", x, build.reduce("ReduceMean", x, axes, keepdims=True))
    variance = build.reduce("ReduceMean", build.op("Mul", centred, centred), axes, keepdims=True)
    return build.op("Div", centred, build.op("Sqrt", build.op("Add", variance, build.scalar(epsilon))))


def _per_channel(build: Builder, position: int, rank: int) -> ir.Value:
    """Scale or bias ``(C,)`` as ``(C, 1, ..., 1)``."""
    return build.op("Reshape", build.input(position), build.integers([-1] + [1] * (rank - 2)))


def instance_normalization(build: Builder) -> ir.Value:
    """Every channel of every sample standardized over its positions."""
    rank = build.rank(build.x())
    epsilon = build.node.attributes.get_float("epsilon", 1e-5)
    y = _standardized(build, build.x(), list(range(2, rank)), epsilon)
    y = build.op("Mul", y, _per_channel(build, 1, rank))
    return build.op("Add", y, _per_channel(build, 2, rank))


def group_normalization(build: Builder) -> ir.Value:
    """Every group of channels of every sample standardized over channels and positions."""
    if build.opset < 21:
        message = f"GroupNormalization of opset {build.opset} had a defect and was withdrawn; export with opset 21"
        raise CannotWriteError(message)
    x = build.x()
    rank = build.rank(x)
    channels = build.size(x, 1)
    groups = build.node.attributes.get_int("num_groups", 1)
    spatial = [build.size(x, axis) for axis in range(2, rank)]
    grouped = build.op("Reshape", x, build.integers([-1, groups, channels // groups * int(np.prod(spatial))]))
    y = _standardized(build, grouped, [2], build.node.attributes.get_float("epsilon", 1e-5))
    y = build.op("Reshape", y, build.integers([-1, channels, *spatial]))
    y = build.op("Mul", y, _per_channel(build, 1, rank))
    return build.op("Add", y, _per_channel(build, 2, rank))


def local_response_normalization(build: Builder) -> ir.Value:
    """``x / (bias + alpha/size sum of squares of the neighbouring channels)^beta``; the sum is a 1x1 convolution."""
    x, attributes = build.x(), build.node.attributes
    channels, size = build.size(x, 1), attributes.get_int("size", 1)
    i, j = np.indices((channels, channels))
    band = ((j - i >= -((size - 1) // 2)) & (j - i <= size // 2)).astype(np.float32)
    kernel = band.reshape(channels, channels, *[1] * (build.rank(x) - 2))
    total = build.op("Conv", build.op("Mul", x, x), build.constant(kernel))
    share = build.op("Mul", total, build.scalar(attributes.get_float("alpha", 1e-4) / size))
    base = build.op("Add", share, build.scalar(attributes.get_float("bias", 1.0)))
    return build.op("Div", x, build.op("Pow", base, build.scalar(attributes.get_float("beta", 0.75))))


REWRITES = {
    "InstanceNormalization": Rewrite("ReduceMean and arithmetic", instance_normalization),
    "GroupNormalization": Rewrite("ReduceMean and arithmetic", group_normalization),
    "LRN": Rewrite("a 1x1 Conv over the squares", local_response_normalization),
}
