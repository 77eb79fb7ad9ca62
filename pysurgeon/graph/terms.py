"""Terms: what the elements along an axis are.

A term is a tree. A leaf is a `Dim`; `Prod` lays its factors out in row-major order, `Sum` concatenates its parts:
a feature map `[N, C, H, W]` flattened from axis 1 on has the term `C*H*W`, and a concatenation along the channels has
`C1 + C2`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, eq=False)
class Dim:
    """A dimension whose elements are not divided any further (as far as is known yet).

    Attributes:
        number: Order of creation, for stable output.
        size: Number of elements, `None` if unknown (a dynamic batch, say).
        symbol: What the file calls an unknown size; the same name is the same number.
    """

    number: int
    size: int | None
    symbol: str | None = None

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


def squared(term: Term, dim: Dim) -> bool:
    """Whether a product in a term has a dim in more than one of its factors, so that its elements belong to pairs of units."""
    if isinstance(term, Dim):
        return False
    children = term.factors if isinstance(term, Prod) else term.parts
    several = isinstance(term, Prod) and sum(dim in leaves(c) for c in children) > 1
    return several or any(squared(c, dim) for c in children)


@dataclass(frozen=True)
class Mark:
    """Something that an operator says of a dim besides which other dims it is.

    Attributes:
        effect: `pinned`: it keeps its size. `averaged`: an operator averages along it, so only a whole multiple of the units, all
            copied alike, leaves what it computes as it was. `changed`: whatever is resized there changes what is computed.
        reason: Why, as a clause.
    """

    effect: Literal["pinned", "averaged", "changed"]
    reason: str


def alike(a: Term, b: Term) -> bool:
    """Whether two terms certainly have the same number of elements."""
    if a == b:
        return True
    if isinstance(a, Dim) and isinstance(b, Dim) and a.symbol is not None and a.symbol == b.symbol:
        return True
    return size(a) is not None and size(a) == size(b)


def prod(factors: Sequence[Term]) -> Term:
    """Row-major product, flat; of one factor the factor itself."""
    flat = [g for f in factors for g in (f.factors if isinstance(f, Prod) else (f,))]
    return flat[0] if len(flat) == 1 else Prod(tuple(flat))


def concatenation(parts: Sequence[Term]) -> Term:
    """Concatenation, flat; of one part the part itself."""
    flat = [q for p in parts for q in (p.parts if isinstance(p, Sum) else (p,))]
    return flat[0] if len(flat) == 1 else Sum(tuple(flat))


def flattened(terms: Sequence[Term]) -> Term:
    """The term of several axes flattened into one."""
    return prod(list(terms))
