"""Width inference: collect the equations of all operators, unify, and read off what must be resized together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from pysurgeon.graph._shape_arithmetic import Origin
from pysurgeon.graph._tensors import PASSING, constant, count_uses, dimension_name, sizes
from pysurgeon.graph.model import Model
from pysurgeon.graph.registry import lookup
from pysurgeon.graph.terms import Dim, Mark, Prod, Solver, Sum, Term, leaves, prod


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


class Inference:
    """What operator rules talk to.

    A rule states equations (`equal`), contractions (`contract`), sizes that are written down in the graph
    (`shape_constant`, `attribute`), what must keep its size (`pin`) and what runs along an axis (`average`, `change`). Whatever
    it does not state is not assumed.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.solver = Solver()
        self.reads: list[Read] = []
        self.products: list[Product] = []
        self.shape_constants: list[ShapeConstant] = []
        self.size_attributes: list[SizeAttribute] = []
        self._terms: dict[ir.Value, tuple[Term, ...]] = {}
        self._contractions: dict[tuple[str, int], int] = {}
        self._averages: list[tuple[Term, str]] = []
        self.malformed: set[ir.Node] = set()
        self._run()

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

    @cached_property
    def nodes(self) -> dict[str, ir.Node]:
        """The nodes of the graph by the names of their outputs."""
        return {str(o.name): node for node in self.model.ir.graph for o in node.outputs}

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

    def _run(self) -> None:
        graph = self.model.ir.graph
        for value in graph.inputs:
            self.pin_all(self.terms(value), f"it is an axis of the graph input {value.name!r}")
        for node in graph:
            self._apply(node)
        for value in graph.outputs:
            self.pin_all(self.terms(value), f"it is an axis of the graph output {value.name!r}")
        for value in self._all_values():
            if any(use.graph is not graph for use, _ in value.uses()):
                self.pin_all(self.terms(value), f"{value.name!r} is used inside a subgraph, which is not looked into")
        for name, value in graph.initializers.items():
            self._check_sharing(name, value)
        self._check_literals()
        for term, reason in self._averages:
            self._mark_average(self.solver.resolve(term), reason)

    def _mark_average(self, term: Term, reason: str) -> None:
        """Of parts that stand side by side, all would have to be multiplied at once, which no single width does."""
        if isinstance(term, Prod):
            for factor in term.factors:
                self._mark_average(factor, reason)
        elif isinstance(term, Sum) and len(set(leaves(term))) > 1:
            self.solver.mark(term, Mark("changed", f"{reason}, together with what stands beside it"))
        else:
            self.solver.mark(term, Mark("averaged", reason))

    def _all_values(self) -> Iterator[ir.Value]:
        graph = self.model.ir.graph
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs

    def _apply(self, node: ir.Node) -> None:
        operator = lookup(node)
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            self.pin_node(node, f"{describe(node)} holds a subgraph, which is not looked into")
        elif operator is None:
            self.pin_node(node, f"{describe(node)}: this operator{_of_domain(node)} is not known")
        else:
            unknown = [v.name for v in (*node.inputs, *node.outputs) if v is not None and v.name and sizes(v) is None]
            if unknown:
                self.pin_node(node, f"{describe(node)}: the shape of {unknown[0]!r} is not known{_whose_fault(node)}")
            else:
                operator.state(self, node)

    def _check_sharing(self, name: str, value: ir.Value) -> None:
        uses: int | None = None
        for axis, term in enumerate(self.terms(value)):
            reads = self._contractions.get((name, axis), 0)
            if not reads:
                continue
            uses = count_uses(value) if uses is None else uses
            if reads < uses:
                del self._contractions[name, axis]  # it is not only read, so the width is shown where it is written
                self.change(
                    term, f"the tensor {name!r} is shared: it writes this width in one place and reads it in another"
                )

    def _check_literals(self) -> None:
        """One literal may serve several nodes; it can hold one size only."""
        at: dict[Origin, ShapeConstant] = {}
        for constant_ in self.shape_constants:
            first = at.setdefault(constant_.place, constant_)
            if first.sign != constant_.sign or not self.same(first.term, constant_.term):
                for term in (first.term, constant_.term):
                    self.pin(term, "its size is written down in one place together with that of something else")


def describe(node: ir.Node) -> str:
    """A node as a user knows it."""
    return f"{node.op_type} {node.name!r}" if node.name else f"the {node.op_type} that gives {key(node)!r}"


def _of_domain(node: ir.Node) -> str:
    return f" of {node.domain!r}" if node.domain else ""


def _whose_fault(node: ir.Node) -> str:
    """The nearest operator before a node that is not known, as a clause; empty where there is none."""
    waiting, seen = [node], {node}
    while waiting:
        current = waiting.pop(0)
        if lookup(current) is None:
            return f", since {describe(current)}{_of_domain(current)} is not"
        before = [p for v in current.inputs if v is not None and (p := v.producer()) is not None and p not in seen]
        seen.update(before)
        waiting += before
    return ""


def key(node: ir.Node) -> str:
    """A name of a node that every node has: that of its first output that has one."""
    return next((str(o.name) for o in node.outputs if o.name), "")


def product(terms: Sequence[Term]) -> Term:
    """The term of several axes flattened into one."""
    return prod(list(terms))


def static(value: ir.Value | None) -> list[int] | None:
    """A constant operand (axes, shape, ...) as a list of integers."""
    array = constant(value)
    return None if array is None else [int(k) for k in array.reshape(-1)]


def operand(node: ir.Node, position: int) -> ir.Value | None:
    """An operand that may be absent."""
    return node.inputs[position] if position < len(node.inputs) else None
