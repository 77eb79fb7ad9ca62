"""Layers: the nodes that hold a weight, under the names that a user would give them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from pysurgeon.graph.names import Names
from pysurgeon.graph.tensors import behind
from pysurgeon.model.costs import macs
from pysurgeon.model.model import Model
from pysurgeon.operators import lookup


@dataclass(frozen=True)
class Layer:
    """A node with a weight of its own.

    Attributes:
        name: What a user calls it: the weight's name without its suffix, else the node's name.
        operator: Operator type.
        node: The node.
        weight: Name of the weight.
        bias: Name of the bias that is added to the product, `None` where there is none or a recurrent cell keeps it to itself.
        data: What is multiplied with the weight: an activation, or the indices of an embedding.
        weight_position: Which operand the weight is.
        parameters: Number of elements of all that training adjusts.
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
        """What the node gives; of several results the first one that is used."""
        named = [o for o in self.node.outputs if o.name]
        return next((o for o in named if o.uses() or o.is_graph_output()), named[0])

    @property
    def on_images(self) -> bool:
        """Whether it works on (N, C, *), so that its units are channels."""
        return self.operator in ("Conv", "ConvTranspose")

    @property
    def linear(self) -> bool:
        """Whether it gives a matrix times what it takes, and a bias: a recurrent cell and an embedding do not."""
        return self.operator not in ("LSTM", "GRU", "RNN", "Gather")

    @property
    def units_axis(self) -> int:
        """The axis of what it gives, and of what it takes, that its units run along."""
        if self.on_images:
            return 1
        vector = self.data.shape is not None and len(self.data.shape) < 2
        return -2 if self.operator == "MatMul" and self.weight_position == 0 and not vector else -1


def layers(model: Model) -> list[Layer]:
    """The layers of a model in topological order, with names that are unique."""
    names, counted = Names(), macs(model)
    found = []
    for node in model.nodes:
        operator = lookup(node)
        if operator is None or not operator.weights or len(node.inputs) < 2 or not _is_layer(node):
            continue
        position = next((p for p in operator.weights if _is_weight(node.inputs[p])), None)
        if position is None:
            continue
        weight, data = behind(node.inputs[position]), node.inputs[1 - position]
        bias = node.inputs[2] if node.op_type in _BIASED and len(node.inputs) > 2 else None
        if weight is None or data is None or behind(data) is not None:
            continue
        adjusted = [behind(node.inputs[p]) for p in operator.parameters if p < len(node.inputs)]
        found.append(
            Layer(
                name=names.unique(layer_name(node, str(weight.name))),
                operator=node.op_type,
                node=node,
                weight=str(weight.name),
                bias=str(bias.name) if bias is not None and bias.is_initializer() and _is_weight(bias) else None,
                data=data,
                weight_position=position,
                parameters=sum(t.const_value.size for t in adjusted if t is not None and t.const_value is not None),
                macs=counted.get(node, 0),
            )
        )
    return found


_BIASED = frozenset({"Conv", "ConvTranspose", "Gemm"})


def _is_layer(node: ir.Node) -> bool:
    """Of all that picks elements, only what looks up rows of a table is a layer."""
    if node.op_type != "Gather":
        return True
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    return shape is not None and len(shape) > 1 and node.attributes.get_int("axis", 0) == 0


def _is_weight(value: ir.Value | None) -> bool:
    tensor = behind(value)
    if tensor is None or tensor.is_graph_input() or tensor.const_value is None:
        return False
    return tensor.const_value.dtype.is_floating_point()


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
    name = (node.name or next(str(o.name) for o in node.outputs if o.name)).strip("/")
    parts = [p for p in name.split("/") if p]
    if len(parts) > 1 and parts[-1].split("_")[0] == node.op_type:
        parts = parts[:-1]  # "/features/conv1/Conv" is the module features.conv1
    return ".".join(parts)
