"""Training: a protocol, and onnxruntime-training behind it. Nothing else knows which engine that is."""

from pysurgeon.training.evaluate import Evaluation, evaluate
from pysurgeon.training.fit import Fit, InputFit, fit_input, with_input_metadata
from pysurgeon.training.ort import OrtTrainer
from pysurgeon.training.protocol import Outcome, Point, Schedule, State, Trainer, TrainResult, TrainSettings
from pysurgeon.training.view import NodeFact, TrainingView, training_report, training_view
from pysurgeon.training.worker import WorkerTrainer

__all__ = [
    "Evaluation",
    "Fit",
    "InputFit",
    "NodeFact",
    "OrtTrainer",
    "Outcome",
    "Point",
    "Schedule",
    "State",
    "TrainResult",
    "TrainSettings",
    "Trainer",
    "TrainingView",
    "WorkerTrainer",
    "evaluate",
    "fit_input",
    "training_report",
    "training_view",
    "with_input_metadata",
]
