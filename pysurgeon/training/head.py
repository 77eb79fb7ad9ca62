"""What a classifier ends in: the logits, and what the file makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from pysurgeon.graph import Model


@dataclass(frozen=True)
class Head:
    """The end of a classifier.

    Attributes:
        kind: What the first output of the graph is.
        logits: Name of the value that holds the logits.
        nodes: Names of the nodes between the logits and the output, which the loss does without.
    """

    kind: Literal["logits", "probabilities", "log-probabilities"]
    logits: str
    nodes: tuple[str, ...] = ()


def head(model: Model) -> Head:
    """Recognise a Softmax or LogSoftmax over the classes, the last axis of the first output."""
    value = model.ir.graph.outputs[0]
    passed: list[ir.Node] = []
    while (node := value.producer()) is not None and node.op_type == "Identity" and node.domain == "":
        passed.append(node)
        source = node.inputs[0]
        assert source is not None
        value = source
    if node is None or node.domain != "" or node.op_type not in ("Softmax", "LogSoftmax"):
        return Head("logits", str(model.ir.graph.outputs[0].name))
    source = node.inputs[0]
    assert source is not None
    rank = len(source.shape) if source.shape is not None else 2
    # Up to opset 12 the axis is where the tensor is flattened, and the default is 1.
    axis = node.attributes.get_int("axis", -1 if model.opset >= 13 else 1)
    if axis % rank != rank - 1:
        return Head("logits", str(model.ir.graph.outputs[0].name))
    kind: Literal["probabilities", "log-probabilities"] = (
        "probabilities" if node.op_type == "Softmax" else "log-probabilities"
    )
    return Head(kind, str(source.name), tuple(str(n.name) for n in [*reversed(passed), node]))
