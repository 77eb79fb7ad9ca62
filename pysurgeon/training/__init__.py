"""Training: a protocol, and the engines behind it: onnxruntime-training, or torch. Nothing else knows which one it is."""

from pysurgeon.runtime import TrainerName
from pysurgeon.settings import ClassWeights, Device, Optim, Statistics
from pysurgeon.training.derived_graph.derive import NodeFact, TrainingGraph, training_graph, training_report
from pysurgeon.training.engines.engine import ensure_device
from pysurgeon.training.local import LocalTrainer
from pysurgeon.training.losses.making import metric
from pysurgeon.training.losses.metrics import score_text
from pysurgeon.training.protocol import (
    Outcome,
    Point,
    Progress,
    Schedule,
    State,
    Trainer,
    TrainResult,
    TrainSettings,
)
from pysurgeon.training.task.binding import Fit, InputFit, fit_input
from pysurgeon.training.task.evaluate import Evaluation, evaluate
from pysurgeon.training.task.expected import as_expected
from pysurgeon.training.task.input_normalization import with_input_metadata
from pysurgeon.training.task.loading import load_for
from pysurgeon.training.task.paired import Difference, paired
from pysurgeon.training.workers.pool import WorkerTrainer

__all__ = [
    "ClassWeights",
    "Device",
    "Difference",
    "Evaluation",
    "Fit",
    "InputFit",
    "LocalTrainer",
    "NodeFact",
    "Optim",
    "Outcome",
    "Point",
    "Progress",
    "Schedule",
    "State",
    "Statistics",
    "TrainResult",
    "TrainSettings",
    "Trainer",
    "TrainerName",
    "TrainingGraph",
    "WorkerTrainer",
    "as_expected",
    "ensure_device",
    "evaluate",
    "fit_input",
    "load_for",
    "metric",
    "paired",
    "score_text",
    "training_graph",
    "training_report",
    "with_input_metadata",
]
