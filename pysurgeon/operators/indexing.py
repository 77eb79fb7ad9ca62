"""Operators that pick elements by their places: a dim is cut where the picked part begins and ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.nodes import describe, operand, static
from pysurgeon.graph.tensors import constant, sizes
from pysurgeon.graph.terms import Prod, Term, alike, concatenation, size
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()

# An end beyond this means "to the end", whatever the size is.
_ENDLESS = 2**31 - 1


def slice_(constraints: Constraints, node: ir.Node) -> None:
    """A contiguous part of an axis is cut out of it; every k-th element is the first factor of a product."""
    source, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    bounds = _bounds(node, len(source))
    if bounds is None:
        constraints.pin_node(node, f"{describe(node)}: its axes are not constants")
        return
    for axis, (term, part) in enumerate(zip(source, result, strict=True)):
        if axis not in bounds:
            constraints.equal(term, part, node)
            continue
        bound = bounds[axis]
        if bound is None:
            constraints.pin_all((term, part), f"{describe(node)} cuts it where it is computed")
            continue
        element, start, end, step = bound
        if start == 0 and end >= _ENDLESS and step == 1:
            constraints.equal(term, part, node)
        elif size(term) is None or step < 1 or not _cut(constraints, node, term, part, element, start, end, step):
            constraints.pin_all((term, part), f"{describe(node)} picks elements of it")


def _bounds(node: ir.Node, rank: int) -> dict[int, tuple[int, int, int, int] | None] | None:
    """By axis that is cut: which element of the operands is meant, start, end and step; `None` where these are computed."""
    if len(node.inputs) > 1:
        starts, ends = static(node.inputs[1]), static(node.inputs[2])
        axes = static(node.inputs[3]) if operand(node, 3) is not None else list(range(_count(node.inputs[1], rank)))
        steps = static(node.inputs[4]) if operand(node, 4) is not None else [1] * len(axes or ())
    else:
        starts, ends = (list(node.attributes.get_ints(n, ())) for n in ("starts", "ends"))
        axes, steps = list(node.attributes.get_ints("axes", tuple(range(len(starts))))), [1] * len(starts)
    if axes is None:
        return None
    if starts is None or ends is None or steps is None:
        return dict.fromkeys(a % rank for a in axes)
    return {a % rank: (k, s, e, d) for k, (a, s, e, d) in enumerate(zip(axes, starts, ends, steps, strict=True))}


def _count(bounds: ir.Value | None, rank: int) -> int:
    """How many axes are cut, the first ones; all of them where it is not known."""
    (count,) = (None if bounds is None else sizes(bounds)) or (rank,)
    return rank if count is None else count


def _cut(
    constraints: Constraints, node: ir.Node, term: Term, part: Term, element: int, start: int, end: int, step: int
) -> bool:
    n, m = size(term), size(part)
    if n is None or m is None or m == 0:
        return False
    first, last = (min(max(b + n if b < 0 else b, 0), n) for b in (start, end))
    if step > 1:
        every = n % step == 0 and first < step and m * step == n and (end >= _ENDLESS or end == n)
        if every:
            places = constraints.fresh(step)
            constraints.pin(places, f"{describe(node)} picks every {step}th element")
            constraints.equal(term, Prod((part, places)), node)
            if end == n:
                _literal(constraints, node, 2, element, term)
        return every
    if last - first != m or n < end < _ENDLESS:
        return False
    before = [constraints.fresh(first)] if first else []
    after = [constraints.fresh(n - last)] if last < n else []
    constraints.equal(term, concatenation([*before, part, *after]), node)
    if start < 0:
        _literal(constraints, node, 1, element, concatenation([part, *after]), sign=-1)
    elif before:
        _literal(constraints, node, 1, element, before[0])
    if end < 0:
        _literal(constraints, node, 2, element, after[0], sign=-1)
    elif end < _ENDLESS:
        _literal(constraints, node, 2, element, concatenation([*before, part]))
    return True


def _literal(
    constraints: Constraints, node: ir.Node, position: int, element: int, term: Term, *, sign: int = 1
) -> None:
    if len(node.inputs) > 1:
        constraints.shape_constant(node, position, element, term, sign=sign)
    else:
        constraints.attribute(node, ("starts", "ends")[position - 1], term, element=element, sign=sign)


def gather(constraints: Constraints, node: ir.Node) -> None:
    """Rows of a table, or a part of an axis at constant places; the other axes are free."""
    data, index = node.inputs[0], node.inputs[1]
    assert index is not None
    source, result, places = constraints.terms(data), constraints.terms(node.outputs[0]), constraints.terms(index)
    axis = int(node.attributes.get_int("axis", 0)) % len(source)
    constraints.equal_all((*source[:axis], *source[axis + 1 :]), (*result[:axis], *result[axis + len(places) :]), node)
    picked = result[axis : axis + len(places)]
    constraints.equal_all(picked, places, node)
    indices = constant(index)
    if indices is None or not _pick(constraints, node, source[axis], picked, np.asarray(indices)):
        constraints.pin(source[axis], f"{describe(node)} picks elements of it")
    constraints.pin_all(picked, f"{describe(node)} picks elements of it")


def _pick(
    constraints: Constraints,
    node: ir.Node,
    term: Term,
    picked: Sequence[Term],
    indices: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> bool:
    """A single place or a contiguous run: cut it out, it stays and so does its place, what comes behind is free."""
    n, flat = size(term), indices.reshape(-1)
    if n is None or len(picked) > 1 or not len(flat) or np.any(np.diff(flat) != 1) or not -n <= flat[0] < n:
        return False
    first = int(flat[0]) % n
    before = [constraints.fresh(first)] if first else []
    part = constraints.fresh(len(flat))
    after = [constraints.fresh(n - first - len(flat))] if first + len(flat) < n else []
    constraints.equal(term, concatenation([*before, part, *after]), node)
    constraints.pin(part, f"{describe(node)} picks it")
    if len(flat) > 1:
        constraints.pin_all(before, f"{describe(node)} picks what stands behind it")
    elif flat[0] < 0:
        constraints.shape_constant(node, 1, 0, concatenation([part, *after]), sign=-1)
    elif before:
        constraints.shape_constant(node, 1, 0, before[0])
    return True


def gather_elements(constraints: Constraints, node: ir.Node) -> None:
    """Every element has its own place along `axis`, for all others it is that of the element itself."""
    data, places, result = (constraints.terms(v) for v in (*node.inputs[:2], node.outputs[0]))
    constraints.equal_all(places, result, node)
    _beside(constraints, node, data, places)


def scatter_elements(constraints: Constraints, node: ir.Node) -> None:
    """The other way: every update has its own place along `axis`."""
    data, places, updates = (constraints.terms(v) for v in node.inputs[:3])
    constraints.equal_all(data, constraints.terms(node.outputs[0]), node)
    constraints.equal_all(places, updates, node)
    _beside(constraints, node, data, places)


def _beside(constraints: Constraints, node: ir.Node, data: Sequence[Term], places: Sequence[Term]) -> None:
    """State what holds for data and places: along `axis` they are counted, the other axes are equal unless only a part is meant."""
    axis = int(node.attributes.get_int("axis", 0)) % len(data)
    for k, (a, b) in enumerate(zip(data, places, strict=True)):
        if k == axis:
            constraints.pin(a, f"{describe(node)} counts places along it")
        elif alike(constraints.solver.resolve(a), constraints.solver.resolve(b)):
            constraints.equal(a, b, node)
        else:
            constraints.pin_all((a, b), f"{describe(node)} means a part of it")


def gather_nd(constraints: Constraints, node: ir.Node) -> None:
    """Rows of indices pick what lies at the leading axes behind those of the batch; the other axes are free."""
    data, rows, result = (constraints.terms(v) for v in (*node.inputs[:2], node.outputs[0]))
    batch = int(node.attributes.get_int("batch_dims", 0))
    _rows(constraints, node, data, rows, result, batch)
    constraints.equal_all(data[:batch], rows[:batch], node)


def scatter_nd(constraints: Constraints, node: ir.Node) -> None:
    """The other way: every update has its own row of indices."""
    data, rows, updates = (constraints.terms(v) for v in node.inputs[:3])
    constraints.equal_all(data, constraints.terms(node.outputs[0]), node)
    _rows(constraints, node, data, rows, updates, 0)


def _rows(
    constraints: Constraints,
    node: ir.Node,
    data: Sequence[Term],
    rows: Sequence[Term],
    parts: Sequence[Term],
    batch: int,
) -> None:
    count = size(rows[-1])
    if count is None:
        constraints.pin_node(node, f"{describe(node)}: how many axes it counts places along is not known")
        return
    behind = batch + count
    constraints.pin_all((rows[-1], *data[batch:behind]), f"{describe(node)} counts places along it")
    constraints.equal_all((*rows[:-1], *data[behind:]), parts, node)


def reverse_sequence(constraints: Constraints, node: ir.Node) -> None:
    """Steps are turned round, of every sample as many as it has."""
    data, result = constraints.terms(node.inputs[0]), constraints.terms(node.outputs[0])
    constraints.equal_all(data, result, node)
    for name, default in (("batch_axis", 1), ("time_axis", 0)):
        constraints.pin(data[node.attributes.get_int(name, default)], f"{describe(node)} runs along it")


FAMILY.add(
    "Slice",
    operator=Operator(
        slice_, "all axes, a dim is cut where the part begins and ends, bounds follow", scaling=Scaling.MOVES
    ),
)
FAMILY.add(
    "Gather",
    operator=Operator(
        gather,
        "the axes that stay (of an embedding, its features); what is picked stays, and so does its place",
        parameters=(0,),
        weights=(0,),
        scaling=Scaling.MOVES,
    ),
)
_PLACES = "the axes that no places are counted along"
FAMILY.add("GatherElements", operator=Operator(gather_elements, _PLACES))
FAMILY.add("GatherND", operator=Operator(gather_nd, _PLACES, scaling=Scaling.MOVES))
FAMILY.add("ScatterElements", operator=Operator(scatter_elements, _PLACES))
FAMILY.add("ScatterND", operator=Operator(scatter_nd, _PLACES))
FAMILY.add(
    "ReverseSequence",
    operator=Operator(reverse_sequence, "the axes that neither steps nor samples lie along", scaling=Scaling.MOVES),
)
