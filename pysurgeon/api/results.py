"""What the functions of the Python interface return: frozen dataclasses with the keys of `--json`, printed as the commands print them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pysurgeon.diagnosis import Recommendation
from pysurgeon.errors import RunError
from pysurgeon.evolution import EvolveResult, Journal, Measured, history_of, open_run, read
from pysurgeon.evolution.journal import LINEAGE
from pysurgeon.model import Model, written
from pysurgeon.model.costs import Costs
from pysurgeon.model.fidelity import Beside
from pysurgeon.report import (
    Compared,
    Comparison,
    Printable,
    WidthCut,
    document,
    recommendations_table,
    records_table,
    result_table,
    runs_table,
    shrink_table,
    training_table,
)
from pysurgeon.settings import EvolveSettings
from pysurgeon.surgery import Record
from pysurgeon.training import NodeFact, Point, score_text

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class ApplyResult(Printable):
    """What `apply` did.

    Attributes:
        model: The operated model.
        operations: A record of each operation.
        before: Costs before all of them.
        after: Costs after all of them.
        beside_file: How the result compares with the file itself, or with a model that was given without one.
    """

    model: Model
    operations: tuple[Record, ...]
    before: Costs
    after: Costs
    beside_file: Beside

    def shown(self) -> RenderableType:
        """As `pysurgeon apply` shows it."""
        return records_table(self.operations)


@dataclass(frozen=True)
class RecommendResult(Printable):
    """Ranked operations.

    Attributes:
        recommendations: Best first.
        validation_accuracy: That they were ranked for.
        metric: What the accuracy is: of labels, the share that is right; of numbers, the coefficient of determination.
    """

    recommendations: tuple[Recommendation, ...]
    validation_accuracy: float
    metric: str = "accuracy"

    def shown(self) -> RenderableType:
        """As `pysurgeon recommend` shows it."""
        return recommendations_table(self.recommendations, self.metric)


@dataclass(frozen=True)
class DoctorResult(Printable):
    """Whether a model will train.

    Attributes:
        trains: Whether nothing is in the way.
        verdict: What is, or how far that was tried.
        nodes: What training means for every node.
        validation_accuracy: Of the model as it is, where there was data that it fits. One that is trained and does not do as well
            as was known gets other input than it was trained on, or other classes.
        metric: What the accuracy is: of labels, the share that is right; of numbers, the coefficient of determination.
        cautions: What makes it doubtful that it is fed as it was when it was trained.
    """

    trains: bool
    verdict: str
    nodes: tuple[NodeFact, ...]
    validation_accuracy: float | None = None
    metric: str = "accuracy"
    cautions: tuple[str, ...] = ()

    def shown(self) -> RenderableType:
        """As `pysurgeon doctor` shows it."""
        from rich.console import Group

        accuracy = self.validation_accuracy
        known = [] if accuracy is None else [f"as it is: validation {self.metric} {score_text(self.metric, accuracy)}"]
        return Group(training_table(self.nodes), *known, self.verdict)


@dataclass(frozen=True)
class TrainOutcome(Printable):
    """What `train` gave.

    Attributes:
        model: The trained model.
        epochs: Passes over the training part.
        steps: Optimizer steps taken.
        validation_accuracy: After the last step.
        test_accuracy: Read once, after the last step.
        seconds: Wall time, the start of the worker process included.
        output: The file, `None` where none was asked for.
        metric: What the accuracies are: of labels, the share that is right; of numbers, the coefficient of determination.
        history: Losses and validation accuracy after every epoch, and at the end. Where the training went on from a checkpoint, since then.
    """

    model: Model
    epochs: float
    steps: int
    validation_accuracy: float
    test_accuracy: float
    seconds: float
    output: Path | None
    metric: str = "accuracy"
    history: tuple[Point, ...] = field(default=(), repr=False)

    def shown(self) -> RenderableType:
        """As `pysurgeon train` shows it."""
        from rich.text import Text

        where = "" if self.output is None else f"; written to {written(self.output)}"
        return Text(
            f"{self.steps:,} step{'s' if self.steps != 1 else ''} in {self.seconds:.1f} s; "
            f"validation {self.metric} {score_text(self.metric, self.validation_accuracy)}, "
            f"test {self.metric} {score_text(self.metric, self.test_accuracy)}{where}"
        )


@dataclass(frozen=True)
class ShrinkResult(Printable):
    """What `shrink` gave.

    Attributes:
        model: The smaller network.
        comparison: The original and the smaller one side by side: costs, accuracy on the test part, time in turns.
        predicted_loss: The fall of accuracy that the predicted error should mean; of what has no classes, the share of the outputs' variance.
        predicted_error: Relative root mean square error of the outputs that was expected of the cut.
        measured_error: What it turned out to be, on samples that nothing was fitted to, before any training.
        operations: A record of each operation.
        cuts: What became of every width that was cut.
        trained: Whether training afterwards made it better.
        missed: By how much the goal was missed, as a sentence; empty where it is reached.
        output: The file, `None` where none was asked for.
    """

    model: Model
    comparison: Comparison
    predicted_loss: float
    predicted_error: float
    measured_error: float
    operations: tuple[Record, ...]
    cuts: tuple[WidthCut, ...]
    trained: bool
    missed: str
    output: Path | None

    @property
    def before(self) -> Compared:
        """The original."""
        return self.comparison.a

    @property
    def after(self) -> Compared:
        """The smaller network."""
        return self.comparison.b

    def to_json(self) -> dict[str, Any]:
        """The document of `pysurgeon shrink --json`."""
        keys = ("operation", "site", "exact", "predicted_error", "site_error", "measured_error", "reason")
        names = ("before", "after", "predicted_loss", "predicted_error", "measured_error", "cuts", "trained", "missed")
        found: dict[str, Any] = {name: getattr(self, name) for name in (*names, "output")}
        compared = self.comparison
        found |= {"metric": compared.metric, "speed": compared.speed, "difference": compared.difference}
        return document(
            {**found, "operations": [{key: getattr(record, key) for key in keys} for record in self.operations]}
        )

    def shown(self) -> RenderableType:
        """As `pysurgeon shrink` shows it."""
        from rich.console import Group

        where = [] if self.output is None else [f"Written to {written(self.output)}"]
        expected = (
            f"Error of the outputs, relative root mean square: predicted {self.predicted_error:.3f}, measured {self.measured_error:.3f}"
            f"{' before training' if self.trained else ''}; predicted loss {self.predicted_loss:.1%}"
        )
        missed = [f"The goal {self.missed}."] if self.missed else []
        return Group(shrink_table(self.comparison, self.cuts), expected, *missed, *where)


@dataclass(frozen=True)
class Run(Printable):
    """A run as its folder has it.

    Attributes:
        folder: The folder.
        settings: That it was begun with.
        result: What it found, `None` where it has not come to its end.
        history: Figures after every epoch along the line from the start to where the trunk stands.
        lineage: All events, oldest first: plain data, as `pandas.DataFrame(run.lineage)` takes it.
    """

    folder: Path
    settings: EvolveSettings
    result: EvolveResult | None
    history: tuple[Measured, ...] = field(default=(), repr=False)
    lineage: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @staticmethod
    def of(journal: Journal) -> Run:
        """What a run's folder has."""
        settings = EvolveSettings.from_json(journal.settings)
        return Run(journal.folder, settings, read(journal), history_of(journal), tuple(journal.events))

    def shown(self) -> RenderableType:
        """As `pysurgeon evolve` shows it at its end; before, how far it has come."""
        from rich.text import Text

        if self.result is not None:
            return result_table(self.result)
        generations = sum(e["event"] == "selected" for e in self.lineage)
        last = self.history[-1] if self.history else None
        metric = next((str(e["metric"]) for e in self.lineage if e["event"] == "trained"), "accuracy")
        stands = (
            "nothing is trained yet"
            if last is None
            else f"step {last.step:,} of the trunk, validation {metric} {score_text(metric, last.validation_accuracy)}"
        )
        return Text(f"{self.folder}: {generations} of {self.settings.generations} generations are over; {stands}")


