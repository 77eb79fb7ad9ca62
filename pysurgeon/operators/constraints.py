"""What an operator's rule states of the sizes of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pysurgeon.graph.nodes import describe, key
from pysurgeon.graph.shape_arithmetic import Origin
from pysurgeon.graph.tensors import PASSING, dimension_name, sizes
from pysurgeon.graph.terms import Dim, Mark, Term
from pysurgeon.graph.unification import Solver


@dataclass(frozen=True)
class Read:
    """An initializer axis that is contracted with the axis of an activation.

    Attributes:
        tensor: Name of the initializer.
        axis: Its contracted axis.
        value: Name of the activation it is contracted with.
        value_axis: The activation's axis.
        node: Name of an output of the contracting node (see `key`).
    """

    tensor: str
    axis: int
    value: str
    value_axis: int
    node: str


@dataclass(frozen=True)
class Product:
    """Two computed values that are contracted with one another, as queries and keys are: each reads the other.

    Attributes:
        value: Name of the one.
        axis: Its contracted axis.
        other: Name of the other.
        other_axis: Its contracted axis.
        term: What is contracted.
        node: Name of an output of the contracting node.
    """

    value: str
    axis: int
    other: str
    other_axis: int
    term: Term
    node: str


@dataclass(frozen=True)
class ShapeConstant:
    """An element of a constant operand that holds the size of a term (or minus it).

    Attributes:
        place: Where it is written down.
        term: The term.
        sign: 1 or -1.
    """

    place: Origin
    term: Term
    sign: int = 1


@dataclass(frozen=True)
class SizeAttribute:
    """An attribute, or one element of it, that holds the size of a term; `node` names an output of the node."""

    node: str
    name: str
    term: Term
    element: int | None = None
    sign: int = 1


class Constraints:
    """What operator rules talk to.

    A rule states equations (`equal`), contractions (`contract`), sizes that are written down in the graph
    (`shape_constant`, `attribute`), what must keep its size (`pin`) and what runs along an axis (`average`, `change`). Whatever
    it does not state is not assumed.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.solver = Solver()
        self.reads: list[Read] = []
        self.products: list[Product] = []
        self.shape_constants: list[ShapeConstant] = []
        self.size_attributes: list[SizeAttribute] = []
        self._terms: dict[ir.Value, tuple[Term, ...]] = {}
        self._contractions: dict[tuple[str, int], int] = {}
        self._averages: list[tuple[Term, str]] = []
        self.malformed: set[ir.Node] = set()

    def terms(self, value: ir.Value | None) -> tuple[Term, ...]:
        """The term of every axis of a value; none for a scalar, an absent operand or an unknown rank."""
        if value is None:
            return ()
        known = self._terms.get(value)
        if known is None:
            known = tuple(
                self.solver.fresh(d) if isinstance(d, int) else self.solver.fresh(None, dimension_name(d))
                for d in value.shape or ()
            )
            self._terms[value] = known
        return known

    def resolved(self, value: ir.Value) -> tuple[Term, ...]:
        """The terms of a value after unification; empty if its rank is unknown."""
        return tuple(self.solver.resolve(t) for t in self.terms(value))

    def fresh(self, size: int | None) -> Dim:
        """A new dim."""
        return self.solver.fresh(size)

    def equal(self, a: Term, b: Term, node: ir.Node) -> None:
        """State that two terms are the same."""
        self.solver.unify(a, b, describe(node))

    def equal_all(self, a: Sequence[Term], b: Sequence[Term], node: ir.Node) -> None:
        """State that the terms of two lists are the same, one by one."""
        for x, y in zip(a, b, strict=True):
            self.solver.unify(x, y, describe(node))

    def same(self, a: Term, b: Term) -> bool:
        """Whether two terms are known to be the same so far."""
        return self.solver.resolve(a) == self.solver.resolve(b)

    def pin(self, term: Term, reason: str) -> None:
        """State that a term keeps its size, with the reason as a clause."""
        self.solver.pin(term, reason)

    def pin_all(self, terms: Sequence[Term], reason: str) -> None:
        """State that several terms keep their sizes."""
        for term in terms:
            self.solver.pin(term, reason)

    def average(self, term: Term, node: ir.Node) -> None:
        """State that a node averages along a term: whole multiples of it are alike, nothing else is."""
        self._averages.append((term, f"{describe(node)} averages along it"))

    def change(self, term: Term, reason: str) -> None:
        """State that no resizing along a term leaves what is computed as it was."""
        self.solver.mark(term, Mark("changed", reason))

    def pin_node(self, node: ir.Node, reason: str) -> None:
        """Pin every axis of every input and output of a node."""
        for value in (*node.inputs, *node.outputs):
            self.pin_all(self.terms(value), reason)

    def pin_malformed(self, node: ir.Node, error: Exception) -> None:
        """Pin every axis of a node that its operator's rule cannot be applied to."""
        said = " ".join(str(error).split())[:80]
        reason = (
            f"{describe(node)} is not formed as its operator is ({type(error).__name__}{': ' if said else ''}{said})"
        )
        self.pin_node(node, reason)
        self.malformed.add(node)

    def contract(self, node: ir.Node, a: ir.Value, a_axis: int, b: ir.Value, b_axis: int, term: Term) -> None:
        """State that an axis of one value is contracted with an axis of another; `term` is what both cover there."""
        root_a, root_b = self._root(a, a_axis), self._root(b, b_axis)
        if root_a is not None and root_b is not None:
            self.pin(term, f"it is contracted in {describe(node)}, where both operands are constants")
        elif root_a is None and root_b is None:
            self.products.append(Product(str(a.name), a_axis, str(b.name), b_axis, term, key(node)))
        else:
            (tensor, axis), value, value_axis = (root_b, a, a_axis) if root_b is not None else (root_a, b, b_axis)  # type: ignore[misc]
            self._contractions[tensor, axis] = self._contractions.get((tensor, axis), 0) + 1
            self.reads.append(Read(tensor, axis, str(value.name), value_axis, key(node)))

    def shape_constant(self, node: ir.Node, position: int, element: int, term: Term, *, sign: int = 1) -> None:
        """State that an element of a constant operand holds the size of a term."""
        self.shape_constants.append(ShapeConstant(Origin(key(node), position, element), term, sign))

    def written_at(self, place: Origin, term: Term) -> None:
        """State that a literal somewhere in the graph's shape arithmetic holds the size of a term."""
        self.shape_constants.append(ShapeConstant(place, term))

    def attribute(self, node: ir.Node, name: str, term: Term, *, element: int | None = None, sign: int = 1) -> None:
        """State that an attribute, or an element of it, holds the size of a term."""
        self.size_attributes.append(SizeAttribute(key(node), name, term, element, sign))

    def is_read(self, tensor: str, axis: int) -> bool:
        """Whether this axis of an initializer is contracted wherever the initializer is used."""
        return (tensor, axis) in self._contractions

    def _root(self, value: ir.Value, axis: int) -> tuple[str, int] | None:
        """The initializer axis behind a value's axis, through transpositions."""
        while True:
            if value.is_initializer():
                return str(value.name), axis
            producer = value.producer()
            if producer is None or producer.domain != "" or not producer.inputs or producer.inputs[0] is None:
                return None
            if producer.op_type == "Transpose":
                rank = len(sizes(value) or ())
                axis = list(producer.attributes.get_ints("perm", tuple(range(rank))[::-1]))[axis]
            elif producer.op_type not in PASSING:
                return None
            value = producer.inputs[0]
