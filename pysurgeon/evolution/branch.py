"""Candidates and branches: what is tried, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pysurgeon.model import Model
from pysurgeon.surgery import Operation, parse
from pysurgeon.training import State

Origin = Literal["start", "doubled", "cut", "uniform", "recommended", "random", "alone"]


@dataclass(frozen=True)
class Candidate:
    """Operations that a branch is to try.

    Attributes:
        origin: `doubled` (all widths), `cut` (all widths, by their curves), `uniform` (all widths by the same share: the control of
            cuts), `recommended` (one operation of the diagnosis), or `random`.
        operations: As written on the command line, in order.
        seed: For what they draw at random.
        expected_gain: Of the recommendations, 0 for random ones.
        evidence: The figures behind it by operation.
        parent: The branch to operate on.
    """

    origin: Origin
    operations: tuple[str, ...]
    seed: int
    expected_gain: float = 0.0
    evidence: dict[str, dict[str, float]] = field(default_factory=dict)
    parent: str = "start"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "origin": self.origin,
            "operations": list(self.operations),
            "seed": self.seed,
            "expected_gain": self.expected_gain,
            "evidence": self.evidence,
            "parent": self.parent,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Candidate:
        """From plain data."""
        return Candidate(**{**data, "operations": tuple(data["operations"])})

    def parsed(self) -> list[Operation]:
        """The operations."""
        return [parse(text, seed=self.seed + k) for k, text in enumerate(self.operations)]


@dataclass(frozen=True, eq=False)
class Branch:
    """A network on its way.

    Attributes:
        id: Unique in the run.
        parent: Id of the branch that it was operated from, `None` for the start.
        origin: Where it comes from.
        genome: Operations since the start.
        model: The network as it stands.
        state: Where the optimizer stands.
        accuracy: On the validation part, last measured.
        loss: On the validation part, last measured.
        latency: Milliseconds for one sample on one thread, 0 where nobody asked.
    """

    id: str
    parent: str | None
    origin: Origin
    genome: tuple[str, ...]
    model: Model
    state: State
    accuracy: float = 0.0
    loss: float = float("inf")
    latency: float = 0.0
