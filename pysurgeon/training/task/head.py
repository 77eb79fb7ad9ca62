"""What a model ends in: the logits, and what the file makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from pysurgeon.data import Task
from pysurgeon.errors import ModelError, UsageError
from pysurgeon.model import Model

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
    "unlabelled": {},
    "several": {},
}


@dataclass(frozen=True)
class Head:
    """An end of a model.

    Attributes:
        kind: What the output is.
        output: Its name.
        logits: Name of the value that holds the logits.
        nodes: Names of the nodes between the logits and the output, which the loss does without.
        operator: What makes probabilities of the logits, empty where nothing does.
        axis: That it works along, of one sample; `None` where it works on each number, or is not there.
    """

    kind: Kind
    output: str
    logits: str
    nodes: tuple[str, ...] = ()
    operator: str = ""
    axis: int | None = None


def float_outputs(model: Model) -> list[str]:
    """Names of the outputs that hold floats.

    Raises:
        ModelError: There is none.
    """
    floats = [str(v.name) for v in model.ir.graph.outputs if v.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)]
    if not floats:
        kinds = ", ".join(f"{o.name!r} ({o.dtype})" for o in model.outputs)
        message = (
            f"no output holds floats: {kinds}. Training compares logits with labels; export the model with its logits"
        )
        raise ModelError(message)
    return floats


def head(model: Model, task: Task = "classification", output: str = "") -> Head:
    """Recognise what makes probabilities of logits: a Softmax or LogSoftmax over an axis of a sample, or a Sigmoid.

    Args:
        model: The model.
        task: Says what is recognised: nothing for numbers.
        output: Name of an output; the first one of floats where empty.

    Raises:
        ModelError: No output holds floats.
        UsageError: There is no such output.
    """
    floats = float_outputs(model)
    output = output or floats[0]
    if output not in floats:
        message = f"the model has no output {output!r} of floats; it has {', '.join(floats)}"
        raise UsageError(message)
    value = next(v for v in model.ir.graph.outputs if v.name == output)
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
    axis = node.attributes.get_int("axis", -1 if model.opset >= 13 else 1) % rank
    if node.op_type != "Sigmoid" and (axis == 0 or (model.opset < 13 and axis != rank - 1)):
        return Head("logits", output, output)
    along = None if node.op_type == "Sigmoid" else axis - 1
    names = tuple(str(n.name) for n in [*reversed(passed), node])
    return Head(kind, output, str(source.name), names, node.op_type, along)
