"""BatchNormalization by its running statistics: what it computes at inference. The engine's own takes those of the batch."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from pysurgeon.graph import constant
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite


def replace(build: Builder) -> ir.Value:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias``, channel by channel."""
    x = build.x()
    rank = build.rank(x)
    scale, bias, mean, variance = (_per_channel(build, position, rank) for position in (1, 2, 3, 4))
    epsilon = build.scalar(build.node.attributes.get_float("epsilon", 1e-5))
    deviation = build.op("Sqrt", build.op("Add", variance, epsilon))
    y = build.op("Div", build.op("Sub", x, mean), deviation)
    return build.op("Add", build.op("Mul", y, scale), bias)


def _per_channel(build: Builder, position: int, rank: int) -> ir.Value:
    """A tensor ``(C,)`` as ``(C, 1, ..., 1)``."""
    value = build.input(position)
    return (
        build.op("Reshape", value, build.integers([-1] + [1] * (rank - 2))) if rank > 2 else build.op("Identity", value)
    )


def computed(node: ir.Node, wanted: Collection[ir.Value]) -> bool:  # noqa: ARG001
    """Whether statistics are computed in the graph, as where weights are standardized: the engine would ignore them."""
    return any(constant(value) is None for value in node.inputs[3:5])


REWRITES = {"BatchNormalization": Rewrite("arithmetic with the statistics that the graph computes", replace, computed)}
FREEZING = {"BatchNormalization": Rewrite("arithmetic with the running statistics, which stay", replace)}
