"""What a run has learnt about its own recommendations: gains seen against gains expected, by kind of operation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pysurgeon.evolution.fitness import merit

# Accuracy that counts as evidence for the prior guesses, and how far experience may move them. Both are cautious: a race
# sees only the beginning of what new units will learn.
_PRIOR, _LOWEST, _HIGHEST = 0.1, 0.3, 3.0


def experience(events: Iterable[dict[str, Any]]) -> dict[str, float]:
    """How much of the expected gain was seen, by kind of operation.

    A branch is compared with its parent at the last step that both reached in the race. What a branch of several operations
    gained counts for each kind among them.

    Args:
        events: The lineage.

    Returns:
        Factors by kind; a kind that was not tried yet is missing.
    """
    branched: dict[str, dict[str, Any]] = {}
    trained: dict[str, dict[int, float]] = {}
    for event in events:
        if event["event"] == "branched" and not event["refused"]:
            branched[event["branch"]] = event
        elif event["event"] == "trained" and event["accuracy"] is not None and event["loss"] is not None:
            trained.setdefault(event["branch"], {})[event["until"]] = merit(event["accuracy"], event["loss"])
    expected: dict[str, float] = {}
    seen: dict[str, float] = {}
    for name, event in branched.items():
        shared = trained.get(name, {}).keys() & trained.get(event["parent"], {}).keys()
        if event["expected_gain"] <= 0 or not shared:
            continue
        last = max(shared)
        for kind in {record["operation"].partition(":")[0] for record in event["records"]}:
            expected[kind] = expected.get(kind, 0.0) + event["expected_gain"]
            seen[kind] = seen.get(kind, 0.0) + trained[name][last] - trained[event["parent"]][last]
    return {
        kind: min(_HIGHEST, max(_LOWEST, (seen[kind] + _PRIOR) / (expected[kind] + _PRIOR)))
        for kind in sorted(expected)
    }
