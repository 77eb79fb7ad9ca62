"""Fronts beside their definition."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pysurgeon.evolution.pareto import crowding, dominates, fronts

Point = tuple[float, ...]

points = st.integers(1, 3).flatmap(
    lambda axes: st.lists(st.tuples(*[st.integers(0, 4).map(float)] * axes), min_size=1, max_size=12)
)


@given(points)
def test_dominance_is_being_nowhere_worse_and_not_the_same(found: list[Point]) -> None:
    for a in found:
        for b in found:
            lowest = tuple(map(min, a, b))
            assert dominates(a, b) == (a == lowest != b)


@given(points)
def test_every_point_is_in_the_front_that_its_definition_says(found: list[Point]) -> None:
    ordered = fronts(found)
    assert sorted(k for front in ordered for k in front) == list(range(len(found)))
    for level, front in enumerate(ordered):
        for k in front:
            assert not any(dominates(found[j], found[k]) for j in front)
            assert sum(found[j] == found[k] for j in front) == 1
            if level > 0:
                before = ordered[level - 1]
                assert any(dominates(found[j], found[k]) or (found[j] == found[k] and j < k) for j in before)


@given(points)
def test_the_ends_of_a_front_have_all_the_room(found: list[Point]) -> None:
    front = [found[k] for k in fronts(found)[0]]
    room = crowding(front)
    for axis in range(len(front[0])):
        values = [p[axis] for p in front]
        if max(values) > min(values):
            for end in (min(values), max(values)):
                assert any(math.isinf(room[k]) for k, value in enumerate(values) if value == end)
    assert all(r >= 0 for r in room)


def test_a_point_in_a_gap_has_more_room_than_one_in_a_crowd() -> None:
    _, crowded, alone, _ = crowding([(0.0, 10.0), (1.0, 9.0), (5.0, 5.0), (10.0, 0.0)])
    assert alone > crowded
    assert crowded == 5 / 10 + 5 / 10
