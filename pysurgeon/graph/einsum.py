"""Einsum's equations in full: a letter for every axis, whatever was left out."""

from __future__ import annotations

from string import ascii_letters

import onnx_ir as ir

from pysurgeon.graph.tensors import sizes


def subscripts(node: ir.Node) -> tuple[list[str], str] | None:
    """The letters of every operand of an Einsum and of its result.

    Axes behind an ellipsis get letters that nothing else has. A result that is not written down has all letters that occur once, in
    the order of the alphabet.

    Returns:
        `None` where a rank is not known, or an operand has a letter twice.
    """
    equation = node.attributes.get_string("equation", "").replace(" ", "")
    left, arrow, result = equation.partition("->")
    parts, ranks = (
        left.split(","),
        [len(s) if v is not None and (s := sizes(v)) is not None else None for v in node.inputs],
    )
    if len(parts) != len(ranks):
        return None
    if not arrow:
        known = left.replace("...", "").replace(",", "")
        once = "".join(sorted(x for x in set(known) if known.count(x) == 1))
        result = ("..." if "..." in left else "") + once
    hidden = [0 if r is None else r - len(p.replace("...", "")) for p, r in zip(parts, ranks, strict=True)]
    free = "".join(x for x in ascii_letters if x not in equation)[: max(0, *hidden)]
    # Leading axes are broadcast: they are counted from the last one.
    full = [p.replace("...", free[len(free) - h :] if h > 0 else "") for p, h in zip(parts, hidden, strict=True)]
    result = result.replace("...", free)
    alone = all(len(set(p)) == len(p) for p in (*full, result))
    return (full, result) if alone and [len(p) for p in full] == ranks else None
