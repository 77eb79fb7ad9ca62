"""A trainer in this very process. An engine can end it: see `pysurgeon.training.workers.pool`."""

from __future__ import annotations

import math
import time

import numpy as np

from pysurgeon.data import Batches, Dataset
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.training.derived_graph.derive import training_graph
from pysurgeon.training.engines.engine import Engine, make_engine
from pysurgeon.training.losses.loss import Loss
from pysurgeon.training.losses.making import make_loss, teacher_of
from pysurgeon.training.protocol import (
    SLOPE_SAMPLES,
    Outcome,
    Point,
    Progress,
    State,
    TrainResult,
    TrainSettings,
)
from pysurgeon.training.task.binding import Fit, fit_input
from pysurgeon.training.task.evaluate import evaluate
from pysurgeon.training.task.frozen import frozen

_TRIAL_BATCH, _SLOPE_BATCH = 8, 32


class LocalTrainer:
    """Trains in the calling process; may be called from several threads.

    Args:
        name: The engine that gives loss and gradients. Threads of torch are a setting of the whole process, that of the last stretch that
            began in it.

    Attributes:
        name: See the argument.
        progress_seconds: Least time between two calls of `progress`.
    """

    progress_seconds = 0.2

    def __init__(self, name: TrainerName = DEFAULT_TRAINER) -> None:
        self.name: TrainerName = name

    def check(self, model: Model, data: Dataset, settings: TrainSettings | None = None) -> None:
        """Refuse a model that cannot be trained on this data; takes the gradients of one small batch to be sure.

        Raises:
            TrainingError: The engine cannot train it.
            DataError: The data does not fit its inputs or outputs.
        """
        fit, loss = fit_input(model, data), make_loss(model, data)
        fixed = () if settings is None else frozen(model, settings.freeze, settings.train)
        view = training_graph(model, loss, trainer=self.name, shapes=fit.shapes, frozen=fixed)
        batches = _Taught(Batches(data, _TRIAL_BATCH, seed=0, raw=fit.raw), data, fit, loss)
        make_engine(self.name, view, loss).step(*batches.fed(0))

    def slope(self, model: Model, data: Dataset, settings: TrainSettings) -> float:
        """L1 norm of the gradient; see `pysurgeon.training.Trainer`.

        Raises:
            TrainingError: The engine cannot train the model.
            DataError: The data does not fit its inputs or outputs.
        """
        fit, loss, engine = _prepared(self.name, model, data, settings)
        batches = _Taught(Batches(data, _SLOPE_BATCH, seed=settings.seed, raw=fit.raw), data, fit, loss)
        count = SLOPE_SAMPLES // _SLOPE_BATCH
        for k in range(count):
            engine.step(*batches.fed(k), add=k > 0)
        return float(sum(np.abs(g).sum(dtype=np.float64) for g in engine.gradients.values())) / count

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
        """Take optimizer steps; see `pysurgeon.training.Trainer`.

        Raises:
            TrainingError: The engine cannot train the model.
            DataError: The data does not fit its inputs or outputs.
            UsageError: The batch size or the seed is too small, or the augmentation does not fit the data.
        """
        stretch = _Stretch(self.name, model, data, settings, state, deadline, progress, self.progress_seconds)
        return stretch.run(steps, evaluate_every)


def _prepared(trainer: TrainerName, model: Model, data: Dataset, settings: TrainSettings) -> tuple[Fit, Loss, Engine]:
    fit = fit_input(model, data)
    loss = make_loss(model, data, class_weights=settings.class_weights, smoothing=settings.label_smoothing)
    view = training_graph(
        model,
        loss,
        freeze_statistics=settings.statistics == "frozen",
        trainer=trainer,
        shapes=fit.shapes,
        frozen=frozen(model, settings.freeze, settings.train),
    )
    return fit, loss, make_engine(trainer, view, loss, threads=settings.threads, device=settings.device)


class _Taught:
    """Batches as an engine takes them: what the model is fed, and what its outputs are compared with.

    Args:
        batches: Samples and labels.
        data: That they are of.
        fit: How they are fed.
        loss: What is made of the labels.
    """

    def __init__(self, batches: Batches, data: Dataset, fit: Fit, loss: Loss) -> None:
        self._batches, self._data, self._fit, self._loss = batches, data, fit, loss
        self._teacher = teacher_of(data)

    def fed(self, step: int) -> tuple[dict[str, Array], dict[str, Array]]:
        """Arrays by the names of the model's inputs, and those of `Loss.arrays`."""
        x, y = self._batches.batch(step)
        taught: dict[str, Array] = {}
        if self._teacher is not None and self._batches.augmented:  # what it gives for a sample is different each time
            taught = self._teacher.values(self._data, self._loss.taught, x)
        elif self._teacher is not None:
            rows = self._batches.indices(step)
            taught = self._teacher.of_part(self._data, self._loss.taught, "train", rows, x)
        return self._fit.feeds(x), self._loss.arrays(y, taught)


