"""An edit is data: what changes in which tensor, which nodes come and how values are rewired. Only `apply` performs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pysurgeon.graph import Array
from pysurgeon.graph.terms import Dim, leaves
from pysurgeon.widths.axis_layout import Select, UnitMap, map_axis
from pysurgeon.widths.structure import Structure

Kind = Literal["values", "first moments", "second moments"]


@dataclass(frozen=True)
class AxisMap:
    """Resizes one dim on one axis of an initializer.

    Attributes:
        tensor: The initializer.
        axis: The axis.
        dim: The dim of its term that is resized.
        map: What the values go through.
        history: What the optimizer's moments go through instead, `None` where they follow the values.
    """

    tensor: str
    axis: int
    dim: Dim
    map: UnitMap
    history: Select | None = None

    def of(self, kind: Kind) -> UnitMap:
        """The map for values, first moments (`m`, `momentum`) or second moments (`v`)."""
        if kind == "values":
            return self.map
        if self.history is not None:
            return self.history
        return self.map.squared() if kind == "second moments" else self.map


@dataclass(frozen=True)
class NodeSpec:
    """A new node: operator of the standard domain, names of its values, attributes.

    Operands and further results that are absent have empty names.
    """

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rewire:
    """Whoever used `value` uses `replacement`, the new nodes themselves left out."""

    value: str
    replacement: str


@dataclass(frozen=True)
class Edit:
    """A planned change of a model.

    Attributes:
        structure: Widths and layers of the model that it was planned for.
        maps: Applied in order to the tensors, and in the same way to the optimizer's moments.
        values: Final values of tensors, after the maps, where maps alone do not say them.
        added: New initializers by name.
        nodes: New nodes, in any order.
        rewires: Who uses what afterwards.
    """

    structure: Structure
    maps: tuple[AxisMap, ...] = ()
    values: Mapping[str, Array] = field(default_factory=dict)
    added: Mapping[str, Array] = field(default_factory=dict)
    nodes: tuple[NodeSpec, ...] = ()
    rewires: tuple[Rewire, ...] = ()

    def __post_init__(self) -> None:
        """Refuse maps that would do nothing.

        Raises:
            ValueError: A dim is not on the axis that a map names: it is that of another structure, or of another axis.
        """
        for m in self.maps:
            if m.dim not in leaves(self.structure.term(m.tensor, m.axis)):
                message = f"the dim of a map is not on axis {m.axis} of {m.tensor!r}; plan the edit with the structure that it is for"
                raise ValueError(message)

    @property
    def resized(self) -> dict[Dim, int]:
        """New size of every dim that changes."""
        return {m.dim: m.map.size for m in self.maps}

    def mapped(self, tensor: str, array: Array, kind: Kind = "values") -> Array:
        """An array that belongs to an initializer after the maps of that initializer.

        Args:
            tensor: The initializer.
            array: Of its shape: its values or a moment.
            kind: What it holds.
        """
        per_axis: dict[int, dict[Dim, int]] = {}
        for m in self.maps:
            if m.tensor == tensor:
                done = per_axis.setdefault(m.axis, {})
                array = map_axis(array, m.axis, self.structure.term(tensor, m.axis), m.dim, m.of(kind), done)
                done[m.dim] = m.map.size
        return array
