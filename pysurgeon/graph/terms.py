"""Terms: what the elements along an axis are, and the unification that finds out which axes belong together.

A term is a tree. A leaf is a `Dim`; `Prod` lays its factors out in row-major order, `Sum` concatenates its parts:
a feature map `[N, C, H, W]` flattened from axis 1 on has the term `C*H*W`, and a concatenation along the channels has
`C1 + C2`. Unification makes two terms equal by substituting dims, splitting one where a boundary falls inside it (row
polymorphism with sizes, if you like). Where two terms cannot be aligned, the dims involved are *pinned*: they keep
their size, and the reason says why.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Dim:
    """A dimension whose elements are not divided any further (as far as is known yet).

    Attributes:
        number: Order of creation, for stable output.
        size: Number of elements, `None` if unknown (a dynamic batch, say).
    """

    number: int
    size: int | None

    def __repr__(self) -> str:
        return f"d{self.number}:{'?' if self.size is None else self.size}"


@dataclass(frozen=True)
class Prod:
    """Row-major product: the last factor runs fastest."""

    factors: tuple[Term, ...]

    def __repr__(self) -> str:
        return "(" + "*".join(map(repr, self.factors)) + ")"


@dataclass(frozen=True)
class Sum:
    """Concatenation."""

    parts: tuple[Term, ...]

    def __repr__(self) -> str:
        return "(" + "+".join(map(repr, self.parts)) + ")"


Term = Dim | Prod | Sum


def size(term: Term) -> int | None:
    """Number of elements of a term, `None` if a dim in it is of unknown size."""
    if isinstance(term, Dim):
        return term.size
    children = [size(c) for c in (term.factors if isinstance(term, Prod) else term.parts)]
    known = [c for c in children if c is not None]
    if len(known) < len(children):
        return None
    if isinstance(term, Sum):
        return sum(known)
    product = 1
    for k in known:
        product *= k
    return product


def leaves(term: Term) -> Iterator[Dim]:
    """The dims of a term from left to right."""
    if isinstance(term, Dim):
        yield term
    else:
        for child in term.factors if isinstance(term, Prod) else term.parts:
            yield from leaves(child)


class Solver:
    """Union-find over dims with substitution by terms."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._bindings: dict[Dim, Term] = {}
        self._pins: dict[Dim, list[str]] = {}

    def fresh(self, size: int | None) -> Dim:
        """A new dim."""
        return Dim(next(self._numbers), size)

    def resolve(self, term: Term) -> Term:
        """The term with all substitutions applied, nested products and sums flattened."""
        if isinstance(term, Dim):
            bound = self._bindings.get(term)
            if bound is None:
                return term
            resolved = self.resolve(bound)
            self._bindings[term] = resolved  # path compression
            return resolved
        if isinstance(term, Prod):
            return _prod([self.resolve(f) for f in term.factors])
        return _sum([self.resolve(p) for p in term.parts])

    def pin(self, term: Term, reason: str) -> None:
        """Keep the sizes of all dims of a term, for this reason."""
        for dim in leaves(self.resolve(term)):
            reasons = self._pins.setdefault(dim, [])
            if reason not in reasons:
                reasons.append(reason)

    def reasons(self, dim: Dim) -> tuple[str, ...]:
        """Why a (resolved) dim keeps its size; empty if it need not."""
        return tuple(self._pins.get(dim, ()))

    def unify(self, a: Term, b: Term, where: str) -> None:
        """Make two terms equal; pin what cannot be aligned, with a reason that names `where`."""
        a, b = self.resolve(a), self.resolve(b)
        if a == b:
            return
        size_a, size_b = size(a), size(b)
        if size_a is not None and size_b is not None and size_a != size_b:
            self._give_up(a, b, f"its two sides differ in size ({size_a} and {size_b}) at {where}")
        elif isinstance(a, Dim):
            self._bind(a, b, where)
        elif isinstance(b, Dim):
            self._bind(b, a, where)
        elif isinstance(a, Sum) and isinstance(b, Sum):
            self._align_sums(list(a.parts), list(b.parts), where)
        elif isinstance(a, Prod) and isinstance(b, Prod):
            self._align_products(list(a.factors), list(b.factors), where)
        elif isinstance(a, Sum) and isinstance(b, Prod):
            self._distribute(b, a, where)
        elif isinstance(a, Prod) and isinstance(b, Sum):
            self._distribute(a, b, where)

    def _give_up(self, a: Term, b: Term, reason: str) -> None:
        self.pin(a, reason)
        self.pin(b, reason)

    def _bind(self, dim: Dim, term: Term, where: str) -> None:
        if dim in leaves(term):
            # Only factors of size one can be left over here.
            self.pin(term, f"a dimension of size one appears or disappears at {where}")
            return
        if dim.size is not None and size(term) is None:
            if not isinstance(term, Dim):
                self._give_up(dim, term, f"a known size is made of unknown ones at {where}")
                return
            dim, term = term, dim  # the dim whose size is known survives
        self._bindings[dim] = term
        for reason in self._pins.pop(dim, []):
            self.pin(term, reason)

    def _align_sums(self, left: list[Term], right: list[Term], where: str) -> None:
        while left and right:
            a, b = self.resolve(left.pop(0)), self.resolve(right.pop(0))
            size_a, size_b = size(a), size(b)
            if a == b or (size_a == size_b and size_a is not None):
                self.unify(a, b, where)
            elif size_a is None or size_b is None:
                self._give_up(_sum([a, *left]), _sum([b, *right]), f"parts of unknown size are joined at {where}")
                return
            elif size_a > size_b:
                left[:0] = self._cut(a, size_b, where)
                right.insert(0, b)
            else:
                right[:0] = self._cut(b, size_a, where)
                left.insert(0, a)
        for rest in (*left, *right):
            self.pin(rest, f"parts do not line up at {where}")

    def _cut(self, term: Term, first: int, where: str) -> tuple[Term, Term]:
        """Split `term` into its first `first` elements and the rest."""
        total = size(term)
        assert total is not None
        pair: tuple[Term, Term] = (self.fresh(first), self.fresh(total - first))
        self.unify(term, Sum(pair), where)
        return pair

    def _distribute(self, product: Prod, parts: Sum, where: str) -> None:
        """`f*rest = p1 + p2 + ...` holds if `f = q1 + q2 + ...` with `p_i = q_i*rest`."""
        inner = size(_prod(list(product.factors[1:])))
        sizes = [size(p) for p in parts.parts]
        if inner is None or inner == 0 or any(s is None or s % inner for s in sizes):
            self._give_up(product, parts, f"a boundary falls inside an inner dimension at {where}")
            return
        pieces = tuple(self.fresh((s or 0) // inner) for s in sizes)
        self.unify(product.factors[0], Sum(pieces), where)
        for piece, part in zip(pieces, parts.parts, strict=True):
            self.unify(_prod([piece, *product.factors[1:]]), part, where)

    def _align_products(self, left: list[Term], right: list[Term], where: str) -> None:
        self._match_ends(left, right, where)
        while left and right:
            a, b = self.resolve(left[0]), self.resolve(right[0])
            size_a, size_b = size(a), size(b)
            if len(left) == 1 or len(right) == 1:
                self.unify(_prod(left), _prod(right), where)
                return
            if size_a is None or size_b is None:
                self._give_up(_prod(left), _prod(right), f"dimensions of unknown size are rearranged at {where}")
                return
            if size_a == size_b:
                self.unify(a, b, where)
                left.pop(0)
                right.pop(0)
            elif size_a == 1:
                self.pin(left.pop(0), f"a dimension of size one disappears at {where}")
            elif size_b == 1:
                self.pin(right.pop(0), f"a dimension of size one disappears at {where}")
            elif size_a > size_b and size_a % size_b == 0:
                left[:1] = self._factor(a, size_b, where)
            elif size_b > size_a and size_b % size_a == 0:
                right[:1] = self._factor(b, size_a, where)
            else:
                self._give_up(_prod(left), _prod(right), f"its factors do not line up at {where}")
                return
        for rest in (*left, *right):
            self.pin(rest, f"a dimension of size one disappears at {where}")

    def _match_ends(self, left: list[Term], right: list[Term], where: str) -> None:
        """Take off what is certainly equal at both ends; with one unknown size in the middle this decides."""
        for end in (-1, 0):
            while len(left) > 1 and len(right) > 1:
                a, b = self.resolve(left[end]), self.resolve(right[end])
                if a != b and (size(a) is None or size(a) != size(b)):
                    break
                self.unify(a, b, where)
                left.pop(end)
                right.pop(end)
        if len(left) > 1 and len(right) > 1:
            a, b = self.resolve(left[0]), self.resolve(right[0])
            rest = size(_prod(left[1:]))
            if size(a) is None and size(b) is None and rest is not None and rest == size(_prod(right[1:])):
                self.unify(a, b, where)  # the batch: two unknown sizes are equal because all others are
                left.pop(0)
                right.pop(0)

    def _factor(self, term: Term, outer: int, where: str) -> list[Term]:
        """Split `term` as a product whose first factor has the size `outer`."""
        total = size(term)
        assert total is not None
        pair: list[Term] = [self.fresh(outer), self.fresh(total // outer)]
        self.unify(term, Prod(tuple(pair)), where)
        return pair


def _prod(factors: list[Term]) -> Term:
    flat = [g for f in factors for g in (f.factors if isinstance(f, Prod) else (f,))]
    return flat[0] if len(flat) == 1 else Prod(tuple(flat))


def _sum(parts: list[Term]) -> Term:
    flat = [q for p in parts for q in (p.parts if isinstance(p, Sum) else (p,))]
    return flat[0] if len(flat) == 1 else Sum(tuple(flat))