class _Stretch:
    """One call of `train`."""

    def __init__(
        self,
        trainer: TrainerName,
        model: Model,
        data: Dataset,
        settings: TrainSettings,
        state: State,
        deadline: float | None,
        progress: Progress | None,
        progress_seconds: float,
    ) -> None:
        self._progress_seconds = progress_seconds
        self._began = time.monotonic()
        self._model, self._data, self._settings, self._start = model, data, settings, state
        self._deadline, self._progress = deadline, progress
        self._fit, self._loss, self._engine = _prepared(trainer, model, data, settings)
        self._optimizer = self._engine.optimizer(settings, state)
        batches = Batches(data, settings.batch_size, seed=settings.seed, augment=settings.augment, raw=self._fit.raw)
        self._batches = _Taught(batches, data, self._fit, self._loss)
        self._inference = make_batch_dynamic(model)
        self._history: list[Point] = []
        self._losses: list[float] = []
        self._step = state.step

    def run(self, steps: int, evaluate_every: int) -> TrainResult:
        end = self._start.step + steps
        reported = self._began
        while self._step < end:
            now = time.monotonic()
            if self._deadline is not None and now >= self._deadline:
                return self._finish(Outcome.STOPPED, f"{self._step - self._start.step} of {steps} steps were taken")
            trouble = self._advance()
            if trouble:
                return self._diverged(trouble)
            if self._progress is not None and now - reported >= self._progress_seconds:
                self._progress(self._step, self._losses[-1])
                reported = now
            if evaluate_every > 0 and self._step % evaluate_every == 0 and self._step < end:
                self._measure()
        return self._finish(Outcome.DONE, "")

    def _advance(self) -> str:
        """Take one step. Returns why it could not be, or nothing."""
        loss = self._gradients(*self._batches.fed(self._step))
        if not math.isfinite(loss):
            return f"the loss is {loss} at step {self._step}"
        norm = self._optimizer.step(self._step)
        if not math.isfinite(norm):
            return f"the norm of the gradient is {norm} at step {self._step}"
        self._losses.append(loss)
        self._step += 1
        return ""

    def _gradients(self, feeds: dict[str, Array], targets: dict[str, Array]) -> float:
        """Loss and gradients of a batch, in parts of the size that the settings ask for."""
        size = len(next(iter(targets.values())))
        part = self._settings.micro_batch or size
        axes = [fit.axis for fit in self._fit.inputs]
        loss = 0.0
        for start in range(0, size, part):
            rows = slice(start, start + part)
            taken = {
                name: x if axis is None or part >= size else np.ascontiguousarray(x[(slice(None),) * axis + (rows,)])
                for (name, x), axis in zip(feeds.items(), axes, strict=True)
            }
            loss += self._engine.step(taken, {name: t[rows] for name, t in targets.items()}, add=start > 0)
        return loss

    def _measure(self) -> dict[str, Array]:
        tensors = self._engine.tensors()
        figures = evaluate(
            self._inference.with_tensors(tensors), self._data, "validation", threads=self._settings.threads
        )
        train_loss = sum(self._losses) / len(self._losses) if self._losses else math.nan
        self._losses = []
        seconds = time.monotonic() - self._began
        self._history.append(Point(self._step, train_loss, figures.loss, figures.accuracy, seconds))
        if self._progress is not None:
            self._progress(self._step, train_loss, figures.accuracy)
        return tensors

    def _finish(self, outcome: Outcome, message: str) -> TrainResult:
        tensors = self._measure()
        if not math.isfinite(self._history[-1].validation_loss):
            return self._diverged(f"the validation loss is {self._history[-1].validation_loss} at step {self._step}")
        return self._result(outcome, self._model.with_tensors(tensors), self._optimizer.state(self._step), message)

    def _diverged(self, why: str) -> TrainResult:
        return self._result(Outcome.DIVERGED, self._model, self._start, why)

    def _result(self, outcome: Outcome, model: Model, state: State, message: str) -> TrainResult:
        return TrainResult(
            outcome,
            model,
            state,
            tuple(self._history),
            self._step - self._start.step,
            time.monotonic() - self._began,
            message,
        )
