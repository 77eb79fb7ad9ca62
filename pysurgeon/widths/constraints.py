"""The constraints of a model: what the rules of all its operators state, unified."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import onnx_ir as ir

from pysurgeon.graph.nodes import describe
from pysurgeon.graph.shape_arithmetic import Origin
from pysurgeon.graph.tensors import count_uses, sizes
from pysurgeon.graph.terms import Mark, Prod, Sum, Term, leaves
from pysurgeon.model.model import Model
from pysurgeon.operators import lookup
from pysurgeon.operators.constraints import Constraints, ShapeConstant


class WidthConstraints(Constraints):
    """The constraints of all nodes of a model, unified."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.opset)
        self.model = model
        self._run()

    @cached_property
    def nodes(self) -> dict[str, ir.Node]:
        """The nodes of the graph by the names of their outputs."""
        return {str(o.name): node for node in self.model.ir.graph for o in node.outputs}

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
