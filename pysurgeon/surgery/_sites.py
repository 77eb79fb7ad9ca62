"""Where a layer ends: its bias, norm and activation belong to it as far as operations are concerned."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import constant, sizes
from pysurgeon.graph.layers import Layer
from pysurgeon.graph.operators.elementwise import UNARY

ACTIVATIONS = frozenset(UNARY) - {"Cast", "Identity", "Not", "IsInf", "IsNaN", "BitwiseNot"} | {"Clip", "PRelu"}


@dataclass(frozen=True)
class Site:
    """A layer with what belongs to it.

    Attributes:
        layer: The layer.
        activation: The activation's node, `None` where the layer is linear.
        value: What the whole gives.
        nodes: The layer's node and those that follow it up to `value`.
    """

    layer: Layer
    activation: ir.Node | None
    value: ir.Value
    nodes: tuple[ir.Node, ...]


def site_of(layer: Layer) -> Site:
    """Follow a layer's output through its bias, norm and the first activation, as long as nobody else uses it."""
    value, nodes, activation = layer.output, [layer.node], None
    while activation is None and len(list(value.uses())) == 1 and not value.is_graph_output():
        node = next(iter(value.uses())).node
        if node.domain != "" or node.graph is not layer.node.graph:
            break
        if node.op_type in ACTIVATIONS and node.inputs[0] is value and _only_constants(node.inputs[1:]):
            activation = node
        elif not (node.op_type == "BatchNormalization" or (node.op_type == "Add" and _adds_constant(node, value))):
            break
        nodes.append(node)
        value = node.outputs[0]
    return Site(layer, activation, value, tuple(nodes))


def idempotent(activation: ir.Node | None) -> bool:
    """Whether applying the activation twice is applying it once (so that an identity layer before it changes nothing)."""
    if activation is None:
        return False
    if activation.op_type == "Clip":
        low, high = (constant(v) if v is not None else None for v in (*activation.inputs[1:], None, None)[:2])
        return low is not None and float(low) <= 0 and (high is None or float(high) > 0)
    return activation.op_type == "Relu"


def refuse_end(site: Site) -> None:
    """Refuse the last layer: behind it there is only the model's output.

    Raises:
        Refused: The site's value is an output of the model.
    """
    if site.value.is_graph_output() or sizes(site.value) is None:
        message = f"layer {site.layer.name!r} gives the model's output {site.value.name!r}, which must stay what it is"
        raise Refused(message)


def _only_constants(values: object) -> bool:
    return all(v is None or v.is_initializer() or constant(v) is not None for v in values)  # type: ignore[attr-defined]


def _adds_constant(node: ir.Node, value: ir.Value) -> bool:
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    return other is not None and other.is_initializer()
