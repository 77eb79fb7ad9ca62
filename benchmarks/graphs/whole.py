"""Whole graphs: one or several inputs, a walk through blocks, and outputs, with what files carry along beside."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from benchmarks.graphs import control, images, rows, sequences
from benchmarks.graphs.maker import Maker, Size
from benchmarks.graphs.rows import Rows

NEWEST_IR = {
    7: 3,
    8: 3,
    9: 4,
    10: 5,
    11: 6,
    12: 7,
    13: 7,
    14: 7,
    15: 8,
    16: 8,
    17: 8,
    18: 8,
    19: 9,
    20: 9,
    21: 10,
    22: 10,
}


@dataclass(frozen=True, eq=False)
class Whole:
    """A valid graph.

    Attributes:
        proto: The message.
        ranges: By name of an input of integers, how many rows they may name.
    """

    proto: ModelProto
    ranges: dict[str, int]

    def feeds(self, batch: int, sizes: dict[str, int], scale: float, seed: int) -> dict[str, NDArray[np.generic]]:
        """Input at sizes of the open dimensions; `N` is the batch."""
        rng = np.random.default_rng(seed)
        given = {t.name for t in self.proto.graph.initializer}
        feeds: dict[str, NDArray[np.generic]] = {}
        for port in self.proto.graph.input:
            if port.name in given:
                continue
            dims = port.type.tensor_type.shape.dim
            shape = [d.dim_value if d.HasField("dim_value") else {"N": batch, **sizes}[d.dim_param] for d in dims]
            if port.name in self.ranges:
                feeds[port.name] = rng.integers(0, self.ranges[port.name], shape)
            else:
                feeds[port.name] = (scale * rng.standard_normal(shape)).astype(np.float32)
        return feeds


def written(seed: int, number: int) -> Whole:
    """The graph of this number."""
    rng = random.Random(f"graphs {seed} {number}")  # noqa: S311 (nothing is secret)
    m = Maker(rng, rng.randint(7, 22))
    batch: Size = rng.choice(["N", "N", "N", 1, 2])
    x, shape = _walk(m, *_begin(m, batch))
    if m.chance(0.3):
        x, shape = _joined(m, x, shape, batch)
    kept = [n.output[0] for n in m.nodes if n.output[0]]
    outputs = [rows.project(m, x, shape, rng.randint(1, 4))]
    if m.chance(0.3):
        outputs[0] = m.op(rng.choice(["Sigmoid", "Softmax", "Identity"]), outputs[0])
    outputs += _further(m, x, kept)
    return Whole(_message(m, outputs, len(shape)), m.ranges)


def _begin(m: Maker, batch: Size) -> Rows:
    kind = m.rng.choice(["images", "images", "tokens", "vectors", "words"])
    if kind == "images":
        size = m.rng.choice([[8, 8], [6, 10], ["H", "W"]])
        shape = [batch, m.rng.randint(1, 4), *size]
    elif kind == "vectors":
        shape = [batch, m.rng.randint(2, 8)]
    elif kind == "tokens":
        shape = [batch, m.rng.choice([5, "T"]), m.rng.randint(2, 6)]
    else:
        count, units = m.rng.randint(5, 20), m.rng.randint(2, 6)
        shape = [batch, m.rng.choice([5, "T"])]
        index = m.input(shape, rows=count)
        return m.op("Gather", m.weight(count, units), index), [*shape, units]
    return m.input(shape), shape


def _walk(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Through some blocks, down to vectors or to a sequence."""
    if len(shape) == 4:
        for _ in range(m.rng.randint(1, 4)):
            x, shape = m.rng.choice(images.BLOCKS)(m, x, shape)
        x, shape = (images.flat if m.chance(0.7) else images.in_a_row)(m, x, shape)
    x, shape = rows.dense(m, x, shape)
    for _ in range(m.rng.randint(1, 4)):
        blocks = [*rows.BLOCKS, *control.BLOCKS]
        if len(shape) == 3:
            blocks += 2 * [b for b in sequences.BLOCKS if b is not sequences.places or shape[1] != "P"]
        x, shape = m.rng.choice(blocks)(m, x, shape)
    if len(shape) == 3 and m.chance(0.5):
        x, shape = _one_of(m, x, shape)
    return x, shape


