"""Einsum: MatMul between transposes and reshapes, two operands at a time."""

from __future__ import annotations

from functools import reduce

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import CannotWriteError
from pysurgeon.graph.einsum import subscripts
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite


def replace(build: Builder) -> ir.Value:
    """Operands are contracted from left to right; an axis goes as soon as nothing behind needs it."""
    known = subscripts(build.node)
    if known is None:
        equation = build.node.attributes.get_string("equation", "")
        message = f"the equation {equation!r} has a diagonal, or more axes than it has letters for"
        raise CannotWriteError(message)
    terms, result = known
    values = [value for value in build.node.inputs if value is not None]
    sizes: dict[str, ir.Value] = {}
    for term, value in zip(terms, values, strict=True):
        for axis, letter in enumerate(term):
            # The same axis may have a known size in one operand only.
            if letter not in sizes or sizes[letter].const_value is None:
                sizes[letter] = build.extent(value, axis)
    y, have = values[0], terms[0]
    for k, (value, term) in enumerate(zip(values[1:], terms[1:], strict=True), 1):
        needed = set(result).union(*terms[k + 1 :])
        y, have = _contract(build, (y, have), (value, term), needed, sizes)
    y, have = _summed(build, y, have, set(result))
    return _transposed(build, y, have, result)


def _contract(
    build: Builder, a: tuple[ir.Value, str], b: tuple[ir.Value, str], needed: set[str], sizes: dict[str, ir.Value]
) -> tuple[ir.Value, str]:
    """One MatMul ``(batch..., rows, inner) x (batch..., inner, columns)``."""
    (x, p), (y, q) = _summed(build, *a, needed | set(b[1])), _summed(build, *b, needed | set(a[1]))
    shared = [letter for letter in p if letter in q]
    batch = "".join(letter for letter in shared if letter in needed)
    inner = "".join(letter for letter in shared if letter not in needed)
    rows, columns = ("".join(letter for letter in t if letter not in shared) for t in (p, q))

    def merged(groups: tuple[str, ...]) -> ir.Value:
        whole = [[sizes[letter] for letter in group] or [build.integers([1])] for group in groups]
        products = [reduce(lambda m, n: build.op("Mul", m, n), sizes_of_group) for sizes_of_group in whole]
        parts = [*(sizes[letter] for letter in batch), *products]
        return build.op("Concat", *parts, axis=0)

    x = build.op("Reshape", _transposed(build, x, p, batch + rows + inner), merged((rows, inner)))
    y = build.op("Reshape", _transposed(build, y, q, batch + inner + columns), merged((inner, columns)))
    product, have = build.op("MatMul", x, y), batch + rows + columns
    if not have:
        return build.op("Reshape", product, build.constant(np.zeros(0, np.int64))), have
    return build.op("Reshape", product, build.op("Concat", *(sizes[letter] for letter in have), axis=0)), have


def _summed(build: Builder, value: ir.Value, have: str, needed: set[str]) -> tuple[ir.Value, str]:
    axes = [k for k, letter in enumerate(have) if letter not in needed]
    if not axes:
        return value, have
    return build.reduce("ReduceSum", value, axes, keepdims=False), "".join(x for x in have if x in needed)


def _transposed(build: Builder, value: ir.Value, have: str, wanted: str) -> ir.Value:
    return value if have == wanted else build.op("Transpose", value, perm=[have.index(letter) for letter in wanted])


REWRITES = {"Einsum": Rewrite("MatMul between transposes and reshapes", replace)}
