"""Arithmetic of sizes that are known as expressions: integers, or sums of products of open dimensions, rounded quotients of them, minima and maxima.

Two sizes that are written in the same way are the same number for every choice of the open dimensions; that is what equality means everywhere.
Sizes that are the same and are not seen to be so cost nothing but what could have been done with that. Every open dimension of an input is at least 1.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import floor, gcd, prod
from typing import TypeAlias

import sympy

Size: TypeAlias = "int | sympy.Expr"
Bound: TypeAlias = "Fraction | None"

_CACHED = 4096


def dimension(name: str) -> sympy.Expr:
    """An open dimension of an input."""
    return sympy.Symbol(name, integer=True, positive=True)


def plain(size: sympy.Expr | int) -> Size:
    """A size as an `int` where it is one."""
    return int(size) if isinstance(size, int) or size.is_Integer else size


def add(a: Size, b: Size) -> Size:
    """The sum."""
    return a + b if isinstance(a, int) and isinstance(b, int) else _sum(a, b)


def multiply(a: Size, b: Size) -> Size:
    """The product."""
    return a * b if isinstance(a, int) and isinstance(b, int) else _product(a, b)


def subtract(a: Size, b: Size) -> Size:
    """The difference."""
    return add(a, multiply(-1, b))


@lru_cache(_CACHED)
def _sum(a: Size, b: Size) -> Size:
    return plain(sympy.sympify(a + b))


@lru_cache(_CACHED)
def _product(a: Size, b: Size) -> Size:
    return plain(sympy.expand(a * b))


@lru_cache(_CACHED)
def divide(a: Size, b: Size) -> Size | None:
    """The quotient rounded down; `None` where it cannot be written, as for a divisor that may be 0.

    `x // b` has one form: whole multiples of `b` stand before it, what is common to both is cancelled, and `(x // 2 + 1) // 2` is
    `(x + 2) // 4`.
    """
    if isinstance(b, int):
        if isinstance(a, int):
            return a // b if b else None
        return divide(multiply(-1, a), -b) if b < 0 else _rounded(a, b) if b else None
    if (least(b) or 0) < 1:
        return None
    numerator, denominator = sympy.fraction(sympy.cancel(sympy.sympify(a) / b))
    return divide(plain(sympy.expand(numerator)), int(denominator)) if denominator.is_Integer else None


def _rounded(a: sympy.Expr, b: int) -> Size:
    whole: Size = 0
    rest: list[tuple[int, sympy.Expr]] = []
    constant = 0
    for term in sympy.Add.make_args(sympy.expand(a)):
        factor, size = term.as_coeff_Mul()
        times, left = divmod(int(factor), b)
        whole = add(whole, multiply(times, plain(size)))
        if left and size == 1:
            constant = left
        elif left:
            rest.append((left, size))
    common = gcd(b, *(factor for factor, _ in rest)) if rest else b
    b, constant = b // common, constant // common
    if b == 1 or not rest:
        return add(whole, plain(sympy.Add(*(factor // common * size for factor, size in rest))))
    if len(rest) == 1 and rest[0][0] == common and isinstance(rest[0][1], sympy.floor):
        inner, divisor = sympy.fraction(sympy.together(rest[0][1].args[0]))
        found = divide(plain(sympy.expand(inner + constant * divisor)), int(divisor) * b)
        assert found is not None
        return add(whole, found)
    inside = sympy.Add(*(factor // common * size for factor, size in rest), constant)
    return add(whole, sympy.floor(sympy.expand(inside / b)))


def round_up(a: Size, b: int) -> Size | None:
    """The quotient rounded up."""
    found = divide(multiply(-1, a), b)
    return None if found is None else multiply(-1, found)


def smaller(a: Size, b: Size) -> Size:
    """The minimum."""
    if at_most(a, b):
        return a
    return b if at_most(b, a) else sympy.Min(a, b, evaluate=False)


def larger(a: Size, b: Size) -> Size:
    """The maximum."""
    if at_most(a, b):
        return b
    return a if at_most(b, a) else sympy.Max(a, b, evaluate=False)


def at_most(a: Size, b: Size) -> bool:
    """Whether `a <= b` for every choice of the open dimensions, as far as that can be seen."""
    low = least(subtract(b, a))
    return low is not None and low >= 0


def differ(a: Size, b: Size) -> bool:
    """Whether the two are different for every choice of the open dimensions, as far as that can be seen."""
    low, high = bounds(subtract(b, a))
    return (low is not None and low > 0) or (high is not None and high < 0)


def least(size: Size) -> Bound:
    """A number that the size is never below, `None` where none is known."""
    return bounds(size)[0]


@lru_cache(_CACHED)
def bounds(size: Size) -> tuple[Bound, Bound]:
    """Numbers that the size is never below and never above, `None` where none are known."""
    if isinstance(size, int):
        return Fraction(size), Fraction(size)
    first = _interval(size)
    # A sum in which `x` and `x // 2` stand is not as loose as if they had nothing to do with one another.
    second = _relaxed(size) if size.is_Add and size.has(sympy.floor) else (None, None)
    low, high = zip(first, second, strict=True)
    return max((k for k in low if k is not None), default=None), min((k for k in high if k is not None), default=None)


def _interval(size: sympy.Expr) -> tuple[Bound, Bound]:
    if size.is_Rational:
        return Fraction(int(size.p), int(size.q)), Fraction(int(size.p), int(size.q))
    if size.is_Symbol:
        return (Fraction(1) if size.is_positive else Fraction(0) if size.is_nonnegative else None), None
    if size.is_Pow and size.exp.is_Integer and size.exp > 0:
        return _times([_interval(size.base)] * int(size.exp))
    parts = [_interval(part) for part in size.args]
    low, high = [a for a, _ in parts], [b for _, b in parts]
    if size.is_Add:
        return _total(low), _total(high)
    if size.is_Mul:
        return _times(parts)
    if isinstance(size, sympy.floor):
        return tuple(None if k is None else Fraction(floor(k)) for k in (low[0], high[0]))  # type: ignore[return-value]
    if isinstance(size, sympy.Min):
        return None if None in low else min(low), min((k for k in high if k is not None), default=None)  # type: ignore[type-var]
    if isinstance(size, sympy.Max):
        return max((k for k in low if k is not None), default=None), None if None in high else max(high)  # type: ignore[type-var]
    return None, None


def _total(parts: list[Bound]) -> Bound:
    known = [p for p in parts if p is not None]
    return sum(known, Fraction(0)) if len(known) == len(parts) else None


def _times(parts: list[tuple[Bound, Bound]]) -> tuple[Bound, Bound]:
    """Bounds of a product: numbers, and factors that are not negative or only one."""
    fixed = prod((a for a, b in parts if a is not None and a == b), start=Fraction(1))
    others = [(a, b) for a, b in parts if a is None or a != b]
    lows, highs = [a for a, _ in others], [b for _, b in others]
    low: Bound = Fraction(1)
    high: Bound = Fraction(1)
    if len(others) == 1:
        low, high = others[0]
    elif any(a is None or a < 0 for a in lows):
        return None, None
    else:
        low = prod((a for a in lows if a is not None), start=Fraction(1))
        high = None if None in highs else prod((b for b in highs if b is not None), start=Fraction(1))
    ends = (None if low is None else fixed * low), (None if high is None else fixed * high)
    return ends if fixed >= 0 else (ends[1], ends[0])


def _relaxed(size: sympy.Expr) -> tuple[Bound, Bound]:
    """Bounds of a sum whose rounded quotients give way to the quotients, less what rounding may take away."""
    found: list[Bound] = []
    for end in (0, 1):
        total: sympy.Expr = sympy.Integer(0)
        for term in size.args:
            factor, rest = term.as_coeff_Mul()
            if isinstance(rest, sympy.floor):
                quotient = rest.args[0]
                _, divisor = sympy.fraction(sympy.together(quotient))
                lost = sympy.Rational(int(divisor) - 1, int(divisor)) if (factor > 0) == (end == 0) else 0
                total += factor * (quotient - lost)
            else:
                total += term
        total = sympy.expand(total)
        found.append(_interval(total)[end])
    return found[0], found[1]
