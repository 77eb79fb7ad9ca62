"""Operators that move elements without changing them."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.nodes import describe, static
from pysurgeon.graph.shape_arithmetic import Number, numbers
from pysurgeon.graph.terms import Prod, Sum, Term, flattened, size
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()


def reshape(constraints: Constraints, node: ir.Node) -> None:
    """The flattened of all axes stays; written-down sizes are remembered."""
    source, result = list(constraints.terms(node.inputs[0])), list(constraints.terms(node.outputs[0]))
    target = numbers(node, 1)
    if target is None or len(target) != len(result):
        constraints.pin_node(node, f"{describe(node)}: its shape is computed and could not be followed")
        return
    if not source or not result:
        constraints.pin_all((*source, *result), f"{describe(node)} changes to or from a scalar")
        return
    copies = not node.attributes.get_int("allowzero", 0)
    leading = 0
    while copies and leading < min(len(source), len(target)) and target[leading].element == 0:
        constraints.equal(source[leading], result[leading], node)
        leading += 1
    rest = flattened(source[leading:]), flattened(result[leading:])
    if leading < min(len(source), len(result)):
        constraints.equal(*rest, node)
    else:
        constraints.pin_all(rest, f"{describe(node)} adds or drops it")
    for k, number in list(enumerate(target))[leading:]:
        if copies and number.element == 0:
            # The size is copied from an axis that may hold other elements: then both have to stay.
            if k >= len(source) or not constraints.same(source[k], result[k]):
                constraints.pin_all(
                    (*source[k : k + 1], result[k]), f"{describe(node)} copies its size from another axis"
                )
        elif number.element != -1:
            written(constraints, node, number, result[k])


def written(constraints: Constraints, node: ir.Node, number: Number, term: Term) -> None:
    """State that this number of a shape operand is the size of a term."""
    if number.origin is not None:
        constraints.written_at(number.origin, term)
    elif number.axis is None or not constraints.same(constraints.terms(number.axis[0])[number.axis[1]], term):
        constraints.pin(term, f"its size is computed where {describe(node)} needs it")


def expand(constraints: Constraints, node: ir.Node) -> None:
    """Axes of one are stretched to sizes that are written down; the others stay."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    target = numbers(node, 1)
    if target is None:
        constraints.pin_node(node, f"{describe(node)}: its shape is computed and could not be followed")
        return
    for k, term in enumerate(result):
        inner = source[k - len(result)] if k - len(result) >= -len(source) else None
        number = target[k - len(result)] if k - len(result) >= -len(target) else None
        if inner is not None and size(inner) == 1 and size(term) != 1:
            constraints.pin(inner, f"it is broadcast in {describe(node)}")
        elif inner is not None:
            constraints.equal(inner, term, node)
        if number is not None and number.element != 1:
            written(constraints, node, number, term)


def tile(constraints: Constraints, node: ir.Node) -> None:
    """An axis that is repeated r times is r of them in a row."""
    source, result, repeats = (
        constraints.terms(node.inputs[0]),
        constraints.terms(node.outputs[0]),
        static(node.inputs[1]),
    )
    if repeats is None or 0 in repeats:
        constraints.pin_node(node, f"{describe(node)}: its repeats are not constants")
        return
    for k, (term, times) in enumerate(zip(source, repeats, strict=True)):
        if times == 1:
            constraints.equal(term, result[k], node)
        else:
            copies = constraints.fresh(times)
            constraints.equal(result[k], Prod((copies, term)), node)
            constraints.shape_constant(node, 1, k, copies)


def flatten(constraints: Constraints, node: ir.Node) -> None:
    """All axes before `axis` become one, all from there on another."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    axis = int(node.attributes.get_int("axis", 1))
    axis = axis + len(source) if axis < 0 else axis
    for part, term in ((source[:axis], result[0]), (source[axis:], result[1])):
        if part:
            constraints.equal(term, flattened(part), node)
        else:
            constraints.pin(term, f"{describe(node)} adds it")


def transpose(constraints: Constraints, node: ir.Node) -> None:
    """Axes are permuted."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    permutation = node.attributes.get_ints("perm", tuple(range(len(source)))[::-1])
    for term, axis in zip(result, permutation, strict=True):
        constraints.equal(term, source[axis], node)


