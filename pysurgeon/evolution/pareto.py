"""Fronts of points of which none is better in everything (Deb et al., NSGA-II, IEEE Trans. Evol. Comput. 6, 2002)."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Whether a is nowhere worse (larger) than b and somewhere better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Indices by front: nobody dominates the first one's, only those of the first dominate the second one's, and so on.

    Of points that are the same, all but the first count as dominated by it.
    """
    left, found = list(range(len(points))), []
    while left:
        front = [
            k
            for k in left
            if not any(
                dominates(points[j], points[k]) or (j < k and tuple(points[j]) == tuple(points[k])) for j in left
            )
        ]
        found.append(front)
        left = [k for k in left if k not in front]
    return found


def crowding(points: Sequence[Point]) -> list[float]:
    """Room that each point of a front has to itself: the larger, the more would be lost with it; infinite at the ends."""
    room = [0.0] * len(points)
    for axis in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda k: points[k][axis])
        span = points[order[-1]][axis] - points[order[0]][axis]
        if span == 0:
            continue
        room[order[0]] = room[order[-1]] = math.inf
        for before, k, after in zip(order, order[1:], order[2:], strict=False):
            room[k] += (points[after][axis] - points[before][axis]) / span
    return room
