"""What a model ends in: the logits, and what the file makes of them.

Losses are taken on logits. Whatever makes probabilities of them, or picks a class, is left out of what is trained and stays in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from pysurgeon.data import Task
from pysurgeon.errors import ModelError, UsageError
from pysurgeon.model import Model

Kind = Literal["logits", "probabilities", "log-probabilities"]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)

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

# What picks classes from logits, and what else may stand between it and an output.
_PICKS = ("ArgMax", "TopK")
_BEHIND = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten")


@dataclass(frozen=True)
class Head:
    """An end of a model.

    Attributes:
        kind: What the output is.
        output: Its name.
        logits: Name of the value that holds the logits.
        nodes: Names of the nodes between the logits and the output, which the loss does without.
        operator: What makes probabilities of the logits, or picks from them; empty where nothing does.
        axis: That it works along, of one sample; `None` where it works on each number, or is not there.
        pick: What picks classes behind that, empty where nothing does.
    """

    kind: Kind
    output: str
    logits: str
    nodes: tuple[str, ...] = ()
    operator: str = ""
    axis: int | None = None
    pick: str = ""


def node_name(node: ir.Node) -> str:
    """What a node is called: operator and output where the file has no name for it."""
    return node.name or f"{node.op_type}({node.outputs[0].name})"


def float_outputs(model: Model) -> list[str]:
    """Names of the outputs that can be learnt: those that hold floats, and behind them those for which classes are picked from floats.

    Raises:
        ModelError: There is none.
    """
    outputs = list(model.ir.graph.outputs)
    picked = {str(v.name) for v in outputs if _pick(v) is not None}
    floats = [str(v.name) for v in outputs if v.dtype in _FLOATS and v.name not in picked]
    if not floats and not picked:
        kinds = ", ".join(f"{o.name!r} ({o.dtype})" for o in model.outputs)
        message = (
            f"no output holds floats: {kinds}. Training compares logits with labels; export the model with its logits"
        )
        raise ModelError(message)
    return floats + [str(v.name) for v in outputs if v.name in picked]


def learnable_outputs(model: Model) -> list[str]:
    """Names of the outputs that can be learnt side by side: classes that are picked from what another output gives are no further one.

    Raises:
        ModelError: There is none.
    """
    ends = {head(model, "classification", name).logits: name for name in reversed(float_outputs(model))}
    return list(reversed(ends.values()))


def _pick(value: ir.Value) -> tuple[ir.Value, tuple[ir.Node, ...], int] | None:
    """Of classes that are picked from floats: these, the nodes from there on, and the axis; `None` of whatever else."""
    nodes: list[ir.Node] = []
    while (node := value.producer()) is not None and node.domain == "":
        source = node.inputs[0] if node.inputs else None
        if source is None or node.op_type not in (*_BEHIND, *_PICKS):
            return None
        nodes.append(node)
        if node.op_type in _PICKS:
            rank = 2 if source.shape is None else len(source.shape)
            axis = node.attributes.get_int("axis", 0 if node.op_type == "ArgMax" else -1) % max(rank, 1)
            return (source, tuple(reversed(nodes)), axis) if source.dtype in _FLOATS and axis else None
        value = source
    return None


def head(model: Model, task: Task = "classification", output: str = "") -> Head:
    """Recognise what makes probabilities of logits, a Softmax or LogSoftmax over an axis of a sample or a Sigmoid, and what picks a class.

    Args:
        model: The model.
        task: Says what is recognised: nothing but picks for numbers.
        output: Name of an output; the first one that can be learnt where empty.

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
    found = _pick(value)
    if found is None:
        return _before(model, task, output, value)
    source, picks, axis = found
    # The largest probability is where the largest logit is.
    end = _before(model, "classification", str(source.name), source)
    nodes, pick = (*end.nodes, *map(node_name, picks)), picks[0].op_type
    return Head("logits", output, end.logits, nodes, end.operator or pick, axis - 1, pick)


def _before(model: Model, task: Task, output: str, value: ir.Value) -> Head:
    """What makes probabilities of logits, of a value."""
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
    names = tuple(node_name(n) for n in [*reversed(passed), node])
    return Head(kind, output, str(source.name), names, node.op_type, along)
