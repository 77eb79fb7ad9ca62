"""Who trains when: the trunk's steps, cut into a warm-up, the races of the generations and a last stretch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeline:
    """Steps along the trunk.

    Attributes:
        total: All of them.
        generations: Number of races.
        first: Share of the steps before the first race.
        last: Share of the steps after the last one.
    """

    total: int
    generations: int
    first: float = 0.1
    last: float = 0.25

    @property
    def warm_up(self) -> int:
        """Step at which the first race begins."""
        return max(1, round(self.total * self.first)) if self.generations else self.total

    def race(self, generation: int) -> tuple[int, int]:
        """Steps at which a race begins and ends, counted along the trunk."""
        span = self.total - round(self.total * self.last) - self.warm_up
        return (
            self.warm_up + span * generation // self.generations,
            self.warm_up + span * (generation + 1) // self.generations,
        )
