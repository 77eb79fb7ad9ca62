"""Width inference: collect the equations of all operators, unify, and read off what must be resized together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pysurgeon.graph._tensors import PASSING, constant, count_uses
from pysurgeon.graph.model import Model, sizes
from pysurgeon.graph.registry import lookup
from pysurgeon.graph.terms import Dim, Prod, Solver, Term


@dataclass(frozen=True)
class Read:
    """An initializer axis that is contracted with the axis of an activation.

    Attributes:
        tensor: Name of the initializer.
        axis: Its contracted axis.
        value: Name of the activation it is contracted with.
        value_axis: The activation's axis.
        node: Name of the first output of the contracting node.
    """

    tensor: str
    axis: int
    value: str
    value_axis: int
    node: str


@dataclass(frozen=True)
class ShapeConstant:
    """An element of a shape operand that holds the size of a term: `node` is the first output of the node."""

    node: str
    position: int
    element: int
    term: Term


@dataclass(frozen=True)
class SizeAttribute:
    """An attribute that holds the size of a term: `node` is the first output of the node."""

    node: str
    name: str
    term: Term


class Inference:
    """What operator rules talk to.

    A rule states equations (`equal`), contractions (`contract`), sizes that are written down in the graph
    (`shape_constant`, `attribute`) and what must keep its size (`pin`). Whatever it does not state is not assumed.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.solver = Solver()
        self.reads: list[Read] = []
        self.shape_constants: list[ShapeConstant] = []
        self.size_attributes: list[SizeAttribute] = []
        self._terms: dict[ir.Value, tuple[Term, ...]] = {}
        self._contractions: dict[tuple[str, int], int] = {}
        self._run()

    def terms(self, value: ir.Value) -> tuple[Term, ...] | None:
        """The term of every axis of a value; `None` if its rank is unknown."""
        known = self._terms.get(value)
        if known is None:
            shape = sizes(value)
            if shape is None:
                return None
            known = tuple(self.solver.fresh(s) for s in shape)
            self._terms[value] = known
        return known

    def resolved(self, value: ir.Value) -> tuple[Term, ...]:
        """The terms of a value after unification; empty if its rank is unknown."""
        return tuple(self.solver.resolve(t) for t in self.terms(value) or ())

    def fresh(self, size: int | None) -> Dim:
        """A new dim."""
        return self.solver.fresh(size)

    def equal(self, a: Term, b: Term, node: ir.Node) -> None:
        """State that two terms are the same."""
        self.solver.unify(a, b, describe(node))

    def same(self, a: Term, b: Term) -> bool:
        """Whether two terms are known to be the same so far."""
        return self.solver.resolve(a) == self.solver.resolve(b)

    def pin(self, term: Term, reason: str) -> None:
        """State that a term keeps its size, with the reason as a clause."""
        self.solver.pin(term, reason)

    def pin_node(self, node: ir.Node, reason: str) -> None:
        """Pin every axis of every input and output of a node."""
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                for term in self.terms(value) or ():
                    self.pin(term, reason)

    def contract(
        self, node: ir.Node, value: ir.Value, axis: int, weight: ir.Value, weight_axis: int, term: Term
    ) -> None:
        """State that an activation's axis is contracted with a weight's axis; `term` is what the weight's axis covers."""
        root = self._root(weight, weight_axis)
        if root is None or (root_of_value := self._root(value, axis)) is not None:
            both = root is not None
            self.pin(
                term,
                f"it is contracted in {describe(node)}, where "
                + (
                    "both operands are constants"
                    if both and root_of_value
                    else "neither operand is a weight of the file"
                ),
            )
            return
        tensor, tensor_axis = root
        self._contractions[tensor, tensor_axis] = self._contractions.get((tensor, tensor_axis), 0) + 1
        self.reads.append(Read(tensor, tensor_axis, str(value.name), axis, str(node.outputs[0].name)))

    def shape_constant(self, node: ir.Node, position: int, element: int, term: Term) -> None:
        """State that an element of a constant operand holds the size of a term."""
        self.shape_constants.append(ShapeConstant(str(node.outputs[0].name), position, element, term))

    def attribute(self, node: ir.Node, name: str, term: Term) -> None:
        """State that an attribute holds the size of a term."""
        self.size_attributes.append(SizeAttribute(str(node.outputs[0].name), name, term))

    def is_read(self, tensor: str, axis: int) -> bool:
        """Whether this axis of an initializer is contracted wherever the initializer is used."""
        return (tensor, axis) in self._contractions

    def _root(self, value: ir.Value, axis: int) -> tuple[str, int] | None:
        """The initializer axis behind a value's axis, through transpositions."""
        while True:
            if value.is_initializer():
                return str(value.name), axis
            producer = value.producer()
            if producer is None or producer.domain != "" or producer.inputs[0] is None:
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
            for term in self.terms(value) or ():
                self.pin(term, f"it is an axis of the graph input {value.name!r}")
        for node in graph:
            self._apply(node)
        for value in graph.outputs:
            for term in self.terms(value) or ():
                self.pin(term, f"it is an axis of the graph output {value.name!r}")
        for value in self._all_values():
            if any(use.graph is not graph for use, _ in value.uses()):
                for term in self.terms(value) or ():
                    self.pin(term, f"{value.name!r} is used inside a subgraph, which is not looked into")
        for name, value in graph.initializers.items():
            self._check_sharing(name, value)

    def _all_values(self) -> Iterator[ir.Value]:
        graph = self.model.ir.graph
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs

    def _apply(self, node: ir.Node) -> None:
        unknown_rank = [v.name for v in (*node.inputs, *node.outputs) if v is not None and sizes(v) is None]
        operator = lookup(node)
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            self.pin_node(node, f"{describe(node)} holds a subgraph, which is not looked into")
        elif operator is None:
            self.pin_node(node, f"{describe(node)}: this operator is not known")
        elif unknown_rank:
            self.pin_node(node, f"{describe(node)}: the shape of {unknown_rank[0]!r} is not known")
        else:
            operator.infer(self, node)

    def _check_sharing(self, name: str, value: ir.Value) -> None:
        uses = count_uses(value)
        for axis, term in enumerate(self.terms(value) or ()):
            reads = self._contractions.get((name, axis), 0)
            if 0 < reads < uses:
                del self._contractions[name, axis]  # it is not only read, so the width is shown where it is written
                self.pin(
                    term, f"the tensor {name!r} is shared: it writes this width in one place and reads it in another"
                )


def describe(node: ir.Node) -> str:
    """A node as a user knows it."""
    return f"{node.op_type} {node.name!r}" if node.name else f"the {node.op_type} that gives {node.outputs[0].name!r}"


def product(terms: Sequence[Term]) -> Term:
    """The term of several axes flattened into one."""
    return terms[0] if len(terms) == 1 else Prod(tuple(terms))


def static(value: ir.Value | None) -> list[int] | None:
    """A constant operand (axes, shape, ...) as a list of integers."""
    array = constant(value)
    return None if array is None else [int(k) for k in array.reshape(-1)]
