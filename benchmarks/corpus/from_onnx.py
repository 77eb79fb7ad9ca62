"""The models that the onnx package ships as test data: written years ago, by exporters that are gone.

`light_*` are whole architectures whose weights are made by ConstantOfShape, all of them equal; as `light_*@weights` they have random
initializers in their place. The rest are models of one operator or a few, exported by early torch or written by hand.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, numpy_helper

from .seeds import seed

_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
_FOLDERS = ("simple", "pytorch-converted", "pytorch-operator")
# BatchNormalization's inputs; what is at the same place of other operators is a bias or a matrix.
_STATISTICS = ("input", "scale", "bias", "mean", "var")


def _files() -> dict[str, Path]:
    light = {path.stem: path for path in sorted((_DATA / "light").glob("*.onnx"))}
    rest = {path.parent.name: path for folder in _FOLDERS for path in sorted((_DATA / folder).glob("*/model.onnx"))}
    return light | rest


def members() -> list[str]:
    """Names, with the variant, without the family; the largest are last."""
    files = sorted(_files(), key=lambda name: name.startswith("light_"))
    return files + [f"{name}@weights" for name in files if name.startswith("light_")]


def proto(name: str) -> ModelProto:
    """The model as it is shipped, or with weights."""
    stem, _, variant = name.partition("@")
    model = onnx.load(_files()[stem])
    if variant == "weights":
        rng = np.random.default_rng(seed(f"onnx/{name}"))
        _fill(model, rng)
        _temper(model, rng)
    return model


def _fill(model: ModelProto, rng: np.random.Generator) -> None:
    """Turn every ConstantOfShape of a known shape into an initializer with random values."""
    graph = model.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    made = [node for node in graph.node if node.op_type == "ConstantOfShape" and node.input[0] in shapes]
    consumers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for value in node.input:
            consumers.setdefault(value, []).append(node)
    for node in made:
        tensor = _random(node.output[0], tuple(int(d) for d in shapes[node.input[0]]), consumers, rng)
        graph.initializer.append(numpy_helper.from_array(tensor, node.output[0]))
        graph.node.remove(node)
    left = {value for node in graph.node for value in node.input}
    for kind in (graph.initializer, graph.input):
        for unused in [item for item in kind if item.name not in left]:
            kind.remove(unused)
    # Since version 4 an initializer need not be an input as well, one that anybody might replace.
    model.ir_version = 8
    initialized = {t.name for t in graph.initializer}
    for constant in [item for item in graph.input if item.name in initialized]:
        graph.input.remove(constant)


def _random(
    value: str, shape: tuple[int, ...], consumers: dict[str, list[NodeProto]], rng: np.random.Generator
) -> np.ndarray:
    reader = consumers[value][0]
    if reader.op_type == "Unsqueeze":  # a scale or a bias of channels, before Mul or Add
        reader = consumers[reader.output[0]][0]
    role = _STATISTICS[list(reader.input).index(value)] if reader.op_type == "BatchNormalization" else ""
    if (
        reader.op_type == "Sum"
        or role in ("bias", "mean")
        or (len(shape) == 1 and not role and reader.op_type != "Mul")
    ):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if role == "scale" and _joins_residual(reader, consumers):
        # Sixteen sums of equals would make logits of several hundreds, and a softmax without a gradient.
        return rng.uniform(0.1, 0.4, shape).astype(np.float32)
    if role or len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    logits = reader.op_type == "Gemm" and not _reaches(reader, "Relu", consumers)
    return (math.sqrt((0.5 if logits else 2) / math.prod(shape[1:])) * rng.standard_normal(shape)).astype(np.float32)


def _temper(model: ModelProto, rng: np.random.Generator) -> None:
    """Scale the last layer so that logits are of the order of one; a softmax of hundreds is one-hot whatever it is given."""
    last = model.graph.node[-1]
    if last.op_type != "Softmax" or model.graph.node[-2].op_type != "Gemm":
        return
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    logits = session.run(None, {image.name: rng.standard_normal(image.shape).astype(np.float32)})[0]
    for tensor in model.graph.initializer:
        if tensor.name in model.graph.node[-2].input[1:]:
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor) / np.float32(logits.std()), tensor.name)
            )


def _joins_residual(node: NodeProto, consumers: dict[str, list[NodeProto]]) -> bool:
    return any(reader.op_type == "Sum" for reader in consumers.get(node.output[0], []))


def _reaches(node: NodeProto, operator: str, consumers: dict[str, list[NodeProto]]) -> bool:
    return any(reader.op_type == operator for reader in consumers.get(node.output[0], []))
