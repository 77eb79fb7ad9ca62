"""LayerNormalization: the gradient needs mean and deviation, which exporters do not ask for, and scale and bias to be trained.

Otherwise it is written by its definition.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite


def replace(build: Builder) -> ir.Value | Sequence[ir.Value]:
    """Three outputs where scale and bias are tensors of their own, else the definition."""
    node, x = build.node, build.x()
    axis = node.attributes.get_int("axis", -1)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    scale, bias = build.input(1), build.input(2)
    if scale is not bias and build.trains(scale) and build.trains(bias):
        return build.several("LayerNormalization", x, scale, bias, outputs=3, axis=axis, epsilon=epsilon)
    rank = build.rank(x)
    axes = list(range(axis % rank, rank))
    centred = build.op("Sub", x, build.reduce("ReduceMean", x, axes, keepdims=True))
    variance = build.reduce("ReduceMean", build.op("Mul", centred, centred), axes, keepdims=True)
    deviation = build.op("Sqrt", build.op("Add", variance, build.scalar(epsilon)))
    y = build.op("Mul", build.op("Div", centred, deviation), scale)
    return y if bias is None else build.op("Add", y, bias)


REWRITES = {"LayerNormalization": Rewrite("with mean and deviation as outputs, or its definition", replace)}
