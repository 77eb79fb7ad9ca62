"""Unification: which terms are the same, and so which axes belong together.

Unification makes two terms equal by substituting dims, splitting one where a boundary falls inside it (row polymorphism with
sizes, if you like). Where two terms cannot be aligned, the dims involved are *pinned*: they keep their size, and the reason says why.
"""

from __future__ import annotations

import itertools

from pysurgeon.graph.terms import Dim, Mark, Prod, Sum, Term, alike, concatenation, leaves, prod, size

# A width that runs through a whole network could collect one reason a node; these are enough to understand.
_MOST_MARKS = 6
# Of one equation. What overlaps itself, as the frames of a spectrogram do, would be cut into single elements: `a + f = f + b` says of `f` that
# all of its parts of the size of `a` are the same. Real layouts take a handful of either.
_DEEPEST, _MOST_STEPS = 32, 4096


class Solver:
    """Union-find over dims with substitution by terms."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._bindings: dict[Dim, Term] = {}
        self._marks: dict[Dim, dict[Mark, None]] = {}
        self._depth = self._steps = 0

    def fresh(self, size: int | None, symbol: str | None = None) -> Dim:
        """A new dim."""
        return Dim(next(self._numbers), size, symbol)

    def resolve(self, term: Term) -> Term:
        """The term with all substitutions applied, nested products and sums flattened."""
        if isinstance(term, Dim):
            chain: list[Dim] = []
            last: Term = term
            while isinstance(last, Dim) and (bound := self._bindings.get(last)) is not None:
                chain.append(last)
                last = bound
            if not chain:
                return term
            if not isinstance(last, Dim):
                last = self.resolve(last)
            for dim in chain:
                self._bindings[dim] = last  # path compression
            return last
        if isinstance(term, Prod):
            return prod([self.resolve(f) for f in term.factors])
        return concatenation([self.resolve(p) for p in term.parts])

    def pin(self, term: Term, reason: str) -> None:
        """Keep the sizes of all dims of a term, for this reason."""
        self.mark(term, Mark("pinned", reason))

    def mark(self, term: Term, mark: Mark) -> None:
        """Note something of all dims of a term."""
        for dim in leaves(self.resolve(term)):
            marks = self._marks.setdefault(dim, {})
            if len(marks) < _MOST_MARKS or mark.effect not in {m.effect for m in marks}:
                marks[mark] = None

    def marks(self, dim: Dim) -> tuple[Mark, ...]:
        """What was noted of a (resolved) dim."""
        return tuple(self._marks.get(dim, ()))

    def reasons(self, dim: Dim) -> tuple[str, ...]:
        """Why a (resolved) dim keeps its size; empty if it need not."""
        return tuple(m.reason for m in self.marks(dim) if m.effect == "pinned")

    def unify(self, a: Term, b: Term, where: str) -> None:
        """Make two terms equal; pin what cannot be aligned, with a reason that names `where`."""
        self._steps = self._steps + 1 if self._depth else 0
        self._depth += 1
        try:
            self._unify(a, b, where)
        finally:
            self._depth -= 1

    def _unify(self, a: Term, b: Term, where: str) -> None:
        a, b = self.resolve(a), self.resolve(b)
        if a == b:
            return
        size_a, size_b = size(a), size(b)
        if size_a is not None and size_b is not None and size_a != size_b:
            self._give_up(a, b, f"its two sides differ in size ({size_a} and {size_b}) at {where}")
        elif self._depth > _DEEPEST or self._steps > _MOST_STEPS:
            self._give_up(a, b, f"parts that overlap are joined at {where}")
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
            # Only factors of size one can be left over here. As long as they stay one, the dim is what it was.
            for other in leaves(term):
                if other is not dim:
                    self.pin(other, f"a dimension of size one appears or disappears at {where}")
            return
        if dim.size is not None and size(term) is None:
            if not isinstance(term, Dim):
                self._give_up(dim, term, f"a known size is made of unknown ones at {where}")
                return
            dim, term = term, dim  # the dim whose size is known survives
        self._bindings[dim] = term
        for mark in self._marks.pop(dim, ()):
            self.mark(term, mark)

    def _align_sums(self, left: list[Term], right: list[Term], where: str) -> None:
        while left and right:
            a, b = self.resolve(left.pop(0)), self.resolve(right.pop(0))
            size_a, size_b = size(a), size(b)
            if a == b or (size_a == size_b and size_a is not None):
                self.unify(a, b, where)
            elif size_a is None or size_b is None:
                self._give_up(
                    concatenation([a, *left]),
                    concatenation([b, *right]),
                    f"parts of unknown size are joined at {where}",
                )
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
        inner = size(prod(list(product.factors[1:])))
        sizes = [size(p) for p in parts.parts]
        if inner is None or inner == 0 or any(s is None or s % inner for s in sizes):
            self._give_up(product, parts, f"a boundary falls inside an inner dimension at {where}")
            return
        pieces = tuple(self.fresh((s or 0) // inner) for s in sizes)
        self.unify(product.factors[0], Sum(pieces), where)
        for piece, part in zip(pieces, parts.parts, strict=True):
            self.unify(prod([piece, *product.factors[1:]]), part, where)

    def _align_products(self, left: list[Term], right: list[Term], where: str) -> None:
        self._match_ends(left, right, where)
        while left and right:
            if len(left) == 1 or len(right) == 1:
                self.unify(prod(left), prod(right), where)
                return
            if not (self._align_end(left, right, 0, where) or self._align_end(left, right, -1, where)):
                sizes = [size(t) for t in (*left, *right)]
                why = "dimensions of unknown size are rearranged" if None in sizes else "its factors do not line up"
                self._give_up(prod(left), prod(right), f"{why} at {where}")
                return
        for rest in (*left, *right):
            self.pin(rest, f"a dimension of size one disappears at {where}")

    def _align_end(self, left: list[Term], right: list[Term], end: int, where: str) -> bool:
        """Take off or split the factors at one end; `False` if it cannot be told how they line up there."""
        a, b = self.resolve(left[end]), self.resolve(right[end])
        size_a, size_b = size(a), size(b)
        if alike(a, b):
            self.unify(a, b, where)
            left.pop(end)
            right.pop(end)
        elif size_a is None or size_b is None or size_a == 0 or size_b == 0:
            return False
        elif size_a == 1:
            self.pin(left.pop(end), f"a dimension of size one disappears at {where}")
        elif size_b == 1:
            self.pin(right.pop(end), f"a dimension of size one disappears at {where}")
        elif size_a % size_b == 0:
            self._split_end(left, a, size_b, end, where)
        elif size_b % size_a == 0:
            self._split_end(right, b, size_a, end, where)
        else:
            return False
        return True

    def _split_end(self, factors: list[Term], term: Term, known: int, end: int, where: str) -> None:
        """Split the factor at one end so that the new end has the size `known`."""
        total = size(term)
        assert total is not None
        factors[end : end + 1 or None] = self._factor(term, known if end == 0 else total // known, where)

    def _match_ends(self, left: list[Term], right: list[Term], where: str) -> None:
        """Take off what is certainly equal at both ends; with one unknown size in the middle this decides."""
        for end in (-1, 0):
            while len(left) > 1 and len(right) > 1:
                a, b = self.resolve(left[end]), self.resolve(right[end])
                if not alike(a, b):
                    break
                self.unify(a, b, where)
                left.pop(end)
                right.pop(end)
        if len(left) > 1 and len(right) > 1:
            a, b = self.resolve(left[0]), self.resolve(right[0])
            rest = size(prod(left[1:]))
            if size(a) is None and size(b) is None and rest is not None and rest == size(prod(right[1:])):
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
