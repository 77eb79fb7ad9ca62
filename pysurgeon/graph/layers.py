"""Layers: the nodes that hold a weight, under the names that a user would give them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from pysurgeon.graph._tensors import behind
from pysurgeon.graph.model import Model
from pysurgeon.graph.names import Names
from pysurgeon.graph.registry import lookup


@dataclass(frozen=True)
class Layer:
    """A node with a weight of its own.

    Attributes:
        name: What a user calls it: the weight's name without its suffix, else the node's name.
        operator: Operator type.
        node: The node.
        weight: Name of the weight.
        bias: Name of the bias that the node itself takes, `None` where there is none.
        data: The activation that is multiplied with the weight.
        weight_position: Which operand the weight is.
        parameters: Number of elements of weight and bias.
        macs: Multiply-accumulate operations for one sample.
    """

    name: str
    operator: str
    node: ir.Node
    weight: str
    bias: str | None
    data: ir.Value
    weight_position: int
    parameters: int
    macs: int

    @property
    def output(self) -> ir.Value:
        """What the node gives."""
        return self.node.outputs[0]


def layers(model: Model) -> list[Layer]:
    """The layers of a model in topological order, with names that are unique."""
    names = Names()
    found = []
    for node in model.nodes:
        operator = lookup(node)
        if operator is None or not operator.layer:
            continue
        positions = [p for p in (1, 0) if p < len(node.inputs) and _is_weight(node.inputs[p])]
        if not positions or (node.op_type != "MatMul" and positions[0] != 1):
            continue
        weight, data = behind(node.inputs[positions[0]]), node.inputs[1 - positions[0]]
        bias = node.inputs[2] if len(node.inputs) > 2 and _is_weight(node.inputs[2]) else None
        if weight is None or data is None or behind(data) is not None:
            continue
        found.append(
            Layer(
                name=names.unique(layer_name(node, str(weight.name))),
                operator=node.op_type,
                node=node,
                weight=str(weight.name),
                bias=None if bias is None else str(bias.name),
                data=data,
                weight_position=positions[0],
                parameters=sum(
                    t.const_value.size for t in (weight, bias) if t is not None and t.const_value is not None
                ),
                macs=operator.macs(node) if operator.macs else 0,
            )
        )
    return found


def _is_weight(value: ir.Value | None) -> bool:
    tensor = behind(value)
    return tensor is not None and not tensor.is_graph_input() and tensor.const_value is not None


def _added_bias(node: ir.Node) -> str:
    """Name of the initializer that is added to what a node gives and to nothing else; empty if there is none."""
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type != "Add":
        return ""
    other = uses[0].node.inputs[1 - uses[0].idx]
    return str(other.name) if other is not None and other.is_initializer() else ""


def layer_name(node: ir.Node, weight: str) -> str:
    """What a user calls a node with this weight."""
    for suffix in (".weight", "_weight", "/weight", ".W", "_W"):
        if weight.endswith(suffix) and len(weight) > len(suffix):
            return weight[: -len(suffix)]
    if node.op_type == "MatMul" and (bias := _added_bias(node)).endswith(".bias"):
        return bias[: -len(".bias")]  # exporters transpose the weight under a name of their own
    name = (node.name or str(node.outputs[0].name)).strip("/")
    parts = [p for p in name.split("/") if p]
    if len(parts) > 1 and parts[-1].split("_")[0] == node.op_type:
        parts = parts[:-1]  # "/features/conv1/Conv" is the module features.conv1
    return ".".join(parts)
