"""Begin a run, go on with one, and read what one has found."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from pysurgeon.data import Dataset, Source
from pysurgeon.diagnosis.cut import outlined
from pysurgeon.errors import Refused, UsageError
from pysurgeon.evolution.executor import Executor, SerialExecutor, ThreadExecutor
from pysurgeon.evolution.fitness import Fitness
from pysurgeon.evolution.journal import LINEAGE, Journal
from pysurgeon.evolution.keep import Kept
from pysurgeon.evolution.lineage import ensure_sound
from pysurgeon.evolution.provenance import made_from
from pysurgeon.evolution.surgeon import Observer, Setup, Silent, Surgeon
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.model.fidelity import verify_loaded
from pysurgeon.model.timing import latency
from pysurgeon.settings import EvolveSettings
from pysurgeon.training import WorkerTrainer, ensure_device, load_for, score_text
from pysurgeon.widths.structure import Structure


@dataclass(frozen=True)
class Figures:
    """A model on the test split.

    Attributes:
        parameters: Trainable parameters.
        macs: Multiply-accumulate operations a sample.
        test_accuracy: Share of the test samples classified right, 0..1, or what else is the metric of the task.
        latency_ms: Median time of one sample on one thread, in milliseconds.
    """

    parameters: int
    macs: int
    test_accuracy: float
    latency_ms: float


@dataclass(frozen=True)
class Measured:
    """A branch of a run at a step.

    Attributes:
        step: Of the trunk.
        branch: That was measured.
        train_loss: Mean since the last time, `None` where it was infinite or no number.
        validation_loss: Likewise, at this step.
        validation_accuracy: Or what else is the metric of the task.
    """

    step: int
    branch: str
    train_loss: float | None
    validation_loss: float | None
    validation_accuracy: float


@dataclass(frozen=True)
class Steps:
    """Optimizer steps.

    Attributes:
        trunk: Along the line from the start to the result.
        all_branches: Of all branches, those that lost included; the start trained alone for comparison is not.
    """

    trunk: int
    all_branches: int


@dataclass(frozen=True)
class Compute:
    """Multiply-accumulate operations: three forward passes a sample and step, and one a sample that is only looked at.

    Attributes:
        trunk: Of the training along the line from the start to the result.
        all_branches: Of everything that the search took: all branches, and the forward passes and gradients by which operations were planned,
            chosen and verified.
        alone: Of the start, trained alone for as many steps; 0 if that was lost.
    """

    trunk: int
    all_branches: int
    alone: int


@dataclass(frozen=True)
class Member:
    """A network of the front: no other one is more accurate, smaller and faster at once.

    Attributes:
        genome: Operations from the start to it.
        figures: On the test split. The front itself was found on the validation part.
        output: Its file.
    """

    genome: tuple[str, ...]
    figures: Figures
    output: Path


@dataclass(frozen=True)
class EvolveResult:
    """What a run found.

    Attributes:
        start: The model as it was given.
        alone: The start trained for as many steps as the trunk, `None` if that diverged.
        result: The winner.
        genome: Operations from the start to the result.
        steps: Optimizer steps spent.
        compute: Multiply-accumulate operations spent.
        seconds: Wall time of all training, summed over branches.
        run: The run's folder.
        output: The winner's file.
        metric: What the accuracies are: of labels, the share that is right; of numbers, the coefficient of determination.
        front: For the objective `pareto`, all networks of the front, the most accurate one on the validation part (the result) first.
    """

    start: Figures
    alone: Figures | None
    result: Figures
    genome: tuple[str, ...]
    steps: Steps
    compute: Compute
    seconds: float
    run: Path
    output: Path
    metric: str = "accuracy"
    front: tuple[Member, ...] = ()

    def __str__(self) -> str:
        alone = "diverged" if self.alone is None else score_text(self.metric, self.alone.test_accuracy)
        before, after = (score_text(self.metric, f.test_accuracy) for f in (self.start, self.result))
        lines = [
            f"test {self.metric} {before} -> {after} (the start trained alone: {alone})",
            f"parameters {self.start.parameters:,} -> {self.result.parameters:,}, MACs {self.start.macs:,} -> {self.result.macs:,}",
            f"operations: {', '.join(self.genome) or 'none'}",
            f"model {self.output}, report {self.run / 'report.html'}",
        ]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  (IPython calls it)
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """What is printed and, where there is one, the report in a frame of its own."""
        page = self.run / "report.html"
        text = f"<pre>{html.escape(str(self))}</pre>"
        if not page.is_file():
            return text
        frame = html.escape(page.read_text(encoding="utf-8"), quote=True)
        return f'{text}<iframe srcdoc="{frame}" style="width: 100%; height: 40em; border: 0" sandbox></iframe>'

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """The events of the run, oldest first: plain data, as `pandas.DataFrame(result.lineage)` takes it.

        Raises:
            RunError: The folder of the run is not there any more, or damaged.
        """
        return open_run(self.run).events

    @property
    def history(self) -> tuple[Measured, ...]:
        """Figures after every epoch along the line from the start to the result.

        Raises:
            RunError: The folder of the run is not there any more, or damaged.
        """
        return history_of(open_run(self.run))


def load_data(settings: EvolveSettings, model: Model, source: Source | Dataset | None = None) -> Dataset:
    """The data set that a run's settings name, or that comes in its place, as its start expects it; see `load_for`.

    Raises:
        DataError: There is none, or it does not fit the model.
    """
    if isinstance(source, Dataset):
        return load_for(source, model, loss=settings.loss, teacher=settings.teacher)
    named = settings.data if source is None else source
    return load_for(named, model, seed=settings.seed, loss=settings.loss, teacher=settings.teacher, **settings.reading)


def check(model: Model, settings: EvolveSettings, data: Dataset) -> None:
    """Find out whether a run could begin, before anything is written.

    Raises:
        DataError: The data does not fit the model.
        ModelError: A weight is infinite or not a number.
        TrainingError: The model cannot be trained.
        Refused: The model breaks a limit already, and the strategy is none that cuts, or no cut is enough.
        UsageError: What is to be kept is not there.
        VerificationError: The model does not compute what its file computes.
    """
    if settings.freeze or settings.train:
        # An operation changes what is frozen, and what it adds has names that no pattern knows.
        message = (
            "freeze and train say what a training changes, and evolve operates on all of a model; use them with train"
        )
        raise UsageError(message)
    model.ensure_finite()
    verify_loaded(model)
    ensure_device(settings.device, settings.trainer)
    Kept(settings.keep).check(Structure(model))
    ensure_within(model, settings)
    with WorkerTrainer(1, settings.threads, trainer=settings.trainer) as trainer:
        trainer.check(model, data)


def ensure_within(model: Model, settings: EvolveSettings) -> None:
    """Refuse a model that breaks a limit and cannot be cut down to it, or that the strategy does not cut.

    Raises:
        Refused: It does.
    """
    size = costs(model)
    if settings.strategy == "surgeon":
        structure, kept = Structure(model), Kept(settings.keep)
        free = [w.name for w in structure.widths if w.resizable and not kept.width(structure, w)]
        least = costs(outlined(structure, dict.fromkeys(free, 1)))
        why = Fitness(settings, size).allowed(least, 0.0)
        if why:
            message = f"no cut reaches the limit: with one unit in every width that may be cut, {why}; allow more"
            raise Refused(message)
        return
    why = Fitness(settings, size).allowed(size, latency(model) if settings.max_latency is not None else 0.0)
    if why:
        message = (
            f"the model breaks a limit before anything is done to it: {why}; allow more, or leave out --strategy {settings.strategy}: the "
            "default one cuts a model down to its limits"
        )
        raise Refused(message)


def begin(
    model: Model, settings: EvolveSettings, folder: Path, data: Dataset | None = None, *, force: bool = False
) -> Journal:
    """Make the folder of a new run.

    A model that was exported for one batch size is made dynamic: one sample is too little to look at a layer with. Of the data, and of the model as
    it was given, the digests are written down.

    Raises:
        OutputExistsError: The folder holds something.
        TrainingError: The model cannot be made dynamic.
    """
    digests = None if data is None else made_from(model, data)
    return Journal.create(
        folder, settings.to_json(), make_batch_dynamic(model).to_bytes(), force=force, made_from=digests
    )


def free_folder(model: str, data: str) -> Path:
    """A folder for a run that nobody gave one: `runs/MODEL-DATA-N` with the first N that is free."""
    name = f"{model}-{re.sub(r'[^A-Za-z0-9_-]+', '-', Path(data).stem)}"
    return next(folder for k in count(1) if not (folder := Path("runs") / f"{name}-{k}").exists())


def open_run(folder: Path) -> Journal:
    """A run to go on with or to report on.

    Raises:
        RunError: There is none, another version wrote it, or its lineage is not what a run writes.
    """
    journal = Journal.open(folder)
    ensure_sound(journal.events, str(folder / LINEAGE))
    return journal


def go_on(journal: Journal, data: Dataset, observer: Observer | None = None) -> EvolveResult:
    """Evolve to the end, from wherever the run stands.

    Raises:
        DataError: The data does not fit the model.
        TrainingError: The model cannot be trained, or every branch diverged.
        RunError: The folder is damaged, or another process is at work on it.
    """
    done = read(journal)
    if done is not None and all(path.is_file() for path in (done.output, *(m.output for m in done.front))):
        return done
    settings = EvolveSettings.from_json(journal.settings)
    executor: Executor = ThreadExecutor(settings.workers) if settings.workers > 1 else SerialExecutor()
    # Left in this order: what comes back from workers that are closed under way must not be written down.
    workers = WorkerTrainer(settings.workers, settings.threads, trainer=settings.trainer)
    with workers as trainer, journal.exclusively():
        Surgeon(Setup(settings, data, trainer, executor, observer or Silent()), journal).run()
    result = read(journal)
    assert result is not None
    return result


def read(journal: Journal) -> EvolveResult | None:
    """What a run found, `None` if it has not come to its end."""
    tested = journal.known("tested")
    if tested is None:
        return None

    def figures(found: dict[str, Any] | None) -> Figures | None:
        return None if found is None else Figures(**found)

    start, result = figures(tested["start"]), figures(tested["result"])
    assert start is not None
    assert result is not None
    return EvolveResult(
        start=start,
        alone=figures(tested["alone"]),
        result=result,
        genome=tuple(tested["genome"]),
        steps=Steps(tested["trunk_steps"], sum(e["steps"] for e in journal.spent() if e["event"] == "trained")),
        compute=_compute(journal, tested["branch"]),
        seconds=round(sum(e.get("seconds", 0.0) for e in journal.events), 1),
        run=journal.folder,
        output=journal.folder / "result.onnx",
        metric=tested.get("metric", "accuracy"),
        front=tuple(
            Member(tuple(m["genome"]), Figures(**m["figures"]), journal.folder / f"front/{m['branch']}.onnx")
            for m in tested.get("front", ())
        ),
    )


def history_of(journal: Journal) -> tuple[Measured, ...]:
    """Figures along the line from the start to where the trunk stands."""
    trained = [e for e in journal.events if e["event"] == "trained" and e["outcome"] == "DONE"]
    tested = journal.known("tested")
    selected = [str(e["winner"]) for e in journal.events if e["event"] == "selected"]
    branch = str(tested["branch"]) if tested else selected[-1] if selected else "start"
    line = sorted(line_of(trained, branch), key=lambda e: int(e["from"]))
    return tuple(Measured(p[0], e["branch"], *p[1:]) for e in line for p in e["history"])


def _compute(journal: Journal, branch: str) -> Compute:
    trained = [e for e in journal.events if e["event"] == "trained"]
    return Compute(
        sum(e["compute"] for e in line_of(trained, branch)),
        sum(e["compute"] for e in journal.spent()),
        sum(e["compute"] for e in trained if e["branch"] == "alone" and e["outcome"] == "DONE"),
    )


def line_of(trained: Sequence[dict[str, Any]], branch: str) -> list[dict[str, Any]]:
    """The stretches of training that led from the start to where a branch stands."""
    own = [e for e in trained if e["branch"] == branch]
    if not own or branch == "start":
        return own
    before = line_of(trained, own[0]["parent"])
    return [e for e in before if e["until"] <= own[0]["from"]] + own
