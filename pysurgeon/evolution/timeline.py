"""Who trains when: the trunk's steps, cut into a warm-up, the races of the generations and a last stretch."""

from __future__ import annotations

from dataclasses import dataclass

# Shares of the trunk's steps before the first and after the last race.
_WARM_UP, _LAST = 0.1, 0.25
# A race's rungs as shares of its steps, and how many branches go on after each (successive halving).
# Not earlier: new units need some hundred steps until they pay.
RUNGS = (0.4, 0.7, 1.0)


@dataclass(frozen=True)
class Timeline:
    """Steps along the trunk.

    Attributes:
        total: All of them.
        generations: Number of races.
    """

    total: int
    generations: int

    @property
    def warm_up(self) -> int:
        """Step at which the first race begins."""
        return max(1, round(self.total * _WARM_UP)) if self.generations else self.total

    def race(self, generation: int) -> tuple[int, ...]:
        """Steps at which the rungs of a race end, counted along the trunk."""
        last = self.total - round(self.total * _LAST)
        span = last - self.warm_up
        begin = self.warm_up + span * generation // self.generations
        end = self.warm_up + span * (generation + 1) // self.generations
        rungs = [begin + max(1, round((end - begin) * share)) for share in RUNGS[:-1]]
        return tuple(sorted({*(r for r in rungs if r < end), end}))


def survivors(count: int) -> int:
    """How many of `count` branches go on after a rung."""
    return max(1, -(-count // 2)) if count > 2 else count
