"""AveragePool: its gradient ends the process. It is a depthwise convolution with a constant kernel.

Where windows reach beyond the border and padding is not counted, the mean is over fewer elements than the kernel has; the
ratio is separable, and one constant per axis makes up for it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.padding import same_padding
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite, integers
from pysurgeon.training.derived_graph.rewrites.conv import convolved


def replace(build: Builder) -> ir.Value:
    """A depthwise convolution, and a multiplication where windows are not full."""
    node, x = build.node, build.x()
    kernel = integers(node, "kernel_shape") or ()
    d = len(kernel)
    strides = integers(node, "strides") or (1,) * d
    dilations = integers(node, "dilations") or (1,) * d
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    pads = integers(node, "pads") or (0,) * (2 * d)
    before, after = list(pads[:d]), list(pads[d:])
    include = bool(node.attributes.get_int("count_include_pad", 0))
    ceil = bool(node.attributes.get_int("ceil_mode", 0))
    channels = build.size(x, 1)
    full = auto_pad in ("NOTSET", "VALID") and not any(pads) and not ceil
    scales = []
    if not full:
        for axis in range(d):
            length = build.size(x, axis + 2)
            if auto_pad != "NOTSET":
                before[axis], after[axis] = same_padding(auto_pad, length, kernel[axis], strides[axis], dilations[axis])
            lead, tail = before[axis], after[axis]
            extent = (kernel[axis] - 1) * dilations[axis] + 1
            steps = (length + lead + tail - extent) / strides[axis]
            count = int(np.ceil(steps) if ceil else np.floor(steps)) + 1
            if ceil and (count - 1) * strides[axis] >= length + lead:
                count -= 1  # the last window must begin inside
            taps = np.arange(count)[:, None] * strides[axis] - lead + np.arange(kernel[axis]) * dilations[axis]
            low, high = (-lead, length + tail) if include else (0, length)
            counted = ((taps >= low) & (taps < high)).sum(axis=1)
            after[axis] = max(0, (count - 1) * strides[axis] + extent - length - lead)
            scales.append(kernel[axis] / counted)
    weight = np.full((channels, 1, *kernel), 1.0 / np.prod(kernel), dtype=np.float32)
    y = convolved(
        build,
        x,
        build.constant(weight),
        None,
        channels=channels,
        filters=channels,
        kernel=kernel,
        group=channels,
        strides=list(strides),
        dilations=list(dilations),
        pads=before + after,
    )
    for axis, scale in enumerate(scales):
        if np.any(scale != 1.0):
            shape = [1] * (d + 2)
            shape[axis + 2] = len(scale)
            y = build.op("Mul", y, build.constant(scale.reshape(shape).astype(np.float32)))
    return y


REWRITES = {"AveragePool": Rewrite("depthwise Conv with a constant kernel", replace)}
