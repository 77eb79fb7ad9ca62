"""Training a model as it stands."""

from __future__ import annotations

import os
import time
from typing import Any

from pysurgeon.api.arguments import (
    DataSource,
    ModelSource,
    doubted,
    ensure_observer,
    loaded,
    path_of,
    settings_by_name,
    settings_of,
)
from pysurgeon.api.results import TrainOutcome
from pysurgeon.errors import TrainingError
from pysurgeon.evolution import (
    Checkpoint,
    EvolveSettings,
    Observer,
    Plan,
    load_data,
)
from pysurgeon.evolution.provenance import as_file, made_from
from pysurgeon.model import ensure_free, save
from pysurgeon.model.fidelity import verify_loaded, verify_result
from pysurgeon.training import (
    Outcome,
    Point,
    Progress,
    State,
    TrainResult,
    WorkerTrainer,
    ensure_device,
    evaluate,
    metric,
)

# Between two checkpoints of a training; it costs a new start of the engine and an evaluation.
CHECKPOINT_SECONDS = 60.0
_EVALUATION_SECONDS = 3600.0


@settings_by_name
def train(
    model: ModelSource,
    data: DataSource | None = None,
    *,
    settings: EvolveSettings | None = None,
    output: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
    force: bool = False,
    **options: Any,
) -> TrainOutcome:
    """Train a model as it stands, with the settings that `evolve` trains its trunk with.

    Where there is an output, what has been learnt is written down beside it now and then (`.NAME.training.npz`), until the
    end: called again with the same model and settings, it goes on from there, on one thread to the same bits.

    Args:
        model: Not modified.
        data: What to learn; that of the settings where `None`.
        settings: Those that concern branching are not used; the defaults where `None`.
        output: Where to save it.
        observer: Is told about the progress.
        force: Whether `output` may be replaced.
        **options: Fields of `EvolveSettings` that differ from the settings, such as `epochs=5`.

    Raises:
        UsageError: There are neither settings nor data, or a setting makes no sense.
        ModelError: A weight is infinite or not a number.
        TrainingError: The model cannot be trained, or training diverged.
        DataError: The data does not fit the model.
        OutputExistsError: `output` exists, or an unfinished training of something else, and `force` is not given.
        VerificationError: The model does not compute what its file computes.
    """
    settings = settings_of(settings, data, options)
    ensure_observer(observer)
    model = loaded(model)
    output = None if output is None else path_of(output, "output")
    ensure_free([] if output is None else [output], force=force)
    model.ensure_finite()
    verify_loaded(model)
    checkpoint = None if output is None else Checkpoint.beside(output, model, settings)
    dataset = doubted(load_data(settings, model, data), data)
    plan = Plan.of(settings, dataset)
    steps = plan.strategy.total
    began = time.monotonic()
    ensure_device(settings.device, settings.trainer)
    history: list[Point] = []
    reached, state = (model, State()) if checkpoint is None else checkpoint.load(model, force=force)
    # A stretch that is over is evaluated before it answers, and that may take long.
    with WorkerTrainer(1, settings.threads, grace=_EVALUATION_SECONDS, trainer=settings.trainer) as trainer:
        trainer.check(model, dataset, plan.training)
        while True:
            result = trainer.train(
                reached,
                dataset,
                plan.training,
                state=state,
                steps=steps - state.step,
                evaluate_every=plan.steps_per_epoch,
                progress=None if observer is None else _told(observer, metric(dataset)),
                deadline=None if checkpoint is None else time.monotonic() + CHECKPOINT_SECONDS,
            )
            history += result.history
            if result.outcome is not Outcome.STOPPED or checkpoint is None:
                break
            reached, state = result.model, result.state
            checkpoint.save(reached, state)
    _check(result)
    verify_result(trained := result.model, model, exact=False)
    accuracy = evaluate(trained, dataset, "test", threads=settings.threads).accuracy
    figures = {"parameters": trained.parameter_count(), "test_accuracy": accuracy}
    trained = as_file(trained, dataset, "train", result.state.step, made_from(model, dataset), figures)
    saved = None if output is None else save(trained, output, force=force)
    if checkpoint is not None:
        checkpoint.remove()
    return TrainOutcome(
        model=trained,
        epochs=round(steps / plan.steps_per_epoch, 3),
        steps=result.state.step,
        validation_accuracy=result.history[-1].validation_accuracy,
        test_accuracy=accuracy,
        seconds=round(time.monotonic() - began, 3),
        output=saved,
        metric=metric(dataset),
        history=tuple(history),
    )


def _told(observer: Observer, name: str) -> Progress:
    """Tells an observer how the training of one model goes on."""

    def progress(step: int, loss: float, accuracy: float | None = None, /) -> None:
        if accuracy is None:
            observer.training("model", step, loss)
        else:
            observer.happened({"event": "measured", "step": step, "loss": loss, "accuracy": accuracy, "metric": name})

    return progress


def _check(result: TrainResult) -> None:
    if result.outcome is not Outcome.DONE:
        message = f"training ended after {result.steps} steps: {result.outcome.value}. {result.message}".strip()
        raise TrainingError(message)
