"""What a model ends in: the logits, and what the file makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from pysurgeon.data import Task
from pysurgeon.errors import ModelError
from pysurgeon.graph import Model

Kind = Literal["logits", "probabilities", "log-probabilities"]

# What turns logits into probabilities, by what they are of.
_ENDS: dict[Task, dict[str, Kind]] = {
    "classification": {
        "Softmax": "probabilities",
        "LogSoftmax": "log-probabilities",
        # Of one output for two classes; of several, the order is that of the logits, which is all that a class needs.
        "Sigmoid": "probabilities",
    },
    "multi-label": {"Sigmoid": "probabilities"},
    "regression": {},
}


@dataclass(frozen=True)
class Head:
    """The end of a model.

    Attributes:
        kind: What the output that is trained is.
        output: Name of that output: the first one of floats.
        logits: Name of the value that holds the logits.
        nodes: Names of the nodes between the logits and the output, which the loss does without.
    """

    kind: Kind
    output: str
    logits: str
    nodes: tuple[str, ...] = ()


def head(model: Model, task: Task = "classification") -> Head:
    """Recognise what makes probabilities of logits: a Softmax or LogSoftmax over the last axis, or a Sigmoid.

    Raises:
        ModelError: No output holds floats.
    """
    floats = [v for v in model.ir.graph.outputs if v.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)]
    if not floats:
        kinds = ", ".join(f"{o.name!r} ({o.dtype})" for o in model.outputs)
        message = (
            f"no output holds floats: {kinds}. Training compares logits with labels; export the model with its logits"
        )
        raise ModelError(message)
    output = str(floats[0].name)
    value = floats[0]
    passed: list[ir.Node] = []
    while (node := value.producer()) is not None and node.op_type == "Identity" and node.domain == "":
        passed.append(node)
        source = node.inputs[0]
        assert source is not None
        value = source
    kind = _ENDS[task].get(node.op_type) if node is not None and node.domain == "" else None
    if node is None or kind is None:
        return Head("logits", output, output)
    source = node.inputs[0]
    assert source is not None
    rank = len(source.shape) if source.shape is not None else 2
    # Up to opset 12 the axis is where the tensor is flattened, and the default is 1.
    axis = node.attributes.get_int("axis", -1 if model.opset >= 13 else 1)
    if node.op_type != "Sigmoid" and axis % rank != rank - 1:
        return Head("logits", output, output)
    return Head(kind, output, str(source.name), tuple(str(n.name) for n in [*reversed(passed), node]))
