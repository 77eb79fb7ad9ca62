"""How often the branches of each origin won, beside chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from pysurgeon.report.statistics import at_least

if TYPE_CHECKING:
    from pysurgeon.report.run_summary import GenerationRecord

Origin = Literal["doubled", "cut", "uniform", "recommended", "random", "parent"]


@dataclass(frozen=True)
class Success:
    """How often branches of one origin won, beside chance.

    Attributes:
        kind: The origin.
        raced: How many raced in decided generations.
        won: How many of them won.
        expected: Wins to expect if winners were drawn by lot.
        probability: Of at least so many wins by lot.
        gain: Mean difference of validation accuracy to the parent, `None` where nothing was measured.
    """

    kind: Origin
    raced: int
    won: int
    expected: float
    probability: float
    gain: float | None


def successes(generations: Sequence[GenerationRecord]) -> tuple[Success, ...]:
    """By origin, of the generations that are decided; origins that never raced are missing."""
    decided = [g for g in generations if g.winner is not None]
    found = []
    for kind in get_args(Origin):
        chances, raced, won, gains = [], 0, 0, []
        for generation in decided:
            racing = [b for b in generation.branches if b.fate != "refused"]
            own = [b for b in racing if b.origin == kind]
            chances.append(len(own) / len(racing))
            raced += len(own)
            won += sum(b.fate == "won" for b in own)
            gains += [b.gain for b in own if b.gain is not None]
        mean = sum(gains) / len(gains) if gains else None
        if raced:
            found.append(Success(kind, raced, won, sum(chances), at_least(won, chances), mean))
    return tuple(found)
