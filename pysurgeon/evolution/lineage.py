"""What the lines of a lineage hold, and whether a lineage is one that a run could have written.

A folder is copied, cut short, edited and sent to others. What is read from it is checked once, here, so that whoever resumes a run or
reports on it meets nothing that the Surgeon would not have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from pysurgeon.errors import RunError, UsageError
from pysurgeon.surgery import parse

# Branches are files' names, too.
Name: TypeAlias = Annotated[str, Meta(pattern=r"^(start|alone|g[0-9]+-[0-9]+)$")]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
Origin: TypeAlias = Literal["start", "doubled", "cut", "uniform", "recommended", "random", "alone"]
Point: TypeAlias = tuple[Count, float | None, float | None, float]
"""Step, training loss, validation loss and validation accuracy."""


class Run(Struct, tag_field="event", tag="run"):
    """The first line."""

    key: Literal["run"]
    version: int
    settings: dict[str, Any]
    written_by: dict[str, str] = field(default_factory=dict)
    made_from: dict[str, str] = field(default_factory=dict)


class Drawn(Struct):
    """A candidate; see `pysurgeon.evolution.population.Candidate`."""

    origin: Origin
    operations: list[str]
    seed: Count
    expected_gain: float
    evidence: dict[str, dict[str, float]]
    parent: Name


class Candidates(Struct, tag_field="event", tag="candidates"):
    """What a generation tries."""

    key: str
    generation: Count
    begin: Count
    parents: Annotated[list[Name], Meta(min_length=1)]
    candidates: list[Drawn]
    compute: Count
    seconds: Seconds = 0.0


class Operated(Struct):
    """What an operation did; see `pysurgeon.surgery.Record`."""

    operation: str
    exact: bool
    predicted_error: float | None
    measured_error: float | None
    reason: str
    site_error: float | None = None
    undo: str | None = None


class Branched(Struct, tag_field="event", tag="branched"):
    """A candidate that became a branch, or was refused."""

    key: str
    branch: Name
    parent: Name
    origin: Origin
    expected_gain: float
    evidence: dict[str, dict[str, float]]
    records: list[Operated]
    refused: str
    parameters: Count
    macs: Count
    compute: Count


class Trained(Struct, tag_field="event", tag="trained"):
    """A stretch of training of one branch."""

    key: str
    branch: Name
    parent: Name | None
    origin: Origin
    genome: list[str]
    begin: Count = field(name="from")
    until: Count
    outcome: Literal["DONE", "DIVERGED", "LOST", "STOPPED"]
    message: str
    steps: Count
    seconds: Seconds
    history: list[Point]
    accuracy: float | None
    loss: float | None
    parameters: Count
    macs: Count
    compute: Count
    latency: Seconds = 0.0
    metric: str = "accuracy"


class Selected(Struct, tag_field="event", tag="selected"):
    """The end of a race."""

    key: str
    generation: Count
    winner: Name
    survivors: Annotated[list[Name], Meta(min_length=1)]
    until: Count
    branches: list[Name]


class Time(Struct, tag_field="event", tag="time"):
    """Whether the time was up before a generation."""

    key: str
    over: bool


class Measured(Struct):
    """See `pysurgeon.evolution.Figures`."""

    parameters: Count
    macs: Count
    test_accuracy: float
    latency_ms: Seconds


class Member(Struct):
    """A network of the front."""

    branch: Name
    genome: list[str]
    figures: Measured


class Paired(Struct):
    """See `pysurgeon.training.Difference`."""

    mean: float
    interval: tuple[float, float]
    p: float
    won: Count
    lost: Count
    samples: Annotated[int, Meta(ge=1)]


class Speed(Struct):
    """See `pysurgeon.model.timing.Ratio`."""

    median: float
    low: float
    high: float
    verdict: Literal["faster", "slower", "alike", "open"]


class Tested(Struct, tag_field="event", tag="tested"):
    """The last line."""

    key: Literal["tested"]
    start: Measured
    alone: Measured | None
    result: Measured
    genome: list[str]
    branch: Name
    trunk_steps: Count
    samples: Annotated[int, Meta(ge=1)]
    metric: str = "accuracy"
    front: list[Member] = field(default_factory=list)
    deviations: dict[str, float] = field(default_factory=dict)
    paired: dict[Literal["start", "alone"], Paired] = field(default_factory=dict)
    speeds: dict[Literal["start", "alone"], Speed] = field(default_factory=dict)
    load: float = 1.0


Event: TypeAlias = Run | Candidates | Branched | Trained | Selected | Time | Tested


class _Lineage:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.parents: dict[str, str | None] = {"start": None, "alone": None}
        self.done: set[str] = set()
        self.raced: dict[int, Candidates] = {}
        self.carried: list[str] | None = ["start"]  # on from the last race; none while one goes on

    def trouble(self, event: Event) -> str:
        """Why a line cannot come next, empty if it can; it counts from now on."""
        if event.key in self.keys:
            return f"{event.key!r} happened before"
        self.keys.add(event.key)
        if isinstance(event, Candidates):
            return self._candidates(event)
        if isinstance(event, Branched):
            return self._branched(event)
        if isinstance(event, Trained):
            return self._trained(event)
        if isinstance(event, Selected):
            return self._selected(event)
        if isinstance(event, Tested):
            return self._tested(event)
        return "the run begins in the first line" if isinstance(event, Run) and len(self.keys) > 1 else ""

    def _candidates(self, event: Candidates) -> str:
        unknown = [p for p in event.parents if f"{p}@{event.begin}" not in self.done]
        place = len(self.raced)
        if event.generation != place or event.key != f"g{place}/candidates":
            return f"{event.key!r} stands where generation {place} begins"
        if unknown or event.parents != self.carried:
            return f"it begins a race of {event.parents}, which the last one did not carry on"
        self.raced[place], self.carried = event, None
        strange = [c.parent for c in event.candidates if c.parent not in event.parents]
        strange += _no_operations([text for c in event.candidates for text in c.operations])
        return f"it draws candidates from {strange}" if strange else ""

    def _branched(self, event: Branched) -> str:
        if event.parent not in self.parents or event.branch in self.parents:
            return f"{event.branch!r} is there already, or its parent {event.parent!r} is not"
        self.parents[event.branch] = event.parent
        generation = self.raced.get(int(event.branch[1:].partition("-")[0]) - 1)
        if generation is None or event.parent not in generation.parents:
            return f"no generation has drawn {event.branch!r}"
        number, k = event.branch[1:].split("-")
        if event.key != f"g{int(number) - 1}/b{k}" or not 0 < int(k) <= len(generation.candidates):
            return f"{event.key!r} is not where {event.branch!r} is made"
        strange = _no_operations([record.operation for record in event.records])
        return f"{strange} are no operations" if strange else ""

    def _trained(self, event: Trained) -> str:
        if event.branch not in self.parents or event.parent != self.parents[event.branch]:
            return f"nothing has made {event.branch!r} of {event.parent!r}"
        if event.key != f"{event.branch}@{event.until}" or event.begin > event.until:
            return f"{event.key!r} is not the training of {event.branch!r} from {event.begin} to {event.until}"
        strange = _no_operations(event.genome)
        if strange:
            return f"{strange} are no operations"
        if event.outcome == "DONE":
            if event.accuracy is None or not event.history:
                return f"{event.key!r} is done, and nothing was measured"
            self.done.add(event.key)
        return ""

    def _selected(self, event: Selected) -> str:
        missing = [name for name in event.survivors if f"{name}@{event.until}" not in self.done]
        if missing or event.winner != event.survivors[0]:
            return f"it selects {missing or event.winner}, whose training is missing"
        if (
            self.carried is not None
            or event.generation != len(self.raced) - 1
            or event.key != f"g{event.generation}/selected"
        ):
            return f"{event.key!r} ends no race"
        self.carried = event.survivors
        unknown = [name for name in event.branches if name not in self.parents]
        return f"it selects from {unknown}, which nothing has made" if unknown else ""

    def _tested(self, event: Tested) -> str:
        found = [m.branch for m in event.front] + [event.branch]
        missing = [name for name in found if not any(key.startswith(f"{name}@") for key in self.done)]
        strange = _no_operations([*event.genome, *(text for m in event.front for text in m.genome)])
        return f"it tests {missing + strange}, which nothing has trained" if missing or strange else ""


def _no_operations(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if not _is_operation(text)]


def _is_operation(text: str) -> bool:
    try:
        parse(text)
    except UsageError:
        return False
    return True


def ensure_sound(events: Sequence[dict[str, Any]], where: str) -> None:
    """See that a run could have written these lines.

    Args:
        events: The lines.
        where: Their file, for the message.

    Raises:
        RunError: It could not; the message names the line and what is wrong with it.
    """
    lineage = _Lineage()
    for number, event in enumerate(events, start=1):
        try:
            trouble = lineage.trouble(msgspec.convert(event, Event))
        except msgspec.ValidationError as error:
            trouble = str(error)
        if trouble:
            message = (
                f"line {number} of {where} is not what this version of pysurgeon writes ({trouble}); the run was edited or damaged, or "
                "another version wrote it: begin a new one"
            )
            raise RunError(message)
