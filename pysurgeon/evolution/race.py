"""Races: which branches train until when, and who is carried on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pysurgeon.evolution.branch import Branch
from pysurgeon.evolution.fitness import Fitness, doubt, knows, merit

# A race's rungs as shares of its steps, and how many branches go on after each (successive halving).
# Not earlier: new units need some hundred steps until they pay.
RUNGS = (0.4, 0.7, 1.0)


@dataclass(frozen=True)
class Arena:
    """Where a race is run.

    Attributes:
        begin: Step of the trunk at which it begins.
        end: Step at which it ends.
        reference: Best validation accuracy that a trunk had so far.
        fitness: What branches are compared by.
        train: Trains branches, each up to its own step; gives back those that came through.
        told: Is told who goes on after a rung.
    """

    begin: int
    end: int
    reference: float
    fitness: Fitness
    train: Callable[[Sequence[tuple[Branch, int]]], list[Branch]]
    told: Callable[[int, Sequence[Branch]], None]


class Race(Protocol):
    """A way to find out which branches are better."""

    @property
    def carried(self) -> int:
        """Most branches that are carried on."""

    def run(self, parents: Sequence[Branch], operated: Sequence[Branch], arena: Arena) -> list[Branch]:
        """Let parents and what was made of them compete.

        Returns:
            Those that are carried on, the best first; none if all diverged or were lost.
        """

    def steps(self, begin: int, end: int, branches: int) -> int:
        """Steps that a race of so many branches should take all together."""


@dataclass(frozen=True)
class Halving:
    """Successive halving: after each rung the better half goes on, with what it has learnt.

    Attributes:
        carried: Most branches that are carried on.
    """

    carried: int = 1

    def run(self, parents: Sequence[Branch], operated: Sequence[Branch], arena: Arena) -> list[Branch]:
        """See `Race`."""
        racing = [*parents, *operated]
        until = rungs(arena.begin, arena.end)
        for rung, step in enumerate(until):
            racing = arena.fitness.ranked(arena.train([(b, step) for b in racing]), arena.reference)
            if step != until[-1]:
                racing = racing[: survivors(len(racing), self.carried)]
                arena.told(rung, racing)
        reference = max([arena.reference, *(b.accuracy for b in racing)])
        return arena.fitness.selected(racing, reference, self.carried)

    def steps(self, begin: int, end: int, branches: int) -> int:
        """See `Race`."""
        taken = 0
        for until in rungs(begin, end):
            taken, begin, branches = taken + branches * (until - begin), until, survivors(branches, self.carried)
        return taken


@dataclass(frozen=True)
class Growing:
    """The race of what only adds: no halving, and no price, which what follows will ask for.

    New units are still warming up, so the benefit of the doubt, a standard error, is theirs. A network that knows next to nothing cannot show what it lacks, and one that is too small stays so. So what has grown goes on, too, where no
    parent has learnt anything yet.
    """

    carried: int = 1

    def run(self, parents: Sequence[Branch], operated: Sequence[Branch], arena: Arena) -> list[Branch]:
        """See `Race`."""
        ended = arena.train([(b, arena.end) for b in (*parents, *operated)])
        names = {p.id for p in parents}
        learnt = any(b.id in names and knows(b, arena.fitness) for b in ended)
        racing = ended if learnt else [b for b in ended if b.id not in names] or ended

        def worth(b: Branch) -> float:
            return merit(b.accuracy, b.loss) + (0.0 if b.id in names else doubt(b, arena.fitness))

        return sorted(racing, key=worth, reverse=True)[: self.carried]

    def steps(self, begin: int, end: int, branches: int) -> int:
        """See `Race`."""
        return (end - begin) * branches


def rungs(begin: int, end: int) -> tuple[int, ...]:
    """Steps at which branches are compared, counted along the trunk; the last one is the end."""
    steps = [begin + max(1, round((end - begin) * share)) for share in RUNGS[:-1]]
    return tuple(sorted({*(s for s in steps if s < end), end}))


def survivors(count: int, least: int = 1) -> int:
    """How many of `count` branches go on after a rung."""
    return max(least, -(-count // 2)) if count > 2 else count
