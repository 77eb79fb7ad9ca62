"""Strategies: where candidates come from, how they race, and when. The loop is the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass

from pysurgeon.evolution.paper import Trial, by_paper
from pysurgeon.evolution.proposals import Propose, by_chance, by_recommendation
from pysurgeon.evolution.race import Halving, Race
from pysurgeon.evolution.settings import EvolveSettings
from pysurgeon.evolution.timeline import Timeline

# Most members of a front that are carried on: each of them costs as much as a trunk.
FRONT = 4
# Kinds of operations of which the paper tries the best, one random operation, and the parents.
_PAPER_BRANCHES = 7


@dataclass(frozen=True)
class Strategy:
    """How a run looks for better networks.

    Attributes:
        propose: Where candidates come from.
        race: How they compete.
        branches: Candidates of a generation, where enough are possible.
        timeline: When.
    """

    propose: Propose
    race: Race
    branches: int
    timeline: Timeline

    @staticmethod
    def of(settings: EvolveSettings, total: int) -> Strategy:
        """The strategy that settings name.

        Args:
            settings: Of the run.
            total: Steps of the trunk.
        """
        generations = settings.generations
        if settings.strategy == "paper":
            even = Timeline(total, generations, first=1 / (generations + 1), last=0.0)
            return Strategy(by_paper, Trial(), _PAPER_BRANCHES, even)
        propose = by_recommendation if settings.strategy == "bic" else by_chance
        race = Halving(FRONT if settings.objective == "pareto" else 1)
        return Strategy(propose, race, settings.branches + 1, Timeline(total, generations))
