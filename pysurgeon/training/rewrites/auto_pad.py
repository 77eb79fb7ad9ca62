"""Conv with `auto_pad`: the engine's gradient is silently wrong (it takes the padding for zero). Padding is written out."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from pysurgeon.graph.padding import same_padding
from pysurgeon.training.rewrites._build import Builder, Rewrite, integers


def needed(node: ir.Node, wanted: Collection[ir.Value]) -> bool:  # noqa: ARG001
    """Only where padding follows from the sizes."""
    return node.attributes.get_string("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")


def replace(build: Builder) -> ir.Value:
    """The same convolution with `pads`."""
    node, x, weight = build.node, build.x(), build.node.inputs[1]
    assert weight is not None
    d = build.rank(x) - 2
    kernel = integers(node, "kernel_shape") or tuple(build.size(weight, axis + 2) for axis in range(d))
    strides = integers(node, "strides") or (1,) * d
    dilations = integers(node, "dilations") or (1,) * d
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    pairs = [
        same_padding(auto_pad, build.size(x, axis + 2), kernel[axis], strides[axis], dilations[axis])
        for axis in range(d)
    ]
    return build.op(
        "Conv",
        *node.inputs,
        group=node.attributes.get_int("group", 1),
        kernel_shape=list(kernel),
        strides=list(strides),
        dilations=list(dilations),
        pads=[a for a, _ in pairs] + [b for _, b in pairs],
    )


REWRITES = {"Conv": Rewrite("the padding written out", replace, needed)}