@dataclass(frozen=True)
class Runs(Printable):
    """Runs beside one another.

    Attributes:
        runs: Those that could be read, in the order of their folders.
        unread: Why others could not be, by folder.
    """

    runs: tuple[Run, ...]
    unread: dict[str, str]

    @staticmethod
    def below(folder: Path) -> Runs:
        """The runs of a folder: itself, or the folders in it."""
        found, unread = [], {}
        for path in (folder, *sorted(folder.iterdir())):
            if not (path / LINEAGE).is_file():
                continue
            try:
                found.append(Run.of(open_run(path)))
            except RunError as error:
                unread[str(path)] = str(error)
        return Runs(tuple(found), unread)

    def rows(self) -> list[dict[str, Any]]:
        """Of every run what it was for and what it found, `None` for what is not known yet."""
        return [_row(run) for run in self.runs]

    def shown(self) -> RenderableType:
        """As `pysurgeon runs` shows it."""
        from rich.console import Group

        return Group(runs_table(self.rows()), *(f"{folder}: {why}" for folder, why in self.unread.items()))


def _row(run: Run) -> dict[str, Any]:
    found = run.result
    result = None if found is None else found.result
    return {
        "run": str(run.folder),
        "data": run.settings.data,
        "objective": run.settings.objective,
        "seed": run.settings.seed,
        "ended": found is not None,
        "metric": None if found is None else found.metric,
        "start_accuracy": None if found is None else found.start.test_accuracy,
        "alone_accuracy": None if found is None or found.alone is None else found.alone.test_accuracy,
        "test_accuracy": None if result is None else result.test_accuracy,
        "parameters": None if result is None else result.parameters,
        "macs": None if result is None else result.macs,
        "latency_ms": None if result is None else result.latency_ms,
        "validation_accuracy": run.history[-1].validation_accuracy if run.history else None,
        "steps": run.history[-1].step if run.history else 0,
    }
