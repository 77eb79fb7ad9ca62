"""Strategies: what is tried when, where candidates come from, and how they race. The loop is the same for all of them.

`surgeon`, the default, does early what is exact and late what is not: all widths are doubled as long as a doubling pays, then layers are
tried that no curve speaks for, then all widths are cut at once (`pysurgeon.diagnosis.cut`), and races say how far. `random` draws its
operations by lot: the control. `paper` is the method of Schiessler et al. (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

from pysurgeon.evolution.race import Growing, Halving, Race
from pysurgeon.evolution.strategies.grow_and_cut import DOUBLINGS, LEVELS, by_cut, by_depth, by_doubling
from pysurgeon.evolution.strategies.proposals import Propose, by_chance
from pysurgeon.evolution.strategies.schiessler2021 import Trial, by_paper
from pysurgeon.settings import EvolveSettings

# Most members of a front that are carried on: each of them costs as much as a trunk.
FRONT = 4
# Kinds of operations of which the paper tries the best, one random operation, and the parents.
_PAPER_BRANCHES = 7
# Shares of the steps: of a race that only adds; where such races begin; and where cuts begin and end.
_RACE, _GROWING, _CUTTING = 0.05, 0.05, (0.55, 0.7)
# Where a run does nothing but cut, and how often at most: more cuts lose more than they save. Not earlier: what is not trained yet seems to do without everything.
_ONLY_CUTTING, CUTS = (0.5, 0.85), 3


@dataclass(frozen=True)
class Round:
    """Something that is tried once in a run.

    Attributes:
        begin: Step of the trunk at which it branches.
        end: Step at which the race ends.
        propose: Where candidates come from.
        race: How they compete.
        branches: Candidates, where enough are possible.
        within: Whether candidates must keep the limits. What grows need not, where a cut follows.
    """

    begin: int
    end: int
    propose: Propose
    race: Race
    branches: int
    within: bool = True


@dataclass(frozen=True)
class Strategy:
    """How a run looks for better networks.

    Attributes:
        total: Steps of the trunk.
        rounds: In order. Between them, what is carried on trains alone.
    """

    total: int
    rounds: tuple[Round, ...]

    @staticmethod
    def of(settings: EvolveSettings, total: int) -> Strategy:
        """The strategy that settings name.

        Args:
            settings: Of the run.
            total: Steps of the trunk.
        """
        count = settings.generations
        if settings.strategy == "paper":
            spans = even(total, count, 1 / (count + 1), 1.0)
            return Strategy(total, tuple(Round(*s, by_paper, Trial(), _PAPER_BRANCHES) for s in spans))
        race = Halving(FRONT if settings.objective == "pareto" else 1)
        if settings.strategy == "random":
            spans = even(total, count, 0.1, 0.75)
            return Strategy(total, tuple(Round(*s, by_chance, race, settings.branches + 1) for s in spans))
        return Strategy(total, tuple(_surgeon(settings, total, race)))


def _surgeon(settings: EvolveSettings, total: int, race: Race) -> list[Round]:
    """The last round cuts, those before it double, a fifth one tries layers; where nothing may grow, all cut, and three do."""
    count = settings.generations
    if not settings.may_grow:
        return [
            Round(*s, by_cut, race, LEVELS + 1 + settings.branches)
            for s in even(total, min(CUTS, count), *_ONLY_CUTTING)
        ]
    doublings = min(DOUBLINGS, max(0, count - 1))
    deeper = min(1, max(0, count - 1 - doublings))
    growing = even(total, doublings + deeper, _GROWING, _GROWING + _RACE * (doublings + deeper))
    # How large a network may be, a cut can foretell; how fast it will be, it cannot.
    timed = settings.max_latency is not None
    rounds = [Round(*s, by_doubling, Growing(), 1, within=timed) for s in growing[:doublings]]
    rounds += [Round(*s, by_depth, Halving(1), settings.branches, within=timed) for s in growing[doublings:]]
    return rounds + [Round(*s, by_cut, race, LEVELS + 1) for s in even(total, count - len(rounds), *_CUTTING)]


def even(total: int, count: int, first: float, last: float) -> list[tuple[int, int]]:
    """Steps at which races of equal length begin and end, one after the other.

    Args:
        total: Steps of the trunk.
        count: Races.
        first: Share of the steps at which the first one begins.
        last: Share at which the last one ends.
    """
    begin = max(1, round(total * first))
    span = max(begin, round(total * last)) - begin
    return [(begin + span * k // count, begin + span * (k + 1) // count) for k in range(count)]
