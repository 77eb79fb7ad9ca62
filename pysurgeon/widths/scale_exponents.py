r"""Who carries the share of a unit that was split.

A unit that is split into copies with shares a_1 + a_2 + ... = 1 keeps the function if, along every way from where it is written to
where it is read, the copies come to be multiplied by their share exactly once. Mostly the readers' weights are: what is written is
copied as it is, so that it may pass through any nonlinearity. But where two computed values are contracted with one another, as
queries and keys are, one of them has to bring the share along, or both the root of it.

So every value v that holds the units has an exponent e(v): copy i of a unit in it is a_i^e(v) times the unit. Operators state
equations between exponents (`Scaling`): equal for what only moves elements, their sum for a product, zero for what is not
homogeneous. A contraction states that the two exponents sum to one. This is a linear system; its solution gives the exponent of
every tensor, zero wherever it is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import onnx_ir as ir

from pysurgeon.graph.nodes import describe, key
from pysurgeon.graph.terms import Dim, leaves
from pysurgeon.operators import lookup
from pysurgeon.operators.operator import Scaling
from pysurgeon.widths.constraints import WidthConstraints

# By (tensor, axis).
Exponents = dict[tuple[str, int], Fraction]

_ONE = ""  # the constant of an equation, among the names of its unknowns


class Unsolvable(Exception):  # noqa: N818 (it is an answer, not a fault)
    """There are no exponents; the message says why, as a clause."""


class Carriers:
    """Where the units of every dim go, for the dims that two computed values are contracted along.

    Args:
        inference: Of the model, complete.
    """

    def __init__(self, inference: WidthConstraints) -> None:
        self._inference = inference
        self._contracted: dict[Dim, dict[str, list[tuple[str, str]]]] = {}
        for product in inference.products:
            for dim in leaves(inference.solver.resolve(product.term)):
                at = self._contracted.setdefault(dim, {}).setdefault(product.node, [])
                at.append((product.value, product.other))
        self._nodes: dict[Dim, list[ir.Node]] = {}
        if self._contracted:
            self._visit()

    def _visit(self) -> None:
        for read in self._inference.reads:
            tensor = self._inference.model.ir.graph.initializers[read.tensor]
            for dim in leaves(self._inference.resolved(tensor)[read.axis]):
                if dim in self._contracted:
                    node = self._inference.nodes[read.node]
                    weight = next((str(v.name) for v in node.inputs if v is not None and v.name != read.value), "")
                    self._contracted[dim].setdefault(read.node, []).append((read.value, weight))
        for node in self._inference.model.ir.graph:
            for dim in dict.fromkeys(d for v in _values(node) for t in self._inference.resolved(v) for d in leaves(t)):
                if dim in self._contracted:
                    self._nodes.setdefault(dim, []).append(node)

    def exponents(self, dim: Dim) -> Exponents | None:
        """The exponent of every tensor that holds the units of a dim, by the axis that does; `None` where readers' weights carry all shares.

        Raises:
            Unsolvable: The share cannot be carried to all places where it is needed.
        """
        if dim not in self._contracted:
            return None
        system = _System()
        tensors: dict[str, int] = {}
        for node in self._nodes[dim]:
            for value in _values(node):
                axes = [k for k, t in enumerate(self._inference.resolved(value)) if dim in leaves(t)]
                if len(axes) > 1:
                    message = f"{value.name!r} has its units along two axes, which are multiplied with one another"
                    raise Unsolvable(message)
                if axes and value.is_initializer():
                    tensors[str(value.name)] = axes[0]
            for equation in self._equations(node, dim):
                if not system.add(equation):
                    message = f"its units are multiplied with one another, and {describe(node)} does not let a share of a unit through"
                    raise Unsolvable(message)
        for tensor in tensors:
            system.add({tensor: Fraction(1)})  # as it is, if it may
        found = system.solution()
        if any(not 0 <= found.get(t, 0) <= 1 for t in tensors):
            message = "its units are multiplied with one another more than once"
            raise Unsolvable(message)
        return {(t, axis): found.get(t, Fraction(0)) for t, axis in tensors.items()}

    def _equations(self, node: ir.Node, dim: Dim) -> Iterator[dict[str, Fraction]]:
        holds = {str(v.name): self._holds(v, dim) for v in _values(node)}
        operands = [str(v.name) for v in node.inputs if v is not None]
        inputs = [n for n in operands if holds.get(n)]
        outputs = [str(o.name) for o in node.outputs if holds.get(str(o.name))]
        contracted = self._contracted[dim].get(key(node), [])
        for a, b in contracted:
            yield _equation({a: 1, b: 1}, 1)
        operator = lookup(node)
        scaling = Scaling.NONE if operator is None else operator.scaling
        if contracted:
            taken = {n for pair in contracted for n in pair}
            inputs = [n for n in inputs if n not in taken]
        if scaling is Scaling.MULTIPLIES and (outputs or inputs):
            bias = operands[2:3] if node.op_type in ("Conv", "ConvTranspose", "Gemm") else []
            factors = [n for n in inputs if n not in bias]
            for o in outputs:
                yield _equation({o: 1}, 0, minus=factors)
                for b in bias:
                    yield _equation({b: 1, o: -1} if holds.get(b) else {o: 1}, 0)
        elif scaling is Scaling.DIVIDES and outputs:
            signs = {n: (1 if n == operands[0] else -1) for n in inputs}
            yield _equation({outputs[0]: -1} | signs, 0)
        elif scaling is Scaling.NORMALIZES and outputs:
            yield from (_equation({n: 1}, 0) for n in inputs if n == operands[0])
            for n in operands[1:3]:
                yield _equation({n: 1, outputs[0]: -1} if holds.get(n) else {outputs[0]: 1}, 0)
            yield from (_equation({n: 1}, 0) for n in inputs if n in operands[3:])
        elif scaling in (Scaling.MOVES, Scaling.ADDS):
            together = [*inputs, *outputs]
            choice = node.inputs[1:] if node.op_type == "Where" else node.inputs
            added = [v for v in choice if v is not None and v.name]
            alone = scaling is Scaling.ADDS and any(not holds[str(v.name)] for v in added)
            if not inputs or not outputs or alone or len(added) == 0:
                yield from (_equation({n: 1}, 0) for n in together)
            else:
                yield from (_equation({together[0]: 1, n: -1}, 0) for n in together[1:] if n != together[0])
        elif not contracted:
            yield from (_equation({n: 1}, 0) for n in (*inputs, *outputs))

    def _holds(self, value: ir.Value, dim: Dim) -> bool:
        return any(dim in leaves(t) for t in self._inference.resolved(value))


def _values(node: ir.Node) -> list[ir.Value]:
    return [v for v in (*node.inputs, *node.outputs) if v is not None and v.name]


def _equation(unknowns: dict[str, int], right: int, minus: list[str] | None = None) -> dict[str, Fraction]:
    equation = {name: Fraction(k) for name, k in unknowns.items()}
    if len(equation) == 1 and right == 1 and unknowns:  # one value contracted with itself
        equation = {name: Fraction(2) for name in equation}
    for name in minus or ():
        equation[name] = equation.get(name, Fraction(0)) - 1
    equation[_ONE] = Fraction(-right)
    return {name: k for name, k in equation.items() if k}


class _System:
    """Linear equations, each kept solved for one unknown."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Fraction]] = {}

    def add(self, equation: dict[str, Fraction]) -> bool:
        """Add an equation (a sum that is zero). `False` if it contradicts those before, which are kept."""
        row = self._reduced(equation)
        unknown = next((n for n in row if n != _ONE), None)
        if unknown is None:
            return not row
        scale = row.pop(unknown)
        solved = {n: -k / scale for n, k in row.items()}
        for name, other in self._rows.items():
            if unknown in other:
                factor = other.pop(unknown)
                self._rows[name] = _plus(other, solved, factor)
        self._rows[unknown] = solved
        return True

    def solution(self) -> dict[str, Fraction]:
        """A value for every unknown that was solved for; free ones are zero."""
        return {name: row.get(_ONE, Fraction(0)) for name, row in self._rows.items()}

    def _reduced(self, equation: dict[str, Fraction]) -> dict[str, Fraction]:
        result: dict[str, Fraction] = {}
        for name, k in equation.items():
            result = _plus(result, self._rows.get(name, {name: Fraction(1)}), k)
        return result


def _plus(a: dict[str, Fraction], b: dict[str, Fraction], factor: Fraction) -> dict[str, Fraction]:
    total = dict(a)
    for name, k in b.items():
        total[name] = total.get(name, Fraction(0)) + factor * k
    return {name: k for name, k in total.items() if k}
