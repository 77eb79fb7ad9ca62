"""Fitness: which of two branches is better for what the user wants. Only validation figures enter.

Accuracy on some hundred samples is a coarse scale: two branches often differ by less than its steps. So a branch's *merit* is the mean of
its accuracy and of exp(-cross-entropy), which is the geometric mean of the probability that it gives to the right class and lies
on the same scale from 0 to 1. The one counts decisions, the other sees them coming.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pysurgeon.diagnosis import growth
from pysurgeon.evolution.population import Branch
from pysurgeon.evolution.settings import EvolveSettings
from pysurgeon.graph.costs import Costs, costs


@dataclass(frozen=True)
class Fitness:
    """An ordering of branches.

    Attributes:
        settings: Objective, price, tolerance and limits.
        start: Costs of the start.
    """

    settings: EvolveSettings
    start: Costs

    def allowed(self, model_costs: Costs, latency: float) -> str:
        """Why a model breaks a limit, empty if it does not."""
        limits = (
            ("parameters", model_costs.parameters, self.settings.max_parameters),
            ("multiply-accumulate operations", model_costs.macs, self.settings.max_macs),
            ("ms latency", latency, self.settings.max_latency),
        )
        for what, value, limit in limits:
            if limit is not None and value > limit:
                return f"{value:,.6g} {what} are more than the {limit:,.6g} allowed"
        return ""

    def key(self, branch: Branch, reference: float) -> tuple[float, ...]:
        """What to compare branches by; the larger is the better one.

        Args:
            branch: The branch.
            reference: Best validation accuracy seen so far, which `size` and `latency` may fall short of by the
                tolerance.
        """
        worth = merit(branch.accuracy, branch.loss)
        size = costs(branch.model)
        if self.settings.objective == "accuracy":
            return (worth - self.settings.price * 100 * growth(self.start, size),)
        good_enough = branch.accuracy >= reference - self.settings.tolerance
        cost = branch.latency if self.settings.objective == "latency" else float(size.parameters)
        return (1.0, -cost, worth) if good_enough else (0.0, worth, -cost)


def merit(accuracy: float, loss: float) -> float:
    """Mean of a validation accuracy and of the geometric mean probability of the right class, 0..1."""
    return (accuracy + math.exp(-loss)) / 2


def best(branches: list[Branch], fitness: Fitness, reference: float) -> Branch:
    """The fittest branch; of equals the first, and the parent comes first."""
    return max(branches, key=lambda b: fitness.key(b, reference))


def ranked(branches: list[Branch], fitness: Fitness, reference: float) -> list[Branch]:
    """The fittest first; equals keep their order."""
    return sorted(branches, key=lambda b: fitness.key(b, reference), reverse=True)
