"""Training: a protocol, and onnxruntime-training behind it. Nothing else knows which engine that is."""

from pysurgeon.training._engine import ensure_device
from pysurgeon.training.evaluate import Evaluation, evaluate
from pysurgeon.training.fit import Fit, InputFit, fit_input
from pysurgeon.training.loss import ClassWeights, metric
from pysurgeon.training.normalization import as_expected, with_input_metadata
from pysurgeon.training.ort import OrtTrainer
from pysurgeon.training.protocol import (
    Device,
    Optim,
    Outcome,
    Point,
    Progress,
    Schedule,
    State,
    Statistics,
    Trainer,
    TrainResult,
    TrainSettings,
)
from pysurgeon.training.view import NodeFact, TrainingView, training_report, training_view
from pysurgeon.training.worker import WorkerTrainer

__all__ = [
    "ClassWeights",
    "Device",
    "Evaluation",
    "Fit",
    "InputFit",
    "NodeFact",
    "Optim",
    "OrtTrainer",
    "Outcome",
    "Point",
    "Progress",
    "Schedule",
    "State",
    "Statistics",
    "TrainResult",
    "TrainSettings",
    "Trainer",
    "TrainingView",
    "WorkerTrainer",
    "as_expected",
    "ensure_device",
    "evaluate",
    "fit_input",
    "metric",
    "training_report",
    "training_view",
    "with_input_metadata",
]