def concat(constraints: Constraints, node: ir.Node) -> None:
    """Parts stand side by side along `axis`; the other axes are equal."""
    result = constraints.terms(node.outputs[0])
    axis = int(node.attributes.get_int("axis", 0)) % len(result)
    parts = [constraints.terms(v) for v in node.inputs if v is not None]
    for part in parts:
        for k, term in enumerate(part):
            if k != axis:
                constraints.equal(term, result[k], node)
    constraints.equal(result[axis], Sum(tuple(p[axis] for p in parts if size(p[axis]) != 0)), node)


def split(constraints: Constraints, node: ir.Node) -> None:
    """The reverse of a concatenation, at sizes that are written down (loading writes down equal ones)."""
    source = constraints.terms(node.inputs[0])
    axis = int(node.attributes.get_int("axis", 0)) % len(source)
    parts = [constraints.terms(o) for o in node.outputs]
    operand_given = len(node.inputs) > 1 and node.inputs[1] is not None
    given = static(node.inputs[1]) if operand_given else node.attributes.get_ints("split", None)
    if given is None or any(size(p[axis]) in (None, 0) for p in parts):
        constraints.pin_node(node, f"{describe(node)}: the sizes of its parts are not constants")
        return
    for k, part in enumerate(parts):
        for j, term in enumerate(part):
            if j != axis:
                constraints.equal(term, source[j], node)
        if operand_given:
            constraints.shape_constant(node, 1, k, part[axis])
        else:
            constraints.attribute(node, "split", part[axis], element=k)
    constraints.equal(source[axis], Sum(tuple(p[axis] for p in parts)) if len(parts) > 1 else parts[0][axis], node)


def squeeze(constraints: Constraints, node: ir.Node) -> None:
    """Axes of size one are dropped."""
    _axes_of_size_one(constraints, node, longer=node.inputs[0], shorter=node.outputs[0])


def unsqueeze(constraints: Constraints, node: ir.Node) -> None:
    """Axes of size one are added."""
    _axes_of_size_one(constraints, node, longer=node.outputs[0], shorter=node.inputs[0])


def _axes_of_size_one(
    constraints: Constraints, node: ir.Node, longer: ir.Value | None, shorter: ir.Value | None
) -> None:
    many, few = constraints.terms(longer), list(constraints.terms(shorter))
    given = static(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", None)
    if given is None and len(node.inputs) < 2 and node.op_type == "Squeeze":
        given = [k for k, t in enumerate(many) if size(t) == 1]
    if given is None or len(given) != len(many) - len(few):
        constraints.pin_node(node, f"{describe(node)}: its axes are not constants")
        return
    axes = {a % len(many) for a in given}
    for k, term in enumerate(many):
        if k in axes:
            constraints.pin(term, f"{describe(node)} adds or drops it")
        else:
            constraints.equal(term, few.pop(0), node)


_MOVES = Scaling.MOVES
FAMILY.add("Reshape", operator=Operator(reshape, "factors are aligned, sizes in the shape follow", scaling=_MOVES))
FAMILY.add("Flatten", operator=Operator(flatten, "factors are aligned", scaling=_MOVES))
FAMILY.add("Transpose", operator=Operator(transpose, "all axes", scaling=_MOVES))
FAMILY.add("Concat", operator=Operator(concat, "all axes, parts side by side", scaling=_MOVES))
FAMILY.add("Split", operator=Operator(split, "all axes, a dim is cut where a part ends, sizes follow", scaling=_MOVES))
FAMILY.add("Squeeze", operator=Operator(squeeze, "the axes that stay", scaling=_MOVES))
FAMILY.add("Unsqueeze", operator=Operator(unsqueeze, "the axes that were there", scaling=_MOVES))
FAMILY.add(
    "Expand",
    operator=Operator(expand, "all axes, sizes follow; an axis of one that is stretched stays", scaling=_MOVES),
)
FAMILY.add("Tile", operator=Operator(tile, "all axes, the repeats follow", scaling=_MOVES))
