"""SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss, which exporters write losses with: by their definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite


def _likelihood(build: Builder, log: ir.Value) -> ir.Value:
    """The weighted negative of what stands at the labels, reduced."""
    attributes = build.node.attributes
    labels, weights = build.input(1), build.input(2)
    assert labels is not None
    counts: ir.Value | None = None
    if "ignore_index" in attributes:
        ignored = build.op("Cast", build.constant(np.array(attributes["ignore_index"].as_int())), to=7)
        labels = build.op("Cast", labels, to=7)
        there = build.op("Not", build.op("Equal", labels, ignored))
        labels = build.op("Where", there, labels, build.constant(np.array(0)))
        counts = build.op("Cast", there, to=1)
    if weights is not None:
        weight = build.op("Gather", weights, labels, axis=0)
        counts = weight if counts is None else build.op("Mul", counts, weight)
    picked = build.op("GatherElements", log, build.unsqueeze(labels, [1]), axis=1)
    each = build.op("Neg", build.squeeze(picked, [1]))
    if counts is not None:
        each = build.op("Mul", each, counts)
    reduction = attributes.get_string("reduction", "mean")
    if reduction == "none":
        return each
    total = build.op("ReduceSum", each, keepdims=0)
    if reduction == "sum":
        return total
    if counts is None:
        return build.op("ReduceMean", each, keepdims=0)
    return build.op("Div", total, build.op("ReduceSum", counts, keepdims=0))


def cross_entropy(build: Builder) -> Sequence[ir.Value]:
    """Of the softmax along axis 1; and its logarithm, which may be asked for."""
    log = build.op("LogSoftmax", build.x(), axis=1)
    return [_likelihood(build, log), log]


REWRITES = {
    "SoftmaxCrossEntropyLoss": Rewrite("LogSoftmax and what stands at the labels", cross_entropy),
    "NegativeLogLikelihoodLoss": Rewrite("what stands at the labels", lambda build: _likelihood(build, build.x())),
}
