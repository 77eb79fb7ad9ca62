"""Widths: what can be resized, under which name, and what has to follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph.names import Names, some
from pysurgeon.graph.tensors import PASSING
from pysurgeon.graph.terms import Dim, Mark, Sum, Term, leaves, size
from pysurgeon.model.layers import Layer, layer_name, layers
from pysurgeon.model.model import Model
from pysurgeon.operators import lookup
from pysurgeon.operators.constraints import Product, Read
from pysurgeon.widths.constraints import WidthConstraints
from pysurgeon.widths.scale_exponents import Carriers, Exponents, Unsolvable


@dataclass(frozen=True)
class Width:
    """A class of axes that must be resized together.

    Attributes:
        name: The layer that writes it, as `inspect` prints it.
        size: Number of units.
        multiple: Elements of the first writer's axis that one unit stands for (in a grouped convolution, one more filter
            in each group is `group` more filters).
        resizable: Whether it can be resized.
        exact: Whether it can be widened to any size without changing the function.
        reason: Why it cannot be resized, or not exactly; empty if it can.
        writers: (tensor, axis) pairs whose rows make the units: filters, biases, norm parameters.
        readers: (tensor, axis) pairs that are contracted with the units.
        averaged: Whether an operator averages along it, so that it can be widened exactly to whole multiples.
        exponents: By (tensor, axis), which power of a copy's share it is multiplied with (see `shares`).
        dim: The dim of the inference that it stands for.
        reads: Where the readers meet the activations.
        products: Where activations that hold the units are contracted with one another.
    """

    name: str
    size: int
    multiple: int
    resizable: bool
    exact: bool
    reason: str
    writers: tuple[tuple[str, int], ...]
    readers: tuple[tuple[str, int], ...]
    averaged: bool
    exponents: Exponents = field(repr=False)
    dim: Dim = field(repr=False)
    reads: tuple[Read, ...] = field(repr=False)
    products: tuple[Product, ...] = field(repr=False)


class Structure:
    """The widths and layers of one model, inferred once.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.constraints = WidthConstraints(model)
        self.layers: tuple[Layer, ...] = tuple(x for x in layers(model) if x.node not in self.constraints.malformed)
        self.widths: tuple[Width, ...] = tuple(self._widths())

    def width(self, name: str) -> Width:
        """The width of this name.

        Raises:
            Refused: There is none.
        """
        for width in self.widths:
            if width.name == name:
                return width
        message = f"there is no width {name!r}; this model has {some([w.name for w in self.widths])}"
        raise Refused(message)

    def layer(self, name: str) -> Layer:
        """The layer of this name.

        Raises:
            Refused: There is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        message = f"there is no layer {name!r}; this model has {some([x.name for x in self.layers])}"
        raise Refused(message)

    def term(self, tensor: str, axis: int) -> Term:
        """The term of an initializer's axis."""
        return self.constraints.resolved(self.model.ir.graph.initializers[tensor])[axis]

    def value(self, name: str) -> ir.Value:
        """The value of this name."""
        return self._values[name]

    def value_term(self, name: str, axis: int) -> Term:
        """The term of the axis of any value."""
        return self.constraints.resolved(self._values[name])[axis]

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
            for axis, term in enumerate(self.constraints.resolved(value)):
                for dim in dict.fromkeys(leaves(term)):
                    side = readers if self.constraints.is_read(tensor, axis) else writers
                    side.setdefault(dim, []).append((tensor, axis))
        reads: dict[tuple[str, int], list[Read]] = {}
        for read in self.constraints.reads:
            reads.setdefault((read.tensor, read.axis), []).append(read)
        products: dict[Dim, list[Product]] = {}
        for product in self.constraints.products:
            for dim in dict.fromkeys(leaves(self.constraints.solver.resolve(product.term))):
                products.setdefault(dim, []).append(product)
        names = Names()
        for dim, place, tensor, axis in self._named(writers, readers, set(products)):
            yield self._width(
                dim,
                names.unique(place),
                self._multiple(dim, tensor, axis),
                writers.get(dim, []),
                readers.get(dim, []),
                tuple(r for at in (*readers.get(dim, []), *writers.get(dim, [])) for r in reads.get(at, ())),
                tuple(products.get(dim, ())),
            )

    def _named(
        self,
        writers: dict[Dim, list[tuple[str, int]]],
        readers: dict[Dim, list[tuple[str, int]]],
        products: set[Dim],
    ) -> Iterator[tuple[Dim, str, str, int]]:
        """Every dim that is written, with the name it gets from there, and the (tensor, axis) that writes it.

        Plain layers in topological order come first; what none of them writes is named after the node that uses its first writer.
        """
        seen: set[Dim] = set()
        for layer in self.layers:
            if layer.operator not in _FIRST:
                continue
            for axis in range(len(self.model.ir.graph.initializers[layer.weight].shape or ())):
                if self.constraints.is_read(layer.weight, axis) or self._is_kernel(layer, axis):
                    continue
                for position, dim in enumerate(leaves(self.term(layer.weight, axis))):
                    if dim not in seen and (dim in writers or dim in readers):
                        seen.add(dim)
                        yield dim, layer.name if position == 0 else f"{layer.name}.inner", layer.weight, axis
        for dim, places in writers.items():
            if dim in seen:
                continue
            pinned = any(m.effect == "pinned" for m in self.constraints.solver.marks(dim))
            for tensor, axis in places:
                value = self.model.ir.graph.initializers[tensor]
                user = _user(value)
                free = not pinned and (dim in readers or dim in products)
                if free or (_holds_parameters(user) and value.dtype is not None and value.dtype.is_floating_point()):
                    yield dim, layer_name(user, tensor), tensor, axis
                    break

    @staticmethod
    def _is_kernel(layer: Layer, axis: int) -> bool:
        return layer.on_images and axis >= 2

    @cached_property
    def _carriers(self) -> Carriers:
        return Carriers(self.constraints)

    def _width(
        self,
        dim: Dim,
        name: str,
        multiple: int,
        writers: list[tuple[str, int]],
        readers: list[tuple[str, int]],
        reads: tuple[Read, ...],
        products: tuple[Product, ...],
    ) -> Width:
        marks = self.constraints.solver.marks(dim)
        pins = [m.reason for m in marks if m.effect == "pinned"]
        if dim.size is None:
            pins.append("its size is not known")
        elif not dim.size:
            pins.append("it has no units that there could be more or fewer of")
        pins += self._tensor_reasons([t for t, _ in (*writers, *readers)], {t for t, _ in writers})
        if not reads and not products and not pins:
            pins.append("nothing with a weight reads it")
        exponents: Exponents | None = None
        if not pins:
            try:
                exponents = self._carriers.exponents(dim)
            except Unsolvable as reason:
                marks = (*marks, Mark("changed", str(reason)))
        changes = [m.reason for m in marks if m.effect == "changed"]
        averages = [m.reason for m in marks if m.effect == "averaged"]
        reasons = pins or changes or averages
        return Width(
            name=name,
            size=dim.size or 0,
            multiple=multiple,
            resizable=not pins,
            exact=not reasons,
            reason="; ".join(dict.fromkeys(reasons)),
            writers=tuple(writers),
            readers=tuple(readers),
            averaged=bool(averages) and not pins and not changes,
            exponents=exponents
            if exponents is not None
            else dict.fromkeys(writers, Fraction(0)) | dict.fromkeys(readers, Fraction(1)),
            dim=dim,
            reads=reads,
            products=products,
        )

    def _tensor_reasons(self, tensors: list[str], written: set[str]) -> Iterator[str]:
        for tensor in dict.fromkeys(tensors):
            value = self.model.ir.graph.initializers[tensor]
            dtype = None if value.dtype in (None, ir.DataType.UNDEFINED) else value.dtype.numpy()
            if value.is_graph_input():
                yield f"its tensor {tensor!r} is also a graph input, so whoever runs the model may replace it"
            elif dtype is None or not (dtype == np.float32 or (dtype.kind in "biu" and tensor in written)):
                yield f"its tensor {tensor!r} is {dtype}, not float32"

    def _multiple(self, dim: Dim, tensor: str, axis: int) -> int:
        return _elements_per_unit(self.term(tensor, axis), dim) or 1


# Layers that widths are named after first: of their weights' axes, one is written and none counts gates or directions.
_FIRST = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def _holds_parameters(node: ir.Node) -> bool:
    """Whether a node works with a weight that is more or less than a matrix, as an embedding or a recurrent cell does."""
    operator = lookup(node)
    return operator is not None and bool(operator.parameters) and not (operator.elementwise or node.op_type in _FIRST)


def _user(value: ir.Value) -> ir.Node:
    """The first node that works with a tensor, behind what only passes it on."""
    node = next(iter(value.uses())).node
    while node.op_type in PASSING and node.outputs[0].uses():
        node = next(iter(node.outputs[0].uses())).node
    return node


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
