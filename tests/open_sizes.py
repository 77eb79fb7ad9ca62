"""Files whose height, width or length is open, and that compute sizes in the graph: what detectors, segmenters and recognizers are made of.

Plain onnxruntime on the file itself, without its optimizers, is the judge of what is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.session import Session

Parts = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def integers(name: str, value: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, np.int64), name)


def weight(rng: np.random.Generator, name: str, *shape: int) -> onnx.TensorProto:
    scale = 1.4 / np.sqrt(max(1, np.prod(shape[1:])))
    return numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, list], outputs: dict[str, list], tensors: list
) -> onnx.ModelProto:
    """A checked file of opset 17."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "open",
        [info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        tensors,
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(proto)
    return proto


def trunk(rng: np.random.Generator, levels: int, *, flat: bool = False) -> tuple[Parts, str]:
    """Convolutions of stride two with ReLU, along one axis or two; the name of what the last one gives is returned, too."""
    nodes, tensors, last, channels = [], [], "x", 3
    taps, strides, pads = ([3], [2], [1, 1]) if flat else ([3, 3], [2, 2], [1, 1, 1, 1])
    for k in range(levels):
        nodes += [
            helper.make_node(
                "Conv", [last, f"w{k}", f"b{k}"], [f"c{k}"], f"conv{k}", kernel_shape=taps, strides=strides, pads=pads
            ),
            helper.make_node("Relu", [f"c{k}"], [f"r{k}"], f"relu{k}"),
        ]
        tensors += [weight(rng, f"w{k}", 6, channels, *taps), weight(rng, f"b{k}", 6)]
        last, channels = f"r{k}", 6
    return (nodes, tensors), last


def _head(rng: np.random.Generator, x: str, units: int, y: str) -> Parts:
    node = helper.make_node("Conv", [x, "wo", "bo"], [y], "head", kernel_shape=[1, 1])
    return [node], [weight(rng, "wo", units, 6, 1, 1), weight(rng, "bo", units)]


def grid(rng: np.random.Generator, levels: int) -> onnx.ModelProto:
    """The number of its row is added to every place of the last map, as detectors make anchor points."""
    (nodes, tensors), last = trunk(rng, levels)
    more, weights = _head(rng, last, 2, "o")
    nodes += [
        *more,
        helper.make_node("Shape", [last], ["sh"]),
        helper.make_node("Gather", ["sh", "two"], ["hh"]),
        helper.make_node("Range", ["zero", "hh", "one"], ["rng"]),
        helper.make_node("Cast", ["rng"], ["rf"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["rf", "column"], ["g"]),
        helper.make_node("Add", ["o", "g"], ["y"]),
    ]
    tensors += [*weights, integers("two", 2), integers("zero", 0), integers("one", 1), integers("column", [-1, 1])]
    return model(nodes, {"x": ["N", 3, "H", "W"]}, {"y": ["N", 2, "h", "w"]}, tensors)


def flat(rng: np.random.Generator, levels: int) -> onnx.ModelProto:
    """The places of the last map in a row, as many as the graph finds that there are."""
    (nodes, tensors), last = trunk(rng, levels)
    more, weights = _head(rng, last, 2, "o")
    nodes += [
        *more,
        helper.make_node("Shape", ["o"], ["sh"]),
        helper.make_node("Gather", ["sh", "hw"], ["both"]),
        helper.make_node("ReduceProd", ["both"], ["places"], axes=[0], keepdims=1),
        helper.make_node("Concat", ["rest", "units", "places"], ["target"], axis=0),
        helper.make_node("Reshape", ["o", "target"], ["y"]),
    ]
    tensors += [*weights, integers("hw", [2, 3]), integers("rest", [-1]), integers("units", [2])]
    return model(nodes, {"x": ["N", 3, "H", "W"]}, {"y": ["N", 2, "P"]}, tensors)


def pyramid(rng: np.random.Generator, levels: int) -> onnx.ModelProto:
    """The last map is resized to the size of the one before it, and added."""
    (nodes, tensors), last = trunk(rng, levels)
    wide = f"r{levels - 2}"
    more, weights = _head(rng, "a", 2, "y")
    nodes += [
        helper.make_node("Shape", [wide], ["sh"]),
        helper.make_node("Slice", ["sh", "two", "four"], ["hw"]),
        helper.make_node("Shape", [last], ["shl"]),
        helper.make_node("Slice", ["shl", "zero", "two"], ["nc"]),
        helper.make_node("Concat", ["nc", "hw"], ["target"], axis=0),
        helper.make_node("Resize", [last, "", "", "target"], ["u"], mode="nearest"),
        helper.make_node("Add", ["u", wide], ["a"]),
        *more,
    ]
    tensors += [*weights, integers("zero", [0]), integers("two", [2]), integers("four", [4])]
    return model(nodes, {"x": ["N", 3, "H", "W"]}, {"y": ["N", 2, "h", "w"]}, tensors)


def columns(rng: np.random.Generator, levels: int) -> onnx.ModelProto:
    """A recognizer of texts: the height goes, every column of the last map is a step of a sequence, which a GRU reads."""
    (nodes, tensors), last = trunk(rng, levels)
    nodes += [
        helper.make_node("ReduceMean", [last], ["m"], axes=[2], keepdims=0),
        helper.make_node("Shape", ["m"], ["sh"]),
        helper.make_node("Gather", ["sh", "order"], ["target"]),
        helper.make_node("Transpose", ["m"], ["t"], perm=[2, 0, 1]),
        helper.make_node("Reshape", ["t", "target"], ["s"]),
        helper.make_node("GRU", ["s", "W", "R"], ["g"], "gru", hidden_size=5),
        helper.make_node("Squeeze", ["g", "one"], ["q"]),
        helper.make_node("MatMul", ["q", "wo"], ["z"], "head"),
        helper.make_node("Transpose", ["z"], ["y"], perm=[1, 0, 2]),
    ]
    tensors += [integers("order", [2, 0, 1]), integers("one", [1])]
    tensors += [weight(rng, "W", 1, 15, 6), weight(rng, "R", 1, 15, 5), weight(rng, "wo", 5, 4)]
    return model(nodes, {"x": ["N", 3, "H", "W"]}, {"y": ["N", "T", 4]}, tensors)


def sound(rng: np.random.Generator, levels: int) -> onnx.ModelProto:
    """An encoder of sounds: convolutions of stride two along an open length, and positions for as many steps as come out."""
    (nodes, tensors), last = trunk(rng, levels, flat=True)
    nodes += [
        helper.make_node("Transpose", [last], ["t"], perm=[0, 2, 1]),
        helper.make_node("Shape", ["t"], ["sh"]),
        helper.make_node("Slice", ["sh", "one", "two"], ["steps"]),
        helper.make_node("Slice", ["table", "zero", "steps", "zero"], ["positions"]),
        helper.make_node("Add", ["t", "positions"], ["p"]),
        helper.make_node("MatMul", ["p", "wh"], ["h"], "hidden"),
        helper.make_node("Relu", ["h"], ["hr"]),
        helper.make_node("MatMul", ["hr", "wo"], ["y"], "head"),
    ]
    tensors += [integers("zero", [0]), integers("one", [1]), integers("two", [2])]
    tensors += [weight(rng, "table", 64, 6), weight(rng, "wh", 6, 8), weight(rng, "wo", 8, 3)]
    return model(nodes, {"x": ["N", 3, "L"]}, {"y": ["N", "T", 3]}, tensors)


KINDS: dict[str, Callable[[np.random.Generator, int], onnx.ModelProto]] = {
    k.__name__: k for k in (grid, flat, pyramid, columns, sound)
}
SIZES = ((1, 64, 96), (2, 45, 71), (3, 130, 33))
"""Batch, height and width, or batch and length."""


def inputs(proto: onnx.ModelProto, seed: int = 0) -> Iterator[Array]:
    """Random input of each of `SIZES`."""
    rank = len(proto.graph.input[0].type.tensor_type.shape.dim)
    for k, sizes in enumerate(SIZES):
        shape = (sizes[0], 3, *sizes[1 : rank - 1])
        yield np.random.default_rng(seed + k).standard_normal(shape).astype(np.float32)


def run(content: onnx.ModelProto | Model, feeds: Mapping[str, Array] | Array, *, optimized: bool = True) -> list[Array]:
    """What plain onnxruntime gives for a file."""
    data = content.to_bytes() if isinstance(content, Model) else content.SerializeToString()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    if isinstance(feeds, np.ndarray):
        feeds = {session.get_inputs()[0].name: feeds}
    return session.run(None, dict(feeds))


def assert_same(proto: onnx.ModelProto, other: Model, *, tolerance: float) -> None:
    """A model computes what a file computes, at all of `SIZES`, both run by plain onnxruntime."""
    for x in inputs(proto):
        for a, b in zip(run(proto, x, optimized=False), run(other, x), strict=True):
            assert a.shape == b.shape
            assert float(np.abs(a - b).max()) <= tolerance * float(np.abs(a).max())


def assert_sizes(model: Model, x: Array) -> None:
    """Every value has the sizes that are said of it: numbers, expressions of the open dimensions, and one size for one name."""
    fed = next(v for v in model.ir.graph.inputs if not v.is_initializer())
    assert fed.shape is not None
    seen = {str(d): size for d, size in zip(fed.shape, x.shape, strict=True)}
    bindings = dict(seen)
    values = {str(o.name): o for node in model.nodes for o in node.outputs if o.name and not o.is_graph_output()}
    for name, array in Session(model, list(values), optimized=False).run(x).items():
        shape = values[name].shape if name in values else None
        if shape is None:
            continue
        assert len(shape) == array.ndim, name
        for said, size in zip(shape, array.shape, strict=True):
            if isinstance(said, int):
                assert said == size, (name, shape, array.shape)
                continue
            found = said.evaluate(bindings)
            assert not isinstance(found, int) or found == size, (name, shape, array.shape)
            assert seen.setdefault(str(said), size) == size, (name, shape, array.shape)
