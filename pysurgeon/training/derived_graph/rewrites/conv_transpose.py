"""ConvTranspose: the engine has none. It is a convolution with the kernel turned round, over the input with zeros between."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import CannotWriteError
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite, integers
from pysurgeon.training.derived_graph.rewrites.conv import convolved


def replace(build: Builder) -> ir.Value:
    """Zeros are put between the elements where there is a stride, then an ordinary Conv pads and slides."""
    node, x, weight = build.node, build.x(), build.node.inputs[1]
    d = build.rank(x) - 2
    groups = node.attributes.get_int("group", 1)
    kernel = integers(node, "kernel_shape") or tuple(build.size(weight, axis + 2) for axis in range(d))
    strides = integers(node, "strides") or (1,) * d
    dilations = integers(node, "dilations") or (1,) * d
    extra = integers(node, "output_padding") or (0,) * d
    before, after = _padding(build, kernel, strides, dilations, extra)
    reach = [dilations[axis] * (kernel[axis] - 1) for axis in range(d)]
    pads = [reach[axis] - before[axis] for axis in range(d)]
    pads += [reach[axis] - after[axis] + extra[axis] for axis in range(d)]
    if min(pads) < 0:
        message = f"its padding {before}, {after} is larger than its kernel"
        raise CannotWriteError(message)
    for axis in range(d):
        if strides[axis] > 1:
            x = _spread(build, x, axis + 2, strides[axis])
    return convolved(
        build,
        x,
        _turned(build, weight, groups, kernel),
        build.input(2),
        channels=build.size(weight, 0),
        filters=groups * build.size(weight, 1),
        kernel=kernel,
        group=groups,
        dilations=list(dilations),
        pads=pads,
    )


def _padding(
    build: Builder,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    extra: tuple[int, ...],
) -> tuple[list[int], list[int]]:
    """What is cut off on both sides; it may follow from the size of the output."""
    node, d = build.node, len(kernel)
    given, auto_pad = integers(node, "output_shape"), node.attributes.get_string("auto_pad", "NOTSET")
    if given is None and auto_pad in ("NOTSET", "VALID"):
        pads = integers(node, "pads") or (0,) * (2 * d)
        return list(pads[:d]), list(pads[d:])
    before, after = [], []
    for axis in range(d):
        length = build.size(build.x(), axis + 2)
        target = given[axis - d] if given is not None else length * strides[axis]
        total = strides[axis] * (length - 1) + extra[axis] + dilations[axis] * (kernel[axis] - 1) + 1 - target
        half = total // 2
        before.append(half if auto_pad == "SAME_UPPER" else total - half)
        after.append(total - before[-1])
    return before, after


def _spread(build: Builder, x: ir.Value, axis: int, stride: int) -> ir.Value:
    """``stride - 1`` zeros between the elements of an axis."""
    rank = build.rank(build.x())
    shape = [build.op("Gather", build.op("Shape", x), build.integers([k]), axis=0) for k in range(rank)]
    amounts = [0] * (2 * (rank + 1))
    amounts[-(rank + 1) + axis + 1] = stride - 1
    wide = build.op("Pad", build.op("Unsqueeze", x, build.integers([axis + 1])), build.integers(amounts))
    shape[axis] = build.op("Mul", shape[axis], build.integers([stride]))
    y = build.op("Reshape", wide, build.op("Concat", *shape, axis=0))
    # The last element has no zeros behind it.
    end = build.integers([-(stride - 1)])
    return build.op("Slice", y, build.integers([0]), end, build.integers([axis]))


def _turned(build: Builder, weight: ir.Value | None, groups: int, kernel: tuple[int, ...]) -> ir.Value:
    """``(C_in, C_out/groups, *kernel)`` as the weight of a Conv, ``(C_out, C_in/groups, *kernel)``, every axis reversed."""
    c, m = build.size(weight, 0), build.size(weight, 1)
    assert weight is not None
    y = weight
    for k, size in enumerate(kernel):
        if size > 1:
            y = build.op("Gather", y, build.constant(np.arange(size)[::-1].copy()), axis=k + 2)
    if groups == 1:
        return build.op("Transpose", y, perm=[1, 0, *range(2, len(kernel) + 2)])
    y = build.op("Reshape", y, build.integers([groups, c // groups, m, *kernel]))
    y = build.op("Transpose", y, perm=[0, 2, 1, *range(3, len(kernel) + 3)])
    return build.op("Reshape", y, build.integers([groups * m, c // groups, *kernel]))


REWRITES = {"ConvTranspose": Rewrite("Conv over the input with zeros between", replace)}
