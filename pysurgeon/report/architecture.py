"""Architectures beside one another: which layers came, went or changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from pysurgeon.graph import sizes
from pysurgeon.model import Model
from pysurgeon.model.layers import Layer, layers

Status = Literal["unchanged", "changed", "new", "gone"]


@dataclass(frozen=True)
class LayerFacts:
    """What a layer is.

    Attributes:
        name: As `inspect` prints it.
        operator: ONNX operator type.
        units: Number of units that it gives, `None` where the file does not say.
        parameters: Elements of weight and bias.
        macs: Multiply-accumulate operations for one sample.
    """

    name: str
    operator: str
    units: int | None
    parameters: int
    macs: int


@dataclass(frozen=True)
class LayerChange:
    """A layer before and after; `None` where it does not exist."""

    before: LayerFacts | None
    after: LayerFacts | None

    @property
    def name(self) -> str:
        """The layer's name."""
        facts = self.after or self.before
        assert facts is not None
        return facts.name

    @property
    def operator(self) -> str:
        """The layer's operator."""
        facts = self.after or self.before
        assert facts is not None
        return facts.operator

    @property
    def status(self) -> Status:
        """What became of it."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "gone"
        return "unchanged" if self.before == self.after else "changed"


def layer_facts(model: Model) -> tuple[LayerFacts, ...]:
    """The layers of a model in topological order."""
    return tuple(LayerFacts(x.name, x.operator, units(x), x.parameters, x.macs) for x in layers(model))


def units(layer: Layer) -> int | None:
    """Number of units that a layer gives."""
    shape = sizes(layer.output)
    if not shape:
        return None
    axis = layer.units_axis
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def layer_changes(before: Sequence[LayerFacts], after: Sequence[LayerFacts]) -> tuple[LayerChange, ...]:
    """Lay two architectures side by side, layers of one name in one row, in the order of both."""
    matcher = SequenceMatcher(None, [x.name for x in before], [x.name for x in after], autojunk=False)
    rows: list[LayerChange] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            rows += [LayerChange(b, a) for b, a in zip(before[i1:i2], after[j1:j2], strict=True)]
        else:
            rows += [LayerChange(b, None) for b in before[i1:i2]]
            rows += [LayerChange(None, a) for a in after[j1:j2]]
    return tuple(rows)
