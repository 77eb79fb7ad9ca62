"""What a run's lineage says, as plain data: everything that the page shows and nothing that it does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from pysurgeon.errors import ModelError
from pysurgeon.evolution import EvolveSettings, Figures, Journal, line_of
from pysurgeon.model import Model, load
from pysurgeon.model.timing import Ratio
from pysurgeon.report.architecture import LayerChange, layer_changes, layer_facts
from pysurgeon.report.statistics import interval
from pysurgeon.report.success import Origin, Success, successes
from pysurgeon.surgery import parse
from pysurgeon.training import Difference

Fate = Literal["won", "carried", "lost", "refused", "diverged", "racing"]
"""`carried`: not the best, and carried on beside it."""

Curve = tuple[tuple[int, float], ...]
"""(step along the trunk, validation accuracy), ascending."""

Spending = tuple[tuple[int, float], ...]
"""(compute so far in multiply-accumulate operations, validation accuracy), ascending."""


@dataclass(frozen=True)
class Tested:
    """A model on the test split, with the 95 % confidence interval of its accuracy."""

    figures: Figures
    interval: tuple[float, float]


@dataclass(frozen=True)
class MemberRecord:
    """A network of the front.

    Attributes:
        branch: Its id.
        tested: Its figures.
        operations: Since the start.
        file: Relative to the run's folder.
    """

    branch: str
    tested: Tested
    operations: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class OperationRecord:
    """An operation that a branch was to be made by.

    Attributes:
        text: As written on the command line.
        kind: `widen`, `narrow`, ...
        site: Width or layer.
        size: Units or rank afterwards, `None` for whole layers.
        exact: Whether it claims to keep the function; `None` where it was not carried out.
        predicted: Relative error of the readers that was expected.
        measured: Relative change of the outputs on the calibration batch.
        reason: Why it was done this way.
        evidence: The figures behind the recommendation, by name.
    """

    text: str
    kind: str
    site: str
    size: int | None
    exact: bool | None
    predicted: float | None
    measured: float | None
    reason: str
    evidence: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class BranchRecord:
    """A branch in the race of one generation.

    Attributes:
        id: Unique in the run. The parent has the id of the branch that it is.
        parent: The branch that it was made of; a parent's is itself.
        origin: Where it comes from.
        rank: Its place among the recommendations of its generation, from 1; 0 for parent and random branches.
        operations: What it was made by; none for the parent.
        expected_gain: Accuracy that the recommendation promised.
        parameters: Trainable parameters.
        macs: Multiply-accumulate operations a sample.
        fate: What became of it.
        reason: Why it was refused or lost.
        curve: Its validation accuracy, from the step at which it branched off.
        gain: Validation accuracy less that of the parent when both were last measured, `None` without such a step.
    """

    id: str
    parent: str
    origin: Origin
    rank: int
    operations: tuple[OperationRecord, ...]
    expected_gain: float
    parameters: int
    macs: int
    fate: Fate
    reason: str
    curve: Curve
    gain: float | None


@dataclass(frozen=True)
class GenerationRecord:
    """One race.

    Attributes:
        number: From 1.
        begin: Step at which the trunk branched.
        end: Step at which the winner was selected, `None` while they race.
        branches: The parents first, that of the trunk at their head, then the recommendations by rank, then random ones.
        taken: The branch that led to where the run stands, `None` while they race. Where one branch is carried on, it is the winner.
    """

    number: int
    begin: int
    end: int | None
    branches: tuple[BranchRecord, ...]
    taken: BranchRecord | None

    def parent_of(self, branch: BranchRecord) -> BranchRecord:
        """What a branch was made of, unmodified."""
        return next(b for b in self.branches if b.id == branch.parent)

    @property
    def winner(self) -> BranchRecord | None:
        """Who was the best."""
        return next((b for b in self.branches if b.fate == "won"), None)


@dataclass(frozen=True)
class Effort:
    """Optimizer steps, the seconds that they took, and compute in multiply-accumulate operations (see `evolution.Compute`)."""

    steps: int
    seconds: float
    compute: int


@dataclass(frozen=True)
class RunRecord:
    """A run, finished or not.

    Attributes:
        folder: The run's folder.
        settings: What it was asked to do.
        metric: What accuracies are called: of numbers, they are coefficients of determination.
        samples: Number of test samples; 0 while not finished.
        start: The start as given, `None` while not finished.
        alone: The start trained alone for as many steps as the trunk, `None` while not finished or if that diverged.
        result: The winner, `None` while not finished.
        difference: Of the result to the start trained alone, or to the start where that diverged; `None` where it is not written down.
        front: Networks of the front, the winner first; empty for other objectives and while not finished.
        generations: The races so far.
        trunk: The curve from the start to where the trunk stands.
        alone_curve: The curve of the start trained alone.
        trunk_spending: The trunk's accuracy over its compute.
        alone_spending: That of the start trained alone.
        trunk_effort: Spent along the trunk.
        all_effort: Spent on all branches, the trunk and what operations were chosen by included.
        alone_effort: Spent on the start trained alone.
        success: How often branches of each origin won.
        layers: Architecture of the start beside that of the trunk as it stands; empty if a file is missing.
        time_is_up: Whether the time limit ended the run early.
    """

    folder: Path
    settings: EvolveSettings
    metric: str
    samples: int
    start: Tested | None
    alone: Tested | None
    result: Tested | None
    difference: Difference | None
    speed: Ratio | None
    front: tuple[MemberRecord, ...]
    generations: tuple[GenerationRecord, ...]
    trunk: Curve
    alone_curve: Curve
    trunk_spending: Spending
    alone_spending: Spending
    trunk_effort: Effort
    all_effort: Effort
    alone_effort: Effort
    success: tuple[Success, ...]
    layers: tuple[LayerChange, ...]
    time_is_up: bool

    @property
    def finished(self) -> bool:
        """Whether the test split has been read."""
        return self.result is not None


def from_journal(journal: Journal) -> RunRecord:
    """Read a run.

    Raises:
        RunError: The settings are those of another version.
    """
    settings = EvolveSettings.from_json(journal.settings)
    events = journal.events
    trained = [e for e in events if e["event"] == "trained"]
    tested = journal.known("tested") or {}
    path = line_of(trained, tested.get("branch") or _trunk(events))
    generations = _generations(journal, trained, {e["branch"] for e in path})
    metric = next((e["metric"] for e in trained if "metric" in e), "accuracy")

    def of(name: str, found: dict[str, Any] | None) -> Tested | None:
        if found is None:
            return None
        ends = interval(found["test_accuracy"], tested["samples"], tested.get("deviations", {}).get(name), metric)
        return Tested(Figures(**found), ends)

    front = [
        MemberRecord(m["branch"], t, tuple(m["genome"]), f"front/{m['branch']}.onnx")
        for m in tested.get("front", ())
        if (t := of(m["branch"], m["figures"])) is not None
    ]
    alone = [e for e in trained if e["branch"] == "alone"]
    judged = tested.get("paired", {}).get("alone") or tested.get("paired", {}).get("start")
    speed = tested.get("speeds", {}).get("alone") or tested.get("speeds", {}).get("start")
    return RunRecord(
        folder=journal.folder,
        settings=settings,
        metric=metric,
        samples=tested.get("samples", 0),
        start=of("start", tested.get("start")),
        alone=of("alone", tested.get("alone")),
        result=of("result", tested.get("result")),
        difference=msgspec.convert(judged, Difference) if judged else None,
        speed=msgspec.convert(speed, Ratio) if speed else None,
        front=tuple(front),
        generations=generations,
        trunk=_curve(path),
        alone_curve=_curve(alone),
        trunk_spending=_spending(path),
        alone_spending=_spending(alone),
        trunk_effort=_effort(path),
        all_effort=_effort(journal.spent()),
        alone_effort=_effort(alone),
        success=successes(generations),
        layers=_layers(journal.folder, path),
        time_is_up=any(e["event"] == "time" and e["over"] for e in events),
    )


def _generations(journal: Journal, trained: list[dict[str, Any]], path: set[str]) -> tuple[GenerationRecord, ...]:
    found: list[GenerationRecord] = []
    for event in (e for e in journal.events if e["event"] == "candidates"):
        number, begin = event["generation"], event["begin"]
        selected = journal.known(f"g{number}/selected")
        end = selected["until"] if selected else None
        segments = [
            e for e in trained if e["from"] >= begin and (end is None or e["until"] <= end) and e["branch"] != "alone"
        ]
        branches = [_parent(name, trained, begin, segments, selected) for name in event["parents"]]
        parents = {b.id: b for b in branches}
        for k, candidate in enumerate(event["candidates"]):
            made = journal.known(f"g{number}/b{k + 1}")
            if made is not None:
                rank = 0 if candidate["origin"] == "random" else k + 1
                branches.append(_branch(candidate, made, rank, parents[made["parent"]], segments, selected))
        # What was operated on the way stands behind its parents.
        carried = (b for b in reversed(branches) if b.id in path and b.fate in ("won", "carried"))
        found.append(GenerationRecord(number + 1, begin, end, tuple(branches), next(carried, None)))
    return tuple(found)


def _parent(
    name: str,
    trained: list[dict[str, Any]],
    begin: int,
    segments: list[dict[str, Any]],
    selected: dict[str, Any] | None,
) -> BranchRecord:
    before = next(e for e in reversed(trained) if e["branch"] == name and e["until"] == begin)
    own = [e for e in segments if e["branch"] == name]
    fate, reason = _fate(name, own, selected)
    return BranchRecord(
        id=name,
        parent=name,
        origin="parent",
        rank=0,
        operations=(),
        expected_gain=0.0,
        parameters=before["parameters"],
        macs=before["macs"],
        fate=fate,
        reason=reason,
        curve=((begin, before["accuracy"]), *_curve(own)),
        gain=None,
    )


def _branch(
    candidate: dict[str, Any],
    made: dict[str, Any],
    rank: int,
    parent: BranchRecord,
    segments: list[dict[str, Any]],
    selected: dict[str, Any] | None,
) -> BranchRecord:
    own = [e for e in segments if e["branch"] == made["branch"]]
    fate, reason = _fate(made["branch"], own, selected, made["refused"])
    records = {r["operation"]: r for r in made["records"]}
    return BranchRecord(
        id=made["branch"],
        parent=parent.id,
        origin=candidate["origin"],
        rank=rank,
        operations=tuple(
            _operation(x, records.get(x), candidate["evidence"].get(x, {})) for x in candidate["operations"]
        ),
        expected_gain=candidate["expected_gain"],
        parameters=made["parameters"],
        macs=made["macs"],
        fate=fate,
        reason=reason,
        curve=(parent.curve[0], *_curve(own)) if fate != "refused" else (),
        gain=_gain(own, [e for e in segments if e["branch"] == parent.id]),
    )


def _operation(text: str, record: dict[str, Any] | None, evidence: dict[str, float]) -> OperationRecord:
    operation = parse(text)
    size = getattr(operation, "size", getattr(operation, "rank", None))
    done = record or {}
    return OperationRecord(
        text=text,
        kind=operation.kind,
        site=operation.site,
        size=size,
        exact=done.get("exact"),
        predicted=done.get("predicted_error"),
        measured=done.get("measured_error"),
        reason=done.get("reason", ""),
        evidence=tuple(sorted(evidence.items())),
    )


def _fate(name: str, own: list[dict[str, Any]], selected: dict[str, Any] | None, refused: str = "") -> tuple[Fate, str]:
    if refused:
        return "refused", refused
    if (failed := next((e for e in own if e["outcome"] != "DONE"), None)) is not None:
        return "diverged", f"{failed['outcome'].lower()} {failed['message']}".strip()
    if selected is None:
        return "racing", ""
    if selected["winner"] == name:
        return "won", ""
    return ("carried", "") if name in selected["survivors"] else ("lost", "")


def _gain(own: list[dict[str, Any]], parent: list[dict[str, Any]]) -> float | None:
    beside = {e["until"]: e["accuracy"] for e in parent if e["accuracy"] is not None}
    both = [e["accuracy"] - beside[e["until"]] for e in own if e["until"] in beside and e["accuracy"] is not None]
    return both[-1] if both else None


def _trunk(events: list[dict[str, Any]]) -> str:
    """The branch that was selected last."""
    return next((str(e["winner"]) for e in reversed(events) if e["event"] == "selected"), "start")


def _curve(segments: list[dict[str, Any]]) -> Curve:
    return tuple((p[0], p[3]) for e in sorted(segments, key=lambda e: int(e["from"])) for p in e["history"])


def _effort(segments: list[dict[str, Any]]) -> Effort:
    return Effort(
        sum(e.get("steps", 0) for e in segments),
        round(sum(e.get("seconds", 0.0) for e in segments), 3),
        sum(e["compute"] for e in segments),
    )


def _spending(segments: list[dict[str, Any]]) -> Spending:
    """Validation accuracy over the compute that it took."""
    spent, found = 0, []
    for e in sorted(segments, key=lambda e: int(e["from"])):
        steps = max(1, e["until"] - e["from"])
        found += [(spent + e["compute"] * (p[0] - e["from"]) // steps, p[3]) for p in e["history"]]
        spent += e["compute"]
    return tuple(found)


def _layers(folder: Path, path: list[dict[str, Any]]) -> tuple[LayerChange, ...]:
    start = _model(folder / "start.onnx")
    if start is None:
        return ()
    before = layer_facts(start)
    done = [e for e in path if e["outcome"] == "DONE"]
    after = (_model(folder / f"branches/{done[-1]['key']}.onnx") or _model(folder / "result.onnx")) if done else start
    return layer_changes(before, before if after is None else layer_facts(after))


def _model(path: Path) -> Model | None:
    """A model of the run, `None` if somebody took the file away: the lineage tells enough for a page without it."""
    try:
        return load(path)
    except ModelError:
        return None
