"""Fitness: which of two branches is better for what the user wants. Only validation figures enter.

Accuracy on some hundred samples is a coarse scale: two branches often differ by less than its steps. So a branch's *merit* is the mean of
its accuracy and of exp(-cross-entropy), which is the geometric mean of the probability that it gives to the right class and lies
on the same scale from 0 to 1. The one counts decisions, the other sees them coming.

For the objective `pareto` there is no better one of two that differ in what they are good at: branches are ranked by fronts, and within a
front by how much room they have to themselves (Deb et al., *A fast and elitist multiobjective genetic algorithm: NSGA-II*, 2002).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pysurgeon.diagnosis import growth
from pysurgeon.evolution.branch import Branch
from pysurgeon.evolution.pareto import crowding, fronts
from pysurgeon.model.costs import Costs, costs
from pysurgeon.settings import EvolveSettings

# Latencies that differ by less are the same: two measurements of one model do.
_LATENCY_STEP = math.log(1.1)


# Accuracy beyond chance from which a network has learnt something.
_KNOWS = 0.05


@dataclass(frozen=True)
class Fitness:
    """An ordering of branches.

    Attributes:
        settings: Objective, price, tolerance and limits.
        start: Costs of the start.
        chance: Accuracy of the best constant answer.
        samples: Of the validation part; 0 where nobody counted.
    """

    settings: EvolveSettings
    start: Costs
    chance: float = 0.0
    samples: int = 0

    def without_limits(self) -> Fitness:
        """The same where no limit counts yet."""
        return replace(self, settings=replace(self.settings, max_params=None, max_macs=None, max_latency=None))

    def allowed(self, model_costs: Costs, latency: float) -> str:
        """Why a model breaks a limit, empty if it does not."""
        limits = (
            ("parameters", model_costs.parameters, self.settings.max_params),
            ("multiply-accumulate operations", model_costs.macs, self.settings.max_macs),
            ("ms latency", latency, self.settings.max_latency),
        )
        for what, value, limit in limits:
            if limit is not None and value > limit:
                return f"{value:,.6g} {what} are more than the {limit:,.6g} allowed"
        return ""

    def within(self, branch: Branch) -> bool:
        """Whether a branch keeps the limits."""
        return not self.allowed(costs(branch.model), branch.latency)

    def ranked(self, branches: Sequence[Branch], reference: float) -> list[Branch]:
        """The fittest first; equals keep their order, and the parent comes first.

        Args:
            branches: Measured at the same step.
            reference: Best validation accuracy seen so far, which `size`, `latency` and `pareto` may fall short of by the
                tolerance.
        """
        if self.settings.objective == "pareto":
            good, rest = self._good_enough(branches, reference)
            by_front = [b for front in self._fronts(good) for b in front]
            return by_front + sorted(rest, key=lambda b: merit(b.accuracy, b.loss), reverse=True)
        return sorted(branches, key=lambda b: self._key(b, reference), reverse=True)

    def selected(self, branches: Sequence[Branch], reference: float, count: int) -> list[Branch]:
        """Those that are carried on, at most `count`: the fittest, or members of the front, the most accurate first."""
        if self.settings.objective != "pareto" or not branches:
            return self.ranked(branches, reference)[:count]
        good, _ = self._good_enough(branches, reference)
        front = self._fronts(good or branches)[0]
        most_accurate = max(front, key=lambda b: merit(b.accuracy, b.loss))
        members = [most_accurate, *(b for b in front if b is not most_accurate)][:count]
        return sorted(members, key=lambda b: merit(b.accuracy, b.loss), reverse=True)

    def _key(self, branch: Branch, reference: float) -> tuple[float, ...]:
        worth = merit(branch.accuracy, branch.loss)
        size, within = costs(branch.model), self.within(branch)
        if self.settings.objective == "accuracy":
            return (float(within), worth - self.settings.price * 100 * growth(self.start, size))
        cost = branch.latency if self.settings.objective == "latency" else float(size.parameters)
        good = self._is_good(branch, reference)
        return (float(within), 1.0, -cost, worth) if good else (float(within), 0.0, worth, -cost)

    def _is_good(self, branch: Branch, reference: float) -> bool:
        return branch.accuracy >= reference - self.settings.allowed_loss

    def _good_enough(self, branches: Sequence[Branch], reference: float) -> tuple[list[Branch], list[Branch]]:
        good = [b for b in branches if self._is_good(b, reference) and self.within(b)]
        return good, [b for b in branches if b not in good]

    def _fronts(self, branches: Sequence[Branch]) -> list[list[Branch]]:
        """Front by front, in each the one with the most room first."""
        points = [self._costs(b) for b in branches]
        found = []
        for front in fronts(points):
            room = crowding([points[k] for k in front])
            order = sorted(range(len(front)), key=lambda j: -room[j])
            found.append([branches[front[j]] for j in order])
        return found

    def _costs(self, branch: Branch) -> tuple[float, ...]:
        """What a point of the front is made of; the smaller the better."""
        parameters = max(1, costs(branch.model).parameters)
        latency = round(math.log(max(branch.latency, 1e-6)) / _LATENCY_STEP)
        return (-merit(branch.accuracy, branch.loss), math.log(parameters), float(latency))


def merit(accuracy: float, loss: float) -> float:
    """Mean of a validation accuracy and of the geometric mean probability of the right class, 0..1."""
    return (accuracy + math.exp(-loss)) / 2


def knows(branch: Branch, fitness: Fitness) -> bool:
    """Whether a branch answers better than the best constant."""
    return branch.accuracy >= fitness.chance + _KNOWS


def doubt(branch: Branch, fitness: Fitness) -> float:
    """By how much the accuracy of a branch would differ from one validation part to another one as large: its standard error."""
    share = min(1.0, max(0.0, branch.accuracy))
    return math.sqrt(share * (1.0 - share) / fitness.samples) if fitness.samples else 0.0
