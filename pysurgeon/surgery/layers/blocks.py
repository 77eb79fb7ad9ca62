"""Where to operate: widths that can be resized, and where a layer ends (its bias, norm and activation belong to it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import constant, sizes
from pysurgeon.model.layers import Layer
from pysurgeon.surgery.layers.activations import ACTIVATIONS, written_out
from pysurgeon.widths.structure import Structure, Width


def resizable(structure: Structure, name: str) -> Width:
    """The width of this name.

    Raises:
        Refused: There is none, or it cannot be resized.
    """
    width = structure.width(name)
    if not width.resizable:
        message = f"width {name!r} cannot be resized: {width.reason}"
        raise Refused(message)
    return width


@dataclass(frozen=True)
class Site:
    """A layer with what belongs to it.

    Attributes:
        layer: The layer.
        activation: The activation's node, `None` where the layer is linear; the last one of an activation that is written out.
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
    if activation is None and (several := written_out(value)):
        nodes += several
        activation, value = several[-1], several[-1].outputs[0]
    return Site(layer, activation, value, tuple(nodes))


# What a residual branch may end in, behind its last layer.
_SCALES = frozenset({"Mul", "Div", "Add", "Sub"})
_PASSES = frozenset({"Identity", "Dropout", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "BatchNormalization"})


@dataclass(frozen=True)
class Branch:
    """The end of a residual branch.

    Attributes:
        value: What the branch gives.
        other: What it is added to.
        total: The sum.
    """

    value: ir.Value
    other: ir.Value
    total: ir.Value


def branch_of(site: Site) -> Branch | None:
    """The residual branch whose last layer this is: what it gives is scaled, laid out anew at most, and added to another value."""
    value = site.value
    while len(list(value.uses())) == 1 and not value.is_graph_output():
        use = next(iter(value.uses()))
        node = use.node
        rest = [v for k, v in enumerate(node.inputs) if k != use.idx]
        if node.domain != "" or node.graph is not site.layer.node.graph:
            return None
        if node.op_type == "Add" and not _only_constants(rest):
            other = rest[0]
            known = None not in dims(value)
            same = known and other not in (None, value) and dims(other) == dims(value) == dims(node.outputs[0])
            return Branch(value, other, node.outputs[0]) if same and other is not None else None
        scaled = node.op_type in _SCALES and _only_constants(rest)
        if not (scaled or (use.idx == 0 and node.op_type in _PASSES | ACTIVATIONS)):
            return None
        value = node.outputs[0]
    return None


def dims(value: ir.Value) -> list[int | str | None]:
    """The sizes along the axes of a value, names for those that are not known; nothing where not even their number is."""
    return [d if isinstance(d, int) else d.value for d in value.shape or ()]


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
        Refused: The site's value is an output of the model, is empty, or nobody knows its shape.
    """
    if sizes(site.value) is None:
        message = f"the shape of what layer {site.layer.name!r} gives, {site.value.name!r}, is not known"
        raise Refused(message)
    if 0 in (sizes(site.value) or ()):
        message = f"layer {site.layer.name!r} gives nothing: its shape is {shape_text(dims(site.value))}"
        raise Refused(message)
    if site.value.is_graph_output():
        message = f"layer {site.layer.name!r} gives the model's output {site.value.name!r}, which must stay what it is"
        raise Refused(message)


def shape_text(shape: Sequence[int | str | None] | None) -> str:
    """A shape as messages show it."""
    return "an unknown shape" if shape is None else "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def _only_constants(values: object) -> bool:
    return all(v is None or v.is_initializer() or constant(v) is not None for v in values)  # type: ignore[attr-defined]


def _adds_constant(node: ir.Node, value: ir.Value) -> bool:
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    return other is not None and other.is_initializer()