def _one_of(m: Maker, x: str, shape: list[Size]) -> Rows:
    """One vector of a sequence: the last, the mean, the largest."""
    if m.chance(0.3):
        return m.op("Gather", x, m.array(-1 if m.opset >= 11 else 0, "int64"), axis=1), [shape[0], shape[2]]
    return m.reduce(m.rng.choice(["Mean", "Max"]), x, 1, keep=False), [shape[0], shape[2]]


def _joined(m: Maker, x: str, shape: list[Size], batch: Size) -> Rows:
    """Another input, of vectors, joins."""
    given = m.rng.randint(2, 4)
    other = m.input([batch, given])
    units = int(shape[-1])
    told = rows.activation(m, rows.project(m, other, [batch, given], units), units)
    if len(shape) == 3:
        told = m.unsqueeze(told, 1)
    return m.op(m.rng.choice(["Add", "Mul"]), x, told), shape


def _further(m: Maker, x: str, kept: list[str]) -> list[str]:
    """More outputs: what goes on inside, sizes, weights, an input."""
    outputs = []
    if m.chance(0.25):
        outputs.append(x)
    if m.chance(0.15):
        outputs.append(m.rng.choice(kept))
    if m.chance(0.1):
        outputs.append(m.op("Shape", x))
    floats = [t.name for t in m.tensors if t.data_type == TensorProto.FLOAT and t.dims]
    if m.chance(0.1) and floats:
        outputs.append(m.rng.choice(floats))
    if m.chance(0.05):
        outputs.append(m.inputs[0].name)
    inner = {n.output[0] for n in m.nodes} | {t.name for t in m.tensors} | {i.name for i in m.inputs}
    return [o for o in dict.fromkeys(outputs) if o in inner]


def _message(m: Maker, outputs: list[str], rank: int) -> ModelProto:
    """The file: types of outputs are inferred, and what nobody needs comes along."""
    rng = m.rng
    if m.chance(0.15):
        m.node("Neg", [m.nodes[-1].output[0] if m.nodes[-1].output[0] else outputs[0]], [m.name("unused")])
    if m.chance(0.15):
        m.weight(3, 2)
    if m.chance(0.1):
        m.input(["N", 2])
    sets = [helper.make_opsetid("", m.opset)]
    if m.functions:
        sets.append(helper.make_opsetid(control.DOMAIN, 1))
    inputs = list(m.inputs)
    version = NEWEST_IR[m.opset] if not m.functions else max(8, NEWEST_IR[m.opset])
    if version < 4 or m.chance(0.1):  # weights are inputs, too
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in m.tensors]
    ports = [helper.make_empty_tensor_value_info(o) for o in outputs]
    graph = helper.make_graph(m.nodes, "a graph", inputs, ports, m.tensors, doc_string=rng.choice(["", "of chance"]))
    model = helper.make_model(graph, opset_imports=sets, ir_version=version, functions=m.functions)
    model.producer_name, model.model_version = "chance", rng.randint(0, 3)
    model.doc_string = rng.choice(["", "a file"])
    helper.set_model_props(model, {"classes": "a,b,c", "Größe": "8 <b>px</b>"})
    return _typed(model, outputs, rank)


def _typed(model: ModelProto, outputs: list[str], rank: int) -> ModelProto:
    """Declare the outputs; the first one has this rank, of others what nobody knows the type of is left out."""
    inferred = onnx.shape_inference.infer_shapes(model)
    found = {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)}
    tensors = {t.name: t for t in model.graph.initializer}
    del model.graph.output[:]
    for name in outputs:
        if name in found and found[name].type.tensor_type.HasField("shape"):
            model.graph.output.append(found[name])
        elif name in tensors:
            shape = list(tensors[name].dims)
            model.graph.output.append(helper.make_tensor_value_info(name, tensors[name].data_type, shape))
        elif name == outputs[0]:
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank))
    if len(model.graph.node) % 3 == 0:  # some exporters write all shapes down
        model.graph.value_info.extend(inferred.graph.value_info)
    return model
