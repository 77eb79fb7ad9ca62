"""ai.onnx.ml: what scikit-learn's pipelines start with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.builder import Builder

if TYPE_CHECKING:
    import onnx


def scaler(build: Builder) -> ir.Value:
    """`(x - offset) * scale`."""
    offset, scale = (np.array(build.node.attributes.get_floats(a, ()), np.float32) for a in ("offset", "scale"))
    return build.op("Mul", build.op("Sub", build.x(), build.constant(offset, "offset")), build.constant(scale, "scale"))


@contextlib.contextmanager
def dictionaries_apart(graph: onnx.GraphProto) -> Iterator[list[str]]:
    """While a model is read, its ZipMap nodes give the tensors that they make dictionaries of, under the same names.

    skl2onnx ends a classifier with one unless it is told not to, and no dictionary has a shape. Gives notes for the user.
    """
    import onnx

    outputs = {o.name: o for o in graph.output}
    found = [n for n in graph.node if n.domain == "ai.onnx.ml" and n.op_type == "ZipMap" and n.output[0] in outputs]
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in found]
    types = [onnx.TypeProto.FromString(outputs[n.output[0]].type.SerializeToString()) for n in found]
    try:
        for node in found:
            labels = max((len(a.strings) + len(a.ints) for a in node.attribute), default=0)
            tensor = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [None, labels or None])
            outputs[node.output[0]].type.CopyFrom(tensor)
            node.CopyFrom(onnx.helper.make_node("Identity", node.input, node.output, name=node.name))
        names = ", ".join(repr(n.output[0]) for n in found)
        yield [f"{names}: dictionaries by label became the tensor that they were made of"] if found else []
    finally:
        for node, old, kind in zip(found, nodes, types, strict=True):
            node.CopyFrom(old)
            outputs[node.output[0]].type.CopyFrom(kind)


DEFINITIONS = {("ai.onnx.ml", "Scaler"): scaler}
