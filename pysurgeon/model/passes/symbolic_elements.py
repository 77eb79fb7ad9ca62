"""Follow small integers that a graph computes from sizes where those are expressions: element by element, and exactly or not at all.

An element is a number, an expression or `None`, not known. Operators that only move elements are evaluated on places instead of elements. What is
computed in floating point is followed where float32 is exact for sizes up to a million; otherwise the result is a number that is not
known, though the same one wherever the same is computed from the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import sympy

from pysurgeon.graph.tensors import Array
from pysurgeon.model.passes.symbolic_sizes import (
    add,
    at_most,
    differ,
    divide,
    larger,
    least,
    multiply,
    plain,
    smaller,
    subtract,
)

_INT, _BOOL = np.dtype(np.int64), np.dtype(np.bool_)


class Walk(Protocol):
    """What is known so far."""

    data: dict[ir.Value, Array]
    kinds: dict[ir.Value, np.dtype[Any]]

    def elements(self, value: ir.Value | None) -> Array | None:
        """The elements of a small tensor."""

    def unknown(self, key: Hashable = None, *, integer: bool = True, lowest: int | None = None) -> sympy.Expr:
        """A number that is not known, the same for the same key."""

    def compute(self, node: ir.Node, arrays: Sequence[Array | None]) -> list[Array] | None:
        """What the reference implementation of an operator gives."""


Found = list[tuple[Array, "np.dtype[Any]"]]


def array(elements: Any) -> Array:
    """An array of objects: of a sequence of elements, or of one."""
    if isinstance(elements, tuple | list):
        result = np.empty(len(elements), dtype=object)
        for k, e in enumerate(elements):
            result[k] = e
        return result
    result = np.empty((), dtype=object)
    result[()] = elements
    return result


def follow(walk: Walk, node: ir.Node) -> Found | None:
    """The elements of all outputs with their dtypes, `None` where they cannot be followed."""
    if node.op_type in _MOVING:
        return _move(walk, node)
    if node.op_type in _REDUCING:
        return _reduce(walk, node)
    if node.op_type not in _ELEMENTWISE:
        return None
    operands = [walk.elements(v) for v in node.inputs]
    kinds = [walk.kinds[v] for v in node.inputs if v is not None]
    if node.op_type == "Cast":
        kind = np.dtype(ir.DataType(node.attributes.get_int("to", 0)).numpy())
    else:
        kind = _BOOL if node.op_type in _COMPARING else kinds[-1]
    known = [o for o in operands if o is not None]
    if len(known) < len(operands) or not {kind, *kinds} <= _EXACT:
        return None
    try:
        stretched = np.broadcast_arrays(*known)
    except ValueError:
        return None
    result = np.empty(stretched[0].shape, dtype=object)
    for place in np.ndindex(*result.shape):
        result[place] = _element(walk, node, tuple(_python(a[place]) for a in stretched), kinds, kind)
    return [(result, kind)]


# Where sizes are exact.
_EXACT = frozenset(np.dtype(k) for k in (np.int32, np.int64, np.float32, np.float64, np.bool_))


def _python(element: Any) -> Any:
    return element.item() if isinstance(element, np.generic) else element


def _element(
    walk: Walk, node: ir.Node, values: tuple[Any, ...], kinds: list[np.dtype[Any]], kind: np.dtype[Any]
) -> Any:
    """What an elementwise operator makes of one element of each operand."""
    if node.op_type != "Where" and any(v is None for v in values):
        return None
    if not any(v is None or isinstance(v, sympy.Expr) for v in values):
        found = walk.compute(node, [np.array(v, dtype=k) for v, k in zip(values, kinds, strict=True)])
        return None if found is None else _python(found[0][()])
    real = kinds[0].kind == "f"
    function = _ELEMENTWISE[node.op_type]
    element = function(*values, real, kind.kind) if node.op_type == "Cast" else function(*values, real)
    if element is _OPAQUE:
        attributes = tuple(sorted((name, str(a.value)) for name, a in node.attributes.items()))
        return walk.unknown((node.op_type, attributes, tuple(map(str, kinds)), values), integer=kind.kind != "f")
    if isinstance(element, sympy.Expr) and element.is_number:
        return float(element) if kind.kind == "f" else int(element)
    return element


# Operators that move elements, and which of their operands hold them; the others say where to.
_MOVING: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose"), (0,)),
    **dict.fromkeys(("Expand", "Tile", "Split", "Identity", "GatherElements", "GatherND"), (0,)),
    **dict.fromkeys(("ScatterND", "ScatterElements"), (0, 2)),
    "Concat": None,
}


def _move(walk: Walk, node: ir.Node) -> Found | None:
    held = _MOVING[node.op_type]
    elements: list[Any] = []
    arrays: list[Array | None] = []
    kind = _INT
    for position, value in enumerate(node.inputs):
        given = walk.elements(value)
        if value is None or given is None:
            arrays.append(None)
        elif held is None or position in held:
            kind = walk.kinds[value]
            arrays.append(np.arange(len(elements), len(elements) + given.size, dtype=np.int64).reshape(given.shape))
            elements += list(given.reshape(-1))
        elif value in walk.data:
            arrays.append(walk.data[value])
        else:
            return None
    results = None if node.attributes.get_string("reduction", "none") != "none" else walk.compute(node, arrays)
    if results is None:
        return None
    source = array(elements)
    return [
        (source[places.astype(np.int64)], kind) if places.ndim else (array(elements[int(places)]), kind)
        for places in results
    ]


_REDUCING: dict[str, Callable[[Any, Any], Any]] = {
    "ReduceProd": multiply,
    "ReduceSum": add,
    "ReduceMin": smaller,
    "ReduceMax": larger,
}


def _reduce(walk: Walk, node: ir.Node) -> Found | None:
    x = node.inputs[0]
    elements = walk.elements(x)
    if x is None or elements is None or walk.kinds[x].kind != "i":
        return None
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is not None and given not in walk.data:
        return None
    axes = (
        list(node.attributes.get_ints("axes", ())) if given is None else [int(k) for k in walk.data[given].reshape(-1)]
    )
    if not axes and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return [(elements, walk.kinds[x])]
    keep = node.attributes.get_int("keepdims", 1) == 1
    chosen = sorted({a % elements.ndim for a in axes} or set(range(elements.ndim)))
    function = _REDUCING[node.op_type]
    others = [k for k in range(elements.ndim) if k not in chosen]
    shape = [1 if k in chosen else n for k, n in enumerate(elements.shape) if keep or k in others]
    rows = np.transpose(elements, (*others, *chosen)).reshape(int(np.prod([elements.shape[k] for k in others])), -1)
    if not rows.shape[1]:
        return None
    found = [None if any(e is None for e in row) else reduce(function, [_integer(e) for e in row]) for row in rows]
    return [(array(found).reshape(shape), walk.kinds[x])]


def _integer(e: Any) -> Any:
    return e if isinstance(e, sympy.Expr) else int(e)


_OPAQUE = object()  # a number that is not known, the same for the same operands


def _exact(number: Any) -> sympy.Rational | None:
    """A float as a fraction by which sizes are multiplied exactly in float32, `None` if it is none."""
    if isinstance(number, sympy.Expr) or not np.isfinite(number):
        return None
    numerator, denominator = float(number).as_integer_ratio()
    return sympy.Rational(numerator, denominator) if abs(numerator) <= 16 and denominator <= 64 else None


def _add(a: Any, b: Any, real: bool) -> Any:
    if not real:
        return add(a, b)
    x, y = (k if isinstance(k, sympy.Expr) else _exact(k) for k in (a, b))
    return _OPAQUE if x is None or y is None else x + y


def _multiply(a: Any, b: Any, real: bool) -> Any:
    if not real:
        return multiply(a, b)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return _OPAQUE
    size, factor = (a, _exact(b)) if isinstance(a, sympy.Expr) else (b, _exact(a))
    return _OPAQUE if factor is None else sympy.expand(size * factor)


def _subtract(a: Any, b: Any, real: bool) -> Any:
    negative = -b if isinstance(b, sympy.Expr) or not real else -float(b)
    return _add(a, negative, real) if real else subtract(a, b)


def _divide(a: Any, b: Any, real: bool) -> Any:
    if real:
        factor = None if isinstance(b, sympy.Expr) or not b else _exact(1 / b)
        return _OPAQUE if factor is None or factor * sympy.Rational(b) != 1 else sympy.expand(a * factor)
    # Integers are divided towards zero.
    found = divide(a, b) if at_most(0, a) and at_most(1, b) else None
    return _OPAQUE if found is None else found


def _modulo(a: Any, b: Any, real: bool) -> Any:
    quotient = _OPAQUE if real else _divide(a, b, False)
    return _OPAQUE if quotient is _OPAQUE else subtract(a, multiply(b, quotient))


def _smaller(*operands: Any) -> Any:
    *values, real = operands
    return _OPAQUE if real else reduce(smaller, values)


def _larger(*operands: Any) -> Any:
    *values, real = operands
    return _OPAQUE if real else reduce(larger, values)


def _negative(a: Any, real: bool) -> Any:
    return -a if real else multiply(-1, a)


def _absolute(a: Any, real: bool) -> Any:
    return a if not real and at_most(0, a) else _OPAQUE


def _floor(a: Any, _: bool) -> Any:
    numerator, denominator = sympy.fraction(sympy.together(a))
    if not denominator.is_Integer or any(not s.is_integer for s in numerator.free_symbols):
        return _OPAQUE
    found = divide(plain(sympy.expand(numerator)), int(denominator))
    return _OPAQUE if found is None else sympy.sympify(found)


def _ceiling(a: Any, real: bool) -> Any:
    found = _floor(-a, real)
    return found if found is _OPAQUE else -found


def _cast(a: Any, real: bool, to: str) -> Any:
    if to == "b":
        return (
            True
            if isinstance(a, sympy.Expr) and not real and differ(a, 0)
            else _OPAQUE
            if isinstance(a, sympy.Expr)
            else bool(a)
        )
    if not isinstance(a, sympy.Expr):
        return float(a) if to == "f" else int(a)
    if to == "i" and real:
        down = _floor(a, real)
        low = None if down is _OPAQUE else least(plain(down))
        return plain(down) if low is not None and low >= 0 else _OPAQUE
    return a


def _equal(a: Any, b: Any, real: bool) -> Any:
    if real:
        return _OPAQUE
    return True if subtract(a, b) == 0 else False if differ(a, b) else None


def _less(a: Any, b: Any, real: bool) -> Any:
    if real:
        return _OPAQUE
    return True if at_most(add(a, 1), b) else False if at_most(b, a) else None


def _less_or_equal(a: Any, b: Any, real: bool) -> Any:
    if real:
        return _OPAQUE
    return True if at_most(a, b) else False if at_most(add(b, 1), a) else None


def _where(condition: Any, a: Any, b: Any, _: bool) -> Any:
    if isinstance(condition, bool | int):
        return a if condition else b
    return a if a is not None and b is not None and type(a) is type(b) and a == b else None


def _not(a: Any, _: bool) -> Any:
    return (not a) if isinstance(a, bool | int) else None


def _and(a: Any, b: Any, _: bool) -> Any:
    return bool(a and b) if isinstance(a, bool | int) and isinstance(b, bool | int) else None


def _or(a: Any, b: Any, _: bool) -> Any:
    return bool(a or b) if isinstance(a, bool | int) and isinstance(b, bool | int) else None


def _opaque(*_: Any) -> Any:
    return _OPAQUE


_COMPARING = frozenset({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or"})
_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Mod": _modulo,
    "Min": _smaller,
    "Max": _larger,
    "Neg": _negative,
    "Abs": _absolute,
    "Floor": _floor,
    "Ceil": _ceiling,
    "Cast": _cast,
    "Equal": _equal,
    "Less": _less,
    "LessOrEqual": _less_or_equal,
    "Greater": lambda a, b, real: _less(b, a, real),
    "GreaterOrEqual": lambda a, b, real: _less_or_equal(b, a, real),
    "Where": _where,
    "Not": _not,
    "And": _and,
    "Or": _or,
    **dict.fromkeys(("Sqrt", "Round", "Pow", "Sign"), _opaque),
}
