"""Small starts for the digits, made by hand: nothing here needs an exporter."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from pysurgeon import data
from pysurgeon.data import Dataset
from pysurgeon.model import Model, from_proto

_HEAD = '<ir_version: 8, opset_import: ["" : {opset}]>'


def mlp(hidden: tuple[int, ...] = (6,), *, classes: int = 10, seed: int = 0, batch: int | str = "N") -> onnx.ModelProto:
    """Dense layers `fc1`, `fc2`, ... with ReLU between them, for images of 8x8 grey pixels."""
    sizes = (64, *hidden, classes)
    lines = ["h0 = Flatten <axis = 1> (x)"]
    tensors = {}
    rng = np.random.default_rng(seed)
    for k, (i, o) in enumerate(itertools.pairwise(sizes), 1):
        last = k == len(sizes) - 1
        lines.append(f"{'y' if last else f'a{k}'} = Gemm <transB = 1> (h{k - 1}, fc{k}.weight, fc{k}.bias)")
        lines += [] if last else [f"h{k} = Relu (a{k})"]
        tensors[f"fc{k}.weight"] = rng.standard_normal((o, i)) * np.sqrt(2 / i)
        tensors[f"fc{k}.bias"] = 0.1 * rng.standard_normal(o)
    return text_model(f"mlp (float[{batch}, 1, 8, 8] x) => (float[{batch}, {classes}] y)", lines, tensors)


def cnn(channels: int = 3, *, seed: int = 0) -> onnx.ModelProto:
    """Two convolutions `conv1` and `conv2`, the second one pooled, and a dense layer `head`."""
    rng = np.random.default_rng(seed)
    lines = [
        "a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, conv1.weight, conv1.bias)",
        "b = Relu (a)",
        "c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (b, conv2.weight, conv2.bias)",
        "d = Relu (c)",
        "e = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)",
        "f = Flatten <axis = 1> (e)",
        "y = Gemm <transB = 1> (f, head.weight, head.bias)",
    ]
    tensors = {
        "conv1.weight": rng.standard_normal((channels, 1, 3, 3)) / 2,
        "conv1.bias": np.zeros(channels),
        "conv2.weight": rng.standard_normal((2 * channels, channels, 3, 3)) / np.sqrt(5 * channels),
        "conv2.bias": np.zeros(2 * channels),
        "head.weight": rng.standard_normal((10, 8 * channels)) / np.sqrt(8 * channels),
        "head.bias": np.zeros(10),
    }
    return text_model("cnn (float[N, 1, 8, 8] x) => (float[N, 10] y)", lines, tensors)


def text_model(signature: str, lines: list[str], tensors: dict[str, Any], *, opset: int = 17) -> onnx.ModelProto:
    """A model from the lines of its graph; initializers become float32 where they are float."""
    body = "\n".join(lines)
    # The text format has no dots in names.
    plain = {name: name.replace(".", "__") for name in tensors}
    for name, written in plain.items():
        body = body.replace(name, written)
    model = onnx.parser.parse_model(f"{_HEAD.format(opset=opset)} {signature} {{ {body} }}")
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = name.replace("__", ".")
    for name, values in tensors.items():
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return model


def model(proto: onnx.ModelProto) -> Model:
    """The same, loaded."""
    return from_proto(proto)


@functools.cache
def digits(limit: int | None = 400) -> Dataset:
    """The digits, of which so many samples are for training and validation."""
    return data.load("digits", limit=limit)
