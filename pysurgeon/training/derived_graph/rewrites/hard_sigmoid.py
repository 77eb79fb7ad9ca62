"""HardSigmoid and HardSwish: Clip and arithmetic."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite


def _hard_sigmoid(build: Builder, alpha: float, beta: float) -> ir.Value:
    line = build.op("Add", build.op("Mul", build.x(), build.scalar(alpha)), build.scalar(beta))
    return build.op("Clip", line, build.scalar(0.0), build.scalar(1.0))


def hard_sigmoid(build: Builder) -> ir.Value:
    """``clip(alpha x + beta, 0, 1)``."""
    attributes = build.node.attributes
    return _hard_sigmoid(build, attributes.get_float("alpha", 0.2), attributes.get_float("beta", 0.5))


def hard_swish(build: Builder) -> ir.Value:
    """``x clip(x / 6 + 1/2, 0, 1)``."""
    return build.op("Mul", build.x(), _hard_sigmoid(build, 1.0 / 6.0, 0.5))


REWRITES = {
    "HardSigmoid": Rewrite("Clip and arithmetic", hard_sigmoid),
    "HardSwish": Rewrite("Clip and arithmetic", hard_swish),
}
