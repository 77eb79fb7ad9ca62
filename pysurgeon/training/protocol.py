"""What the rest of pysurgeon knows about training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.model import Model
from pysurgeon.settings import StepSettings

Array = np.ndarray[Any, np.dtype[Any]]


# Samples that `Trainer.slope` looks at: twice as many rank operations no better.
SLOPE_SAMPLES = 256


class Outcome(Enum):
    """How a stretch of training ended. Only DONE lets a branch go on; the others are results, too, not exceptions."""

    DONE = "all steps were taken"
    DIVERGED = "the loss became infinite or no number; a smaller learning rate may help"
    LOST = "the process that trained it ended by itself; its last words are in the message"
    STOPPED = "the time was up before all steps were taken"


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the whole life of a trunk: linear warm-up, then constant or cosine decay to zero.

    A branch stands at the same place of the schedule as its parent, so branches and trunk stay comparable. But every element of a
    parameter is warmed up from when it came: the first steps of an adaptive optimizer are too large, and those of many new units
    at once switch units off for ever that stand behind a ReLU (`docs/training.md`, New units).

    Attributes:
        rate: Peak learning rate.
        total_steps: Steps of the whole life (the end of the decay).
        warmup_steps: Steps that an element takes until the peak.
        decay: What happens after the peak.
    """

    rate: float
    total_steps: int
    warmup_steps: int = 0
    decay: Literal["cosine", "constant"] = "cosine"

    def at(self, step: int, age: int | None = None) -> float:
        """Learning rate of an element.

        Args:
            step: Of the trunk, counted from 0.
            age: Steps that the element has taken, `None` for one that was there from the start.
        """
        age = step if age is None else age
        warm = min(1.0, (age + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.decay == "constant":
            return self.rate * warm
        progress = max(0, step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.rate * warm * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, progress))))


@dataclass(frozen=True)
class TrainSettings(StepSettings):
    """How to train, whatever the model: how a step is taken, and its rate. One thread gives the same bits on every run.

    Attributes:
        schedule: Learning rate by step.
        clip: Largest norm of the gradient over all parameters, `None` for no clipping.
    """

    schedule: Schedule
    clip: float | None = 1.0


@dataclass(frozen=True)
class State:
    """Where the optimizer is: what a model itself does not say.

    Attributes:
        step: Steps taken since the start of the trunk; says which batch and which learning rate come next.
        moments: By name of the moment (`m`, `v` for adamw, `momentum` for sgd), then by parameter name; each array has
            the shape of its parameter. A parameter that is missing starts at zero. Beside them stands `age`, the steps that every
            element has taken: of the parameter's shape, or a scalar where that is the same for all.
    """

    step: int = 0
    moments: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One entry of a training history: mean training loss since the last one, validation figures at `step`."""

    step: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrainResult:
    """What a stretch of training gave.

    Attributes:
        outcome: How it ended.
        model: The user's graph with what was learnt (the parameters before the stretch if it diverged or was lost).
        state: The optimizer's state at the end.
        history: Validation figures, the last one at the end of the stretch; empty if it was lost.
        steps: Optimizer steps taken.
        seconds: Wall time.
        message: Details where the outcome is not DONE.
    """

    outcome: Outcome
    model: Model
    state: State
    history: tuple[Point, ...]
    steps: int
    seconds: float
    message: str = ""


class Progress(Protocol):
    """Is called with how a stretch of training goes on."""

    def __call__(self, step: int, loss: float, accuracy: float | None = None, /) -> None:
        """Some steps were taken.

        Args:
            step: The global step.
            loss: The last training loss; where there is an accuracy, the mean since the evaluation before.
            accuracy: On the validation part, where it was evaluated just now.
        """


class Trainer(Protocol):
    """Trains models. Implementations may be called from several threads at once."""

    def check(self, model: Model, data: Dataset, settings: TrainSettings | None = None) -> None:
        """Refuse a model that cannot be trained on this data, by name of the operator or shape that is in the way.

        Args:
            model: The model.
            data: What it is to learn.
            settings: Say what is frozen; nothing where `None`.

        Raises:
            TrainingError: The engine cannot train it.
            DataError: The data does not fit its inputs or outputs.
        """

    def slope(self, model: Model, data: Dataset, settings: TrainSettings) -> float:
        """How steeply the loss falls from where a model stands: the L1 norm of its gradient over all parameters.

        To first order, a step of AdamW with learning rate r lowers the loss by r times that, as it moves every parameter by about r. Taken
        over `SLOPE_SAMPLES` samples of the training part, without augmentation.

        Raises:
            TrainingError: The engine cannot train the model.
            DataError: The data does not fit the model.
        """

    def train(
        self,
        model: Model,
        data: Dataset,
        settings: TrainSettings,
        *,
        state: State,
        steps: int,
        evaluate_every: int,
        progress: Progress | None = None,
        deadline: float | None = None,
    ) -> TrainResult:
        """Take `steps` optimizer steps from `state` on.

        Training for a+b steps at once and for a, then b from the state that came out, gives the same bits on one thread.

        Args:
            model: The model; not modified.
            data: Only its training and validation parts are read.
            settings: How to train.
            state: Where the optimizer stands; `State()` at the start.
            steps: Steps to take.
            evaluate_every: Steps between two evaluations on the validation part, counted from the start of the trunk, so
                that branches are measured at the same steps; 0 for one at the end only.
            progress: Called now and then, and at every evaluation.
            deadline: `time.monotonic()` after which to stop.

        Raises:
            TrainingError: The engine cannot train the model, or a moment does not have the shape of its parameter.
            DataError: The data does not fit the model.
            UsageError: The batch size or the seed is too small, or the augmentation does not fit the data.
        """
