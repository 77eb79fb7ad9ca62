r"""Add a bypass: a way round some layers that gives nothing yet.

Let u be what goes into the first layer and v what the last one gives. All users of v get `v + Z u` instead, with Z = 0: a dense layer
or a 1 x 1 convolution, so that u and v may differ in their numbers of units (the projection shortcut of He et al. 2016), with the
stride by which the image shrinks on the way. There is at most one such way from u into a sum with v: Z + Z' is one matrix. Exact for every activation; the gradient of Z is that of a layer at this place, and what
lies below gets a gradient through the bypass as soon as Z has moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import sizes
from pysurgeon.model.layers import Layer
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edits.edit import Rewire
from pysurgeon.surgery.edits.layer_builder import LayerBuilder
from pysurgeon.surgery.layers.blocks import shape_text, site_of
from pysurgeon.surgery.operation import Operation, Plan
from pysurgeon.surgery.operations.remove_layer import RemoveLayer
from pysurgeon.widths.structure import Structure


@dataclass(frozen=True)
class AddBypass(Operation):
    """Lead a second, empty way round one layer or several.

    Attributes:
        layer: Name of the first layer that it leads round.
        last: Name of the last one, the same where empty.
    """

    kind: ClassVar[str] = "bypass"
    exact: ClassVar[bool] = True

    layer: str
    last: str = ""

    @property
    def site(self) -> str:
        """The layers."""
        return f"{self.layer}..{self.last}" if self.last else self.layer

    def __str__(self) -> str:
        return f"bypass:{self.site}"

    def plan(self, structure: Structure, calibration: Calibration) -> Plan:  # noqa: ARG002 (exact: needs no samples)
        """Add the projection and the sum."""
        first, last = structure.layer(self.layer), structure.layer(self.last or self.layer)
        site = site_of(last)
        source, value = first.data, site.value
        if not _leads_to(first.node, value):
            message = f"what layer {first.name!r} takes does not lead to what layer {last.name!r} gives; name them in their order"
            raise Refused(message)
        other = _beside(structure, source, value)
        if other is not None:
            what = (
                "is linear"
                if other.name in (first.name, last.name)
                else "leads from the same place into the same sum already"
            )
            message = f"layer {other.name!r} {what}, and two linear ways side by side can do no more than one"
            raise Refused(message)
        inputs, outputs, strides = _form(structure, first, last, value)
        builder = LayerBuilder(structure)
        name = builder.layer_name(f"{last.name}.bypass")
        if last.on_images:
            zero = np.zeros((outputs, inputs, *(1 for _ in strides)), np.float32)
            way = builder.convolution(str(source.name), name, zero, bias=False, strides=strides)
        else:
            zero = np.zeros((outputs, inputs), np.float32)
            way = builder.dense(str(source.name), name, zero, len(source.shape or ()), bias=False)
        total = builder.node("Add", [str(value.name), way], name)
        reason = f"a way from {inputs} units to {outputs} that gives nothing yet"
        return Plan(builder.edit(Rewire(str(value.name), total)), 0.0, reason, undo=RemoveLayer(name))


def _form(structure: Structure, first: Layer, last: Layer, value: ir.Value) -> tuple[int, int, tuple[int, ...]]:
    """Units that go in and come out, and by what an image is divided on the way."""
    for layer in (first, last):
        dtype = structure.model.tensor(layer.weight).dtype
        if dtype != np.float32:
            message = f"the weight of layer {layer.name!r} is {dtype}, not float32"
            raise Refused(message)
    if first.data.dtype != ir.DataType.FLOAT:
        message = f"layer {first.name!r} takes {first.data.dtype}, which no projection can be multiplied with; start behind it"
        raise Refused(message)
    source, target = sizes(first.data), sizes(value)
    conv = last.on_images
    axis = 1 if conv else -1
    if source is None or target is None or len(source) != len(target) or len(source) < 2 or conv != first.on_images:
        message = (
            f"layer {first.name!r} takes {shape_text(source)} and layer {last.name!r} gives {shape_text(target)}: a bypass needs as many axes "
            "on both sides"
        )
        raise Refused(message)
    inputs, outputs = source[axis], target[axis]
    before, after = _others(first.data, axis), _others(value, axis)
    strides = [_stride(a, b) for a, b in zip(before, after, strict=True)]
    if inputs is None or outputs is None or None in strides or (strides and not conv and set(strides) != {1}):
        message = (
            f"layer {first.name!r} takes {shape_text(source)} and layer {last.name!r} gives {shape_text(target)}: a bypass can change the number of "
            "units and divide the size of an image, and the sizes must be known"
        )
        raise Refused(message)
    if strides[:1] != [1]:
        message = f"from {shape_text(source)} to {shape_text(target)} the batch changes"
        raise Refused(message)
    return inputs, outputs, tuple(s for s in strides[1:] if s is not None)


def _beside(structure: Structure, source: ir.Value, value: ir.Value) -> Layer | None:
    """A linear layer that takes the same as a bypass would, and gives the same value or is added to it."""
    layers = {layer.output: layer for layer in structure.layers if layer.linear and layer.data is source}
    total = value
    while (node := _only_user(total)) is not None and node.op_type == "Add":
        total = node.outputs[0]
    waiting = [total]
    while waiting:
        term = waiting.pop()
        if term in layers:
            return layers[term]
        producer = term.producer()
        if producer is not None and producer.op_type == "Add" and (term is total or _only_user(term) is not None):
            waiting += [v for v in producer.inputs if v is not None]
    return None


def _only_user(value: ir.Value) -> ir.Node | None:
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _others(value: ir.Value, axis: int) -> list[int | str | None]:
    """Sizes, or their names, of all axes but one."""
    dims = [d if isinstance(d, int) else d.value for d in value.shape or ()]
    del dims[axis]
    return dims


def _stride(before: int | str | None, after: int | str | None) -> int | None:
    """By what stride a size becomes another, `None` if by none."""
    if before is None or after is None:
        return None
    if before == after:
        return 1
    if isinstance(before, str) or isinstance(after, str):
        return None
    return next((s for s in range(2, before + 1) if (before - 1) // s + 1 == after), None)


def _leads_to(node: ir.Node, value: ir.Value) -> bool:
    """Whether a node is an ancestor of a value."""
    waiting, seen = [value], set()
    while waiting:
        producer = waiting.pop().producer()
        if producer is node:
            return True
        if producer is not None and producer not in seen:
            seen.add(producer)
            waiting += [v for v in producer.inputs if v is not None]
    return False
