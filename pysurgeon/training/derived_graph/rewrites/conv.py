"""Conv: with `auto_pad` the engine's gradient is silently wrong (it takes the padding for zero). Padding is written out.

So is the gradient of the input where groups slide along one axis or along three. There, an axis is added, or each group is a Conv of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import onnx_ir as ir

from pysurgeon.graph import sizes
from pysurgeon.graph.padding import same_padding
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite, integers

_RIGHT = 2  # axes that windows of groups may slide along


def convolved(
    build: Builder,
    x: ir.Value,
    weight: ir.Value,
    bias: ir.Value | None,
    *,
    channels: int,
    filters: int,
    kernel: Sequence[int],
    group: int,
    **attributes: Any,
) -> ir.Value:
    """A Conv that has a right gradient.

    Args:
        build: Writes it.
        x: ``(n, channels, ...)``.
        weight: ``(filters, channels / group, *kernel)``.
        bias: ``(filters,)``, or none.
        channels: Of the input.
        filters: Channels of the output.
        kernel: Size of a window.
        group: Number of groups.
        attributes: The others of the operator.
    """
    attributes["kernel_shape"] = list(kernel)
    if group == 1 or len(kernel) == _RIGHT:
        return build.op("Conv", x, weight, bias, group=group, **attributes)
    if len(kernel) < _RIGHT:
        flat = {"strides": [1], "dilations": [1], "pads": [0], "kernel_shape": [1]}
        ends = {"pads": [attributes["pads"][0], 0, attributes["pads"][1]]} if "pads" in attributes else {}
        wide = {k: [*flat[k], *v] if k in flat else v for k, v in (attributes | ends).items()}
        y = build.op("Conv", build.unsqueeze(x, [2]), build.unsqueeze(weight, [2]), bias, group=group, **wide)
        return build.squeeze(y, [2])

    def parts(value: ir.Value, size: int, axis: int) -> Sequence[ir.Value]:
        return build.several("Split", value, build.integers([size // group] * group), outputs=group, axis=axis)

    biases = [None] * group if bias is None else parts(bias, filters, 0)
    each = zip(parts(x, channels, 1), parts(weight, filters, 0), biases, strict=True)
    return build.op("Concat", *(build.op("Conv", *part, group=1, **attributes) for part in each), axis=1)


def needed(node: ir.Node, wanted: Collection[ir.Value]) -> bool:  # noqa: ARG001
    """Where padding follows from the sizes, and where groups slide along one axis or along three."""
    if node.attributes.get_string("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return True
    weight = node.inputs[1]
    shape = None if weight is None else sizes(weight)
    return node.attributes.get_int("group", 1) > 1 and shape is not None and len(shape) - 2 != _RIGHT


def replace(build: Builder) -> ir.Value:
    """The same convolution with `pads`, group by group if it has to be."""
    node, x, weight = build.node, build.x(), build.node.inputs[1]
    assert weight is not None
    d = build.rank(weight) - 2
    kernel = integers(node, "kernel_shape") or tuple(build.size(weight, axis + 2) for axis in range(d))
    strides = integers(node, "strides") or (1,) * d
    dilations = integers(node, "dilations") or (1,) * d
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        pairs = [
            same_padding(auto_pad, build.size(x, axis + 2), kernel[axis], strides[axis], dilations[axis])
            for axis in range(d)
        ]
        pads = [a for a, _ in pairs] + [b for _, b in pairs]
    else:
        pads = list((integers(node, "pads") if auto_pad == "NOTSET" else None) or (0,) * (2 * d))
    group = node.attributes.get_int("group", 1)
    return convolved(
        build,
        x,
        weight,
        build.input(2),
        channels=group * build.size(weight, 1),
        filters=build.size(weight, 0),
        kernel=kernel,
        group=group,
        strides=list(strides),
        dilations=list(dilations),
        pads=pads,
    )


REWRITES = {
    "Conv": Rewrite(
        "the padding written out, and groups over one axis or three in a form that has a right gradient",
        replace,
        needed,
    )
}
