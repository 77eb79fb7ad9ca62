"""Small models and data that the tests of training share."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pysurgeon.data import Dataset, Split
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.training import TrainingGraph
from pysurgeon.training.engines.engine import Engine, make_engine
from pysurgeon.training.losses.loss import Loss
from pysurgeon.training.losses.making import plain_loss
from pysurgeon.training.losses.targets import Classes

CLASSES = ("ant", "bee", "cat", "dog", "elk")


def images(shape: tuple[int, ...] = (3, 8, 8), *, train: int = 160, seed: int = 0, noise: float = 0.7) -> Dataset:
    """A learnable set: one pattern a class, with noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((len(CLASSES), *shape))

    def split(count: int) -> Split:
        y = rng.integers(0, len(CLASSES), count)
        return Split((patterns[y] + noise * rng.standard_normal((count, *shape))).astype(np.float32), y)

    return Dataset.build("patterns", train=split(train), validation=split(48), test=split(32), classes=CLASSES)


@contextmanager
def quiet() -> Iterator[None]:
    """torch's exporters announce deprecations and log what they do."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


@cache
def network(kind: Literal["mlp", "cnn"], *, norm: bool = True, dynamo: bool = False) -> Model:
    """An exported network for images of three channels and 8x8 pixels; models are never changed, so it can be shared."""
    module = cnn(norm=norm) if kind == "cnn" else mlp()
    # The new exporter folds normalizations even in training mode unless it is told not to optimize.
    return exported(module, 3, 8, 8, dynamo=dynamo, **({"optimize": False} if dynamo else {}))


def exported(module: Any, *sample: int, dynamo: bool = False, dynamic: bool = True, **options: Any) -> Model:
    """A torch module as a user would export it, for inputs `(batch, *sample)`."""
    import torch

    module = module.eval()
    x = torch.zeros(2 if dynamic else options.pop("batch", 1), *sample)
    buffer = io.BytesIO()
    with quiet():
        if dynamo:
            shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
            program = torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=shapes, verbose=False, **options)
            proto = program.model_proto
        else:
            options.setdefault("opset_version", 17)
            axes = {"x": {0: "batch"}, "y": {0: "batch"}} if dynamic else None
            torch.onnx.export(
                module, (x,), buffer, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes, **options
            )
            proto = onnx.load_model_from_string(buffer.getvalue())
    return from_proto(proto)


def mlp(*, softmax: bool = False, seed: int = 0) -> Any:
    """Flatten, two dense layers."""
    from torch import nn

    def make() -> Any:
        layers = [nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, len(CLASSES))]
        return nn.Sequential(*layers, *([nn.Softmax(1)] if softmax else []))

    return seeded(seed, make)


def cnn(*, norm: bool = True, seed: int = 0) -> Any:
    """Two convolutions, the second one residual, and a dense layer."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
            self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
            self.bn1 = nn.BatchNorm2d(6) if norm else nn.Identity()
            self.bn2 = nn.BatchNorm2d(6) if norm else nn.Identity()
            self.fc = nn.Linear(6 * 16, len(CLASSES))

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.bn1(self.conv1(x)))
            x = torch.relu(x + self.bn2(self.conv2(x)))
            return self.fc(torch.flatten(torch.nn.functional.max_pool2d(x, 2), 1))

    return seeded(seed, Net)


def attention(*, seed: int = 0) -> Any:
    """One layer of self-attention with a fused projection, on patches."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 2, stride=2)
            self.qkv, self.out, self.fc = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, len(CLASSES))

        def forward(self, x: Any) -> Any:
            x = self.patches(x).flatten(2).transpose(1, 2)
            b, n, c = x.shape
            q, k, v = self.qkv(x).reshape(b, n, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
            x = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
            return self.fc(self.out(x).mean(1))

    return seeded(seed, Net)


def engine_of(view: TrainingGraph, *, classes: int = len(CLASSES), trainer: TrainerName = DEFAULT_TRAINER) -> Engine:
    """An engine on a view, for plain cross-entropy."""
    return make_engine(trainer, view, cross_entropy(classes))


def gradients(engine: Engine, view: TrainingGraph, x: Array, y: Array, *, classes: int = len(CLASSES)) -> float:
    """Loss and gradients of a batch for the one input of a view."""
    return engine.step({view.proto.graph.input[0].name: x}, cross_entropy(classes).arrays(y))


@cache
def cross_entropy(classes: int = len(CLASSES)) -> Loss:
    """Plain cross-entropy on the first output of a view."""
    return plain_loss("cross-entropy", Classes((classes,), 0, np.ones(classes)))


def losses_of(loss: Loss, output: Array, y: Array) -> Array:
    """The loss of every sample."""
    return loss.of_samples([loss.losses((output,), y)])


def seeded(seed: int, make: Any) -> Any:
    """A module with weights that depend on the seed alone."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def around(
    nodes: Sequence[onnx.NodeProto],
    tensors: dict[str, Array],
    *,
    shape: tuple[int, ...],
    opset: int = 17,
    weight: Array | None = None,
) -> Model:
    """Nodes from `h` to `o` between a trainable tensor `w` and five logits.

    ``h = x + w``, with `x` of shape ``(batch, *shape)``; ``o`` is flattened and multiplied by a constant matrix.
    """
    rng = np.random.default_rng(0)
    w = rng.standard_normal(shape).astype(np.float32) if weight is None else weight
    body = [helper.make_node("Add", ["x", "w"], ["h"], name="add"), *nodes]
    initializers = [numpy_helper.from_array(w, "w"), *(numpy_helper.from_array(v, k) for k, v in tensors.items())]
    imports = [helper.make_opsetid("", opset)]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", *shape])
    part = helper.make_graph(
        body, "g", [x], [helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, None)], initializers
    )
    count = int(np.prod(_run(helper.make_model(part, opset_imports=imports, ir_version=9), shape).shape[1:]))
    body.append(helper.make_node("Flatten", ["o"], ["flat"], axis=1, name="flatten"))
    body.append(helper.make_node("MatMul", ["flat", "readout"], ["y"], name="readout"))
    initializers.append(numpy_helper.from_array(rng.standard_normal((count, 5)).astype(np.float32), "readout"))
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 5])
    graph = helper.make_graph(body, "g", [x], [y], initializers)
    return from_proto(helper.make_model(graph, opset_imports=imports, ir_version=9))


def _run(proto: onnx.ModelProto, shape: tuple[int, ...]) -> Array:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": np.zeros((2, *shape), np.float32)})[0]
    return result
