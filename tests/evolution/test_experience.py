"""What a run learns about its own recommendations."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pysurgeon.evolution.experience import experience


def branched(name: str, gain: float, *operations: str, refused: str = "", parent: str = "start") -> dict[str, Any]:
    records = [{"operation": text} for text in operations]
    return {
        "event": "branched",
        "branch": name,
        "parent": parent,
        "expected_gain": gain,
        "records": records,
        "refused": refused,
    }


def trained(name: str, until: int, accuracy: float | None, loss: float | None = 0.5) -> dict[str, Any]:
    return {"event": "trained", "branch": name, "until": until, "accuracy": accuracy, "loss": loss}


BASE = [trained("start", 10, 0.5), trained("start", 20, 0.6)]


def test_nothing_is_learnt_from_nothing() -> None:
    assert experience([]) == {}
    assert experience([*BASE, branched("a", 0.1, "widen:x=3")]) == {}  # not trained
    assert experience([*BASE, branched("a", 0.1, "widen:x=3"), trained("a", 15, 0.9)]) == {}  # never beside its parent
    assert experience([*BASE, branched("a", -0.1, "narrow:x=3"), trained("a", 20, 0.9)]) == {}  # nothing was promised
    assert experience([*BASE, branched("a", 0.1, "widen:x=3", refused="no"), trained("a", 20, 0.9)]) == {}
    assert experience([*BASE, branched("a", 0.1, "widen:x=3"), trained("a", 20, None, None)]) == {}  # diverged


def test_what_was_promised_and_kept_changes_nothing() -> None:
    found = experience([*BASE, branched("a", 0.1, "widen:x=3"), trained("a", 20, 0.8)])
    assert found == {"widen": pytest.approx(1.0)}


def test_what_gains_more_counts_more_and_what_loses_counts_less() -> None:
    def factor(accuracy: float) -> float:
        return experience([*BASE, branched("a", 0.1, "widen:x=3"), trained("a", 20, accuracy)])["widen"]

    factors = [factor(a) for a in (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
    assert factors == sorted(factors)
    assert 0 < factors[0] < 1 < factors[-1] < math.inf


def test_the_last_step_that_both_reached_decides() -> None:
    events = [
        *BASE,
        branched("a", 0.1, "widen:x=3"),
        trained("a", 10, 0.0),
        trained("a", 20, 0.8),
        trained("a", 30, 0.0),
    ]
    assert experience(events) == {"widen": pytest.approx(1.0)}


def test_every_kind_of_a_joined_branch_counts_once() -> None:
    joined = branched("a", 0.1, "widen:x=3", "widen:y=4", "insert:x")
    found = experience([*BASE, joined, trained("a", 20, 0.8)])
    assert found == {"insert": pytest.approx(1.0), "widen": pytest.approx(1.0)}


def test_the_order_of_branches_that_end_at_once_does_not_matter() -> None:
    made = [branched("a", 0.1, "widen:x=3"), branched("b", 0.2, "widen:y=3")]
    ends = [trained("a", 20, 0.7), trained("b", 20, 0.4), *BASE]
    assert experience([*made, *ends]) == experience([*made, *reversed(ends)])
