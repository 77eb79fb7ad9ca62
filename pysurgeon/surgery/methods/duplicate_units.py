"""Units that are copies of one another, each with a share: what `widen` makes by splitting goes back into one, on any input.

Copy i of a unit holds a_i^e times it in a tensor of exponent e (see `pysurgeon.widths.scale_exponents`). So two units are copies if there is one
number r such that in every tensor the second is r^e times the first. Both become one by multiplying the first with (1 + r)^e. Where only
the readers carry shares, it is enough that the writers are equal: the weights that read the copies are summed, whatever they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pysurgeon.graph import Array
from pysurgeon.graph.terms import squared
from pysurgeon.surgery.edits.edit import AxisMap
from pysurgeon.widths.axis_layout import Dense, Select, units
from pysurgeon.widths.structure import Structure, Width

# What float32 leaves of a ratio of two units, and of the cosine between them.
_RATIO, _ANGLE = 1e-5, 1e-11


def merged(structure: Structure, width: Width, size: int) -> list[AxisMap] | None:
    """The maps that put copies together until a width has this size; `None` where there are not enough of them.

    Where something averages along the width, every unit has to have as many copies, all of which go.
    """
    first, share = _copies(structure, width)
    again = np.flatnonzero(first != np.arange(width.size))
    gone = again[len(again) - (width.size - size) :]
    if len(again) < width.size - size or not (width.exact or width.averaged):
        return None
    if width.averaged and (len(gone) < len(again) or len(np.unique(np.bincount(first)[first])) > 1):
        return None
    kept = np.setdiff1d(np.arange(width.size), gone)
    if summed(structure, width):
        into = np.arange(width.size)
        into[gone] = first[gone]
        total = (kept[:, None] == into).astype(np.float32)
        writers = [AxisMap(t, a, width.dim, Select.of(kept)) for t, a in width.writers]
        return writers + [AxisMap(t, a, width.dim, Dense(total)) for t, a in width.readers]
    whole = np.ones(width.size)
    np.add.at(whole, first[gone], share[gone])
    return [
        AxisMap(t, a, width.dim, Select.of(kept, (whole[kept] ** float(width.exponents[t, a])).astype(np.float32)))
        for t, a in (*width.writers, *width.readers)
    ]


def summed(structure: Structure, width: Width) -> bool:
    """Whether copies of a unit are equal wherever they are read: then nothing but the sum of the weights that read them counts."""
    places = (*width.writers, *width.readers)
    return (
        not {t for t, _ in width.writers} & {t for t, _ in width.readers}
        and all(width.exponents[place] == (place in width.readers) for place in places)
        and not any(squared(structure.term(t, a), width.dim) for t, a in places)
    )


def _copies(structure: Structure, width: Width) -> tuple[Array, Array]:
    """Of which unit each one is a copy, and how large its share is beside that one's: int64 (n,), float64 (n,).

    The first copy of every unit is one of itself.
    """
    alike: list[Array] = []
    shared: list[tuple[Array, float]] = []
    for tensor, axis in width.writers if summed(structure, width) else (*width.writers, *width.readers):
        rows = units(structure.model.tensor(tensor), axis, structure.term(tensor, axis), width.dim).T
        exponent = float(width.exponents[tensor, axis])
        if exponent:
            shared.append((rows.astype(np.float64), exponent))
        else:
            alike.append(np.ascontiguousarray(rows))
    kinds: dict[bytes, list[int]] = {}
    for k in range(width.size):
        kinds.setdefault(b"".join(rows[k].tobytes() for rows in alike), []).append(k)
    first, share = np.arange(width.size), np.ones(width.size)
    for members in kinds.values():
        rest = np.array(members)
        while len(rest) > 1:
            ratio = _ratios(shared, rest)
            same = np.isfinite(ratio)
            first[rest[same]], share[rest[same]] = rest[0], ratio[same]
            rest = rest[~same]
    return first, share


def _ratios(shared: Sequence[tuple[Array, float]], members: Array) -> Array:
    """How much larger the share of every unit is than that of the first one; NaN where it is no copy of it."""
    found = np.full(len(members), np.nan)
    copies = np.ones(len(members), dtype=bool)
    for rows, exponent in shared:
        some = rows[members]
        inner, squares = some @ some[0], np.square(some).sum(1)
        nothing = (squares == 0) & (squares[0] == 0)
        multiple = (inner > 0) & (squares * squares[0] - np.square(inner) <= _ANGLE * squares * squares[0])
        ratio = np.divide(squares, squares[0], out=np.ones_like(squares), where=multiple) ** (0.5 / exponent)
        known = np.isnan(found) | nothing
        copies &= nothing | (multiple & (known | (np.abs(ratio - found) <= _RATIO * ratio)))
        found = np.where(np.isnan(found) & multiple, ratio, found)
    return np.where(copies, np.where(np.isnan(found), 1.0, found), np.nan)
