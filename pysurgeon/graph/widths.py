"""Widths: what can be resized, under which name, and what has to follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph.inference import Inference, Read
from pysurgeon.graph.layers import Layer, Names, layers
from pysurgeon.graph.model import Model
from pysurgeon.graph.terms import Dim, Sum, Term, leaves, size


@dataclass(frozen=True)
class Width:
    """A class of axes that must be resized together.

    Attributes:
        name: The layer that writes it, as `inspect` prints it.
        size: Number of units.
        multiple: Elements of the first writer's axis that one unit stands for (in a grouped convolution, one more filter
            in each group is `group` more filters).
        resizable: Whether it can be resized.
        exact: Whether it can be widened without changing the function.
        reason: Why it cannot be resized; empty if it can.
        writers: (tensor, axis) pairs whose rows make the units: filters, biases, norm parameters.
        readers: (tensor, axis) pairs that are contracted with the units.
        dim: The dim of the inference that it stands for.
        reads: Where the readers meet the activations.
    """

    name: str
    size: int
    multiple: int
    resizable: bool
    exact: bool
    reason: str
    writers: tuple[tuple[str, int], ...]
    readers: tuple[tuple[str, int], ...]
    dim: Dim = field(repr=False)
    reads: tuple[Read, ...] = field(repr=False)


class Structure:
    """The widths and layers of one model, inferred once.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.inference = Inference(model)
        self.layers: tuple[Layer, ...] = tuple(layers(model))
        self.widths: tuple[Width, ...] = tuple(self._widths())

    def width(self, name: str) -> Width:
        """The width of this name.

        Raises:
            Refused: There is none.
        """
        for width in self.widths:
            if width.name == name:
                return width
        message = f"there is no width {name!r}; this model has {_some([w.name for w in self.widths])}"
        raise Refused(message)

    def layer(self, name: str) -> Layer:
        """The layer of this name.

        Raises:
            Refused: There is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        message = f"there is no layer {name!r}; this model has {_some([x.name for x in self.layers])}"
        raise Refused(message)

    def term(self, tensor: str, axis: int) -> Term:
        """The term of an initializer's axis."""
        return self.inference.resolved(self.model.ir.graph.initializers[tensor])[axis]

    def value_term(self, name: str, axis: int) -> Term:
        """The term of the axis of any value."""
        return self.inference.resolved(self._values[name])[axis]

    @cached_property
    def _values(self) -> dict[str, ir.Value]:
        graph = self.model.ir.graph
        named = {str(v.name): v for v in graph.inputs} | dict(graph.initializers)
        return named | {str(o.name): o for node in graph for o in node.outputs}

    def _widths(self) -> Iterator[Width]:
        writers: dict[Dim, list[tuple[str, int]]] = {}
        readers: dict[Dim, list[tuple[str, int]]] = {}
        for tensor, value in self.model.ir.graph.initializers.items():
            if value.const_value is None or not value.uses():
                continue
            for axis, term in enumerate(self.inference.resolved(value)):
                for dim in dict.fromkeys(leaves(term)):
                    side = readers if self.inference.is_read(tensor, axis) else writers
                    side.setdefault(dim, []).append((tensor, axis))
        names = Names()
        for dim, layer, place in self._named(set(writers) | set(readers)):
            yield self._width(dim, names.unique(place), layer, writers.get(dim, []), readers.get(dim, []))

    def _named(self, dims: set[Dim]) -> Iterator[tuple[Dim, Layer, str]]:
        """Every dim that a layer writes, in topological order of the layers, with the name it gets from there."""
        seen: set[Dim] = set()
        for layer in self.layers:
            rank = len(self.inference.resolved(self.model.ir.graph.initializers[layer.weight]))
            for axis in range(rank):
                if self.inference.is_read(layer.weight, axis):
                    continue
                for position, dim in enumerate(leaves(self.term(layer.weight, axis))):
                    if dim in dims and dim not in seen and not self._is_kernel(layer, axis):
                        seen.add(dim)
                        yield dim, layer, layer.name if position == 0 else f"{layer.name}.inner"

    @staticmethod
    def _is_kernel(layer: Layer, axis: int) -> bool:
        return layer.operator == "Conv" and axis >= 2

    def _width(
        self, dim: Dim, name: str, layer: Layer, writers: list[tuple[str, int]], readers: list[tuple[str, int]]
    ) -> Width:
        reasons = list(self.inference.solver.reasons(dim))
        if dim.size is None:
            reasons.append("its size is not known")
        for tensor, _ in (*writers, *readers):
            value = self.model.ir.graph.initializers[tensor]
            if value.is_graph_input():
                reasons.append(f"its tensor {tensor!r} is also a graph input, so whoever runs the model may replace it")
            elif self.model.tensor(tensor).dtype != np.float32:
                reasons.append(f"its tensor {tensor!r} is {self.model.tensor(tensor).dtype}, not float32")
        if not readers and not reasons:
            reasons.append("nothing with a weight reads it")
        return Width(
            name=name,
            size=dim.size or 0,
            multiple=self._multiple(dim, layer),
            resizable=not reasons,
            exact=not reasons,
            reason="; ".join(dict.fromkeys(reasons)),
            writers=tuple(writers),
            readers=tuple(readers),
            dim=dim,
            reads=tuple(r for r in self.inference.reads if (r.tensor, r.axis) in readers),
        )

    def _multiple(self, dim: Dim, layer: Layer) -> int:
        rank = len(self.inference.resolved(self.model.ir.graph.initializers[layer.weight]))
        for axis in range(rank):
            count = _elements_per_unit(self.term(layer.weight, axis), dim)
            if count and not self.inference.is_read(layer.weight, axis):
                return count
        return 1


def _elements_per_unit(term: Term, dim: Dim) -> int:
    if isinstance(term, Dim):
        return 1 if term is dim else 0
    if isinstance(term, Sum):
        return sum(_elements_per_unit(part, dim) for part in term.parts)
    total = 0
    for k, factor in enumerate(term.factors):
        inside = _elements_per_unit(factor, dim)
        if inside:
            others = 1
            for j, other in enumerate(term.factors):
                if j != k:
                    others *= size(other) or 1
            total += inside * others
    return total


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
