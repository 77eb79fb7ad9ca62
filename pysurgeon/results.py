"""What the functions of the Python interface return: frozen dataclasses with the keys of `--json`, printed as the commands print them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pysurgeon.diagnosis import Recommendation
from pysurgeon.model import Model, written
from pysurgeon.model.costs import Costs
from pysurgeon.model.fidelity import Beside
from pysurgeon.report import Printable, recommendations_table, records_table, training_table
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
