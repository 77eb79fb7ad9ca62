"""Operators that move elements or sum along an axis: Reshape, Transpose, Gather and MatMul with a constant."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import CannotWriteError, constant, sizes
from pysurgeon.runtime import onnxruntime
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite, integers


def depth_to_space(build: Builder) -> ir.Value:
    """Channels become blocks of pixels."""
    x, block = build.x(), build.node.attributes.get_int("blocksize", 1)
    c, h, w = (build.size(x, axis) for axis in (1, 2, 3))
    rest = c // block**2
    if build.node.attributes.get_string("mode", "DCR") == "CRD":
        split, order = [-1, rest, block, block, h, w], [0, 1, 4, 2, 5, 3]
    else:
        split, order = [-1, block, block, rest, h, w], [0, 3, 4, 1, 5, 2]
    y = build.op("Transpose", build.op("Reshape", x, build.integers(split)), perm=order)
    return build.op("Reshape", y, build.integers([-1, rest, h * block, w * block]))


def space_to_depth(build: Builder) -> ir.Value:
    """Blocks of pixels become channels."""
    x, block = build.x(), build.node.attributes.get_int("blocksize", 1)
    c, h, w = (build.size(x, axis) for axis in (1, 2, 3))
    split = build.op("Reshape", x, build.integers([-1, c, h // block, block, w // block, block]))
    y = build.op("Transpose", split, perm=[0, 3, 5, 1, 2, 4])
    return build.op("Reshape", y, build.integers([-1, c * block**2, h // block, w // block]))


def unwanted_outputs(node: ir.Node, wanted: Collection[ir.Value]) -> bool:
    """The gradient of a Split is silently wrong where none arrives at one of its outputs."""
    return any(output not in wanted for output in node.outputs)


def split(build: Builder) -> Sequence[ir.Value]:
    """One Gather for each output; the engine would make a Split of Slices again."""
    node, x = build.node, build.x()
    axis = node.attributes.get_int("axis", 0) % build.rank(x)
    given = constant(build.input(1))
    known = [sizes(output) for output in node.outputs]
    parts = [p[axis] if p is not None else None for p in known] if given is None else [int(p) for p in given]
    outputs, begin = [], 0
    for part in parts:
        if part is None:
            message = "the sizes of its parts are computed"
            raise CannotWriteError(message)
        outputs.append(build.op("Gather", x, build.integers(range(begin, begin + part)), axis=axis))
        begin += part
    return outputs


def unusual_padding(node: ir.Node, wanted: Collection[ir.Value]) -> bool:  # noqa: ARG001
    """Constant padding of all axes trains as it is."""
    return node.attributes.get_string("mode", "constant") != "constant" or (
        len(node.inputs) > 3 and node.inputs[3] is not None
    )


def pad(build: Builder) -> ir.Value:
    """All axes named, or one Gather for each axis that is padded with its own elements."""
    node, x = build.node, build.x()
    rank, mode = build.rank(x), node.attributes.get_string("mode", "constant")
    amounts = [int(p) for p in build.known(1, "amounts")]
    axes = [int(a) % rank for a in build.known(3, "axes")] if build.input(3) is not None else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for k, axis in enumerate(axes):
        before[axis], after[axis] = amounts[k], amounts[k + len(axes)]
    if mode == "constant":
        return build.op("Pad", x, build.integers(before + after), build.input(2))
    if min(before + after) < 0:
        message = f"a negative padding in mode {mode!r} is not supported"
        raise CannotWriteError(message)
    y = x
    for axis in range(rank):
        if before[axis] or after[axis]:
            rows = np.arange(build.size(x, axis))
            numpy_mode = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
            picks = np.pad(rows, (before[axis], after[axis]), mode=numpy_mode)  # type: ignore[call-overload]
            y = build.op("Gather", y, build.constant(picks.astype(np.int64)), axis=axis)
    return y


def not_plain(node: ir.Node, wanted: Collection[ir.Value]) -> bool:  # noqa: ARG001
    """Whether steps of a Slice run backwards: its gradient fails at run time."""
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else None
    return steps is not None and bool((steps < 0).any())


def backward_slice(build: Builder) -> ir.Value:
    """A Gather for each axis."""
    x, y = build.x(), build.x()
    rank = build.rank(x)
    starts, ends, steps = (build.known(k, w) for k, w in ((1, "starts"), (2, "ends"), (4, "steps")))
    axes = build.known(3, "axes") if build.input(3) is not None else np.arange(len(starts))
    for start, end, step, axis in zip(starts, ends, steps, axes, strict=True):
        place = int(axis) % rank
        size = build.size(x, place)
        stop = None if step < 0 and end < -size else int(end)
        rows = np.arange(size)[slice(int(start), stop, int(step))]
        y = build.op("Gather", y, build.constant(rows.astype(np.int64)), axis=place)
    return y


def dropout(build: Builder) -> ir.Value:
    """What it is at inference: a seed would have to be carried along for training to be repeatable."""
    return build.op("Identity", build.x())


def cumulative_sum(build: Builder) -> ir.Value:
    """MatMul with a triangle of ones."""
    node, x = build.node, build.x()
    rank = build.rank(x)
    axis = int(build.known(1, "axes").reshape(-1)[0]) % rank
    n = build.size(x, axis)
    triangle = np.triu(np.ones((n, n), np.float32), 1 if node.attributes.get_int("exclusive", 0) else 0)
    if node.attributes.get_int("reverse", 0):
        triangle = triangle.T
    if axis == rank - 1:
        return build.op("MatMul", x, build.constant(triangle))
    order = [a for a in range(rank) if a != axis] + [axis]
    y = build.op("MatMul", build.op("Transpose", x, perm=order), build.constant(triangle))
    return build.op("Transpose", y, perm=[int(a) for a in np.argsort(order)])


def resize(build: Builder) -> ir.Value:
    """MatMul with one constant matrix for each axis that changes: what the operator makes of the unit vectors."""
    node, x = build.node, build.x()
    rank, y = build.rank(x), build.x()
    if node.attributes.get_string("mode", "nearest") == "cubic" or integers(node, "axes") is not None:
        message = "only nearest and linear Resize of all axes are supported"
        raise CannotWriteError(message)
    output = sizes(node.outputs[0])
    for axis in range(rank):
        if output is None or (output[axis] is None and axis > 0):
            message = "the size that it resizes to is not known; export the model with fixed sizes"
            raise CannotWriteError(message)
        if axis == 0 or output[axis] == build.size(x, axis):
            continue
        matrix = build.constant(_response(build, axis, build.size(x, axis), output[axis] or 0))
        order = [a for a in range(rank) if a != axis] + [axis]
        y = build.op("MatMul", build.op("Transpose", y, perm=order), matrix)
        y = build.op("Transpose", y, perm=[int(a) for a in np.argsort(order)])
    return y


def _response(build: Builder, axis: int, length: int, target: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The ``(length, target)`` matrix of a Resize along one axis."""
    import onnx_ir.passes.common  # noqa: F401  (the serializer registers itself)

    ort = onnxruntime()
    node = build.node
    scales = constant(build.input(2))
    inputs: list[ir.Value | None] = [ir.Value(name="x"), None]
    feeds = {"x": np.eye(length, dtype=np.float32).reshape(length, 1, length, 1)}
    values: list[ir.Value] = []
    if scales is not None and scales.size:
        # The scale itself counts, not the ratio of the sizes: it enters the coordinates.
        tensor = ir.Tensor(np.array([1, 1, scales[axis], 1], np.float32), name="s")
        inputs.append(
            ir.Value(name="s", const_value=tensor, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([4]))
        )
    else:
        tensor = ir.Tensor(np.array([length, 1, target, 1], np.int64), name="s")
        inputs += [
            None,
            ir.Value(name="s", const_value=tensor, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([4])),
        ]
    first = inputs[0]
    assert first is not None
    first.type, first.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([length, 1, length, 1])
    y = ir.Value(name="y", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([length, 1, target, 1]))
    copy = ir.node("Resize", inputs, {}, outputs=[y])
    for name, attribute in node.attributes.items():
        copy.attributes[name] = attribute
    values = [v for v in inputs[1:] if v is not None]
    graph = ir.Graph([first], [y], nodes=[copy], initializers=values, opset_imports={"": build.opset}, name="resize")
    proto = ir.to_proto(ir.Model(graph, ir_version=9))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    matrix = session.run(None, feeds)[0].reshape(length, target)
    return np.asarray(matrix, dtype=np.float32)


REWRITES = {
    "DepthToSpace": Rewrite("Reshape and Transpose", depth_to_space),
    "SpaceToDepth": Rewrite("Reshape and Transpose", space_to_depth),
    "Split": Rewrite("Gather", split, unwanted_outputs),
    "Pad": Rewrite("Gather, or all axes named", pad, unusual_padding),
    "Slice": Rewrite("Gather", backward_slice, not_plain),
    "Dropout": Rewrite("left out, so that training is repeatable", dropout),
    "CumSum": Rewrite("MatMul with a triangle of ones", cumulative_sum),
    "Resize": Rewrite("MatMul with constant matrices", resize),
}
