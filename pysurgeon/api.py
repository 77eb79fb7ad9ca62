"""The Python interface: what the commands do, as functions. Results are frozen dataclasses with the keys of `--json`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pysurgeon.arguments import (
    DataSource,
    ModelSource,
    data_for,
    doubted,
    ensure_observer,
    loaded,
    operation_of,
    path_of,
    settings_by_name,
    settings_of,
)
from pysurgeon.diagnosis import Objective, diagnose
from pysurgeon.diagnosis import recommend as rank
from pysurgeon.errors import TrainingError
from pysurgeon.evolution import (
    Checkpoint,
    EvolveResult,
    EvolveSettings,
    Journal,
    Observer,
    Plan,
    begin,
    calibrated,
    check,
    free_folder,
    go_on,
    history_of,
    load_data,
    open_run,
    slope,
)
from pysurgeon.evolution import read as result_of
from pysurgeon.model import Model, ensure_free, load, save
from pysurgeon.model.costs import costs
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.model.fidelity import verify_loaded, verify_result
from pysurgeon.report import Comparison, InspectResult, write_report
from pysurgeon.report import compare as compare_models
from pysurgeon.report import inspect as inspect_model
from pysurgeon.results import ApplyResult, DoctorResult, RecommendResult, Run, TrainOutcome
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.shrinking import shrink
from pysurgeon.surgery import Calibration, Operation, operate
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
    training_report,
    with_input_metadata,
)
from pysurgeon.widths.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pysurgeon.data import Reading, Task

__all__ = [
    "ApplyResult",
    "DoctorResult",
    "RecommendResult",
    "Run",
    "TrainOutcome",
    "apply",
    "compare",
    "doctor",
    "evolve",
    "inspect",
    "read",
    "recommend",
    "resume",
    "shrink",
    "train",
]


# Between two checkpoints of a training; it costs a new start of the engine and an evaluation.
CHECKPOINT_SECONDS = 60.0
_EVALUATION_SECONDS = 3600.0


def inspect(model: ModelSource) -> InspectResult:
    """Say what a model is made of, what can be operated on and, if not, why.

    Args:
        model: Not modified.
    """
    return inspect_model(loaded(model))


def compare(
    model_a: ModelSource,
    model_b: ModelSource,
    data: DataSource | None = None,
    threads: int = 1,
    **reading: Unpack[Reading],
) -> Comparison:
    """Compare two models: outputs, accuracy, parameters, MACs, latency.

    Args:
        model_a: The reference.
        model_b: The other one.
        data: Its training samples are the calibration batch and its test split tells the accuracies; standard normal
            input of the first model's shape where `None`. Each model gets it normalized as it expects, if that is left open.
        threads: For inference.
        **reading: How the data is read, as `pysurgeon.data.load` takes it: such as `normalize="imagenet"`, `classes="names.txt"`.

    Raises:
        DataError: The models take different input, or the data does not fit one of them.
        ModelError: onnxruntime cannot run one of them.
    """
    models = loaded(model_a), loaded(model_b)
    return compare_models(*models, None if data is None else data_for(data, *models, **reading), threads)


def apply(
    model: ModelSource, *operations: Operation | str, data: DataSource | None = None, **reading: Unpack[Reading]
) -> ApplyResult:
    """Operate on a model and verify every operation by running the models before and after it.

    Args:
        model: Not modified.
        operations: In this order; later ones may name what earlier ones made. As text they are read by `parse`.
        data: Samples for fits and for the verification; standard normal input of the model's shape where `None`.
        **reading: How the data is read, as `pysurgeon.data.load` takes it: such as `normalize="imagenet"`, `classes="names.txt"`.

    Raises:
        Refused: An operation is not possible.
        UsageError: Something is no operation.
        VerificationError: The model does not compute what its file computes, or the result does not although it should.
    """
    given = model = loaded(model)
    verify_loaded(given)
    wanted = [operation_of(o) for o in operations]
    calibration = Calibration(model) if data is None else calibrated(model, data_for(data, model, **reading))
    before, records = costs(model), []
    for operation in wanted:
        done = operate(model, operation, calibration)
        model = done.model
        records.append(done.record)
    beside = verify_result(model, given, exact=all(o.exact for o in wanted))
    return ApplyResult(model, tuple(records), before, costs(model), beside)


def doctor(
    model: ModelSource,
    data: DataSource | None = None,
    *,
    threads: int = 1,
    trainer: TrainerName = DEFAULT_TRAINER,
    **reading: Unpack[Reading],
) -> DoctorResult:
    """Say whether a model will train, node by node.

    Args:
        model: Not modified.
        data: What it is to learn: then one step is tried, and otherwise classes are taken to be the task.
        threads: For inference and of the worker that tries it.
        trainer: The engine that is to train it.
        **reading: How the data is read, as `pysurgeon.data.load` takes it: such as `normalize="imagenet"`, `classes="names.txt"`.

    Raises:
        DataError: The data does not fit the model.
        TrainingError: The engine does not take the model, although nothing that is known is in the way.
    """
    model = loaded(model)
    dataset = None if data is None else data_for(data, model, **reading)
    task: Task = "classification" if dataset is None else dataset.task
    facts = training_report(model, task, "" if dataset is None else dataset.output, trainer=trainer)
    found = None
    blocked = [f for f in facts if f.status == "no gradient"]
    why = model.why_not_finite()
    if why:
        verdict = f"the model has {why}: nothing can be learnt from there"
    elif blocked:
        first = blocked[0]
        verdict = f"{len(blocked)} nodes have no gradient, {first.node!r} ({first.operator}) the first of them"
    elif dataset is not None:
        with WorkerTrainer(1, threads, trainer=trainer) as worker:
            worker.check(model, dataset)
        found = evaluate(model, dataset, "validation", threads=threads).accuracy
        doubts = dataset.cautions
        verdict = "it fits the data, and the training engine takes it"
        if doubts:
            verdict = f"the training engine takes it, but is it fed as it was trained? {doubts[0]}"
    else:
        verdict = "every node that has to can be differentiated"
    return DoctorResult(
        not (why or blocked),
        verdict,
        tuple(facts),
        found,
        "accuracy" if dataset is None else metric(dataset),
        () if dataset is None else dataset.cautions,
    )


def recommend(
    model: ModelSource,
    data: DataSource,
    *,
    objective: Objective = "accuracy",
    price: float = 1e-4,
    seed: int = 0,
    threads: int = 1,
    trainer: TrainerName = DEFAULT_TRAINER,
    **reading: Unpack[Reading],
) -> RecommendResult:
    """Rank the operations that should help this model on this data.

    Operations that keep the function are judged by how much steeper they make the loss, too; where no trainer can tell, by activations alone.

    Args:
        model: As trained as it is: the diagnosis looks at its weights and activations.
        data: Training samples are diagnosed, the validation part tells the headroom.
        objective: What for.
        price: Accuracy that one per cent more parameters and operations has to buy.
        seed: For the sample of the data and what operations draw at random.
        threads: For singular values and inference.
        trainer: The engine that gives gradients.
        **reading: How the data is read, as `pysurgeon.data.load` takes it: such as `normalize="imagenet"`, `classes="names.txt"`.

    Raises:
        UsageError: A number makes no sense.
        DataError: The data does not fit the model.
        ModelError: A layer gives values that are no finite numbers.
        TrainingError: The trainer is not installed.
    """
    ensure_device("cpu", trainer)
    model = loaded(model)
    dataset = data_for(data, model, seed=seed, **reading)
    settings = EvolveSettings(
        dataset.name, objective=objective, price=price, seed=seed, threads=threads, trainer=trainer, micro_batch=32
    )
    training = Plan.of(settings, dataset).training
    model = make_batch_dynamic(model)  # one sample is too little to look at a layer with
    calibration = calibrated(model, dataset, seed=seed)
    accuracy = evaluate(model, dataset, "validation", threads=threads).accuracy
    diagnosis = diagnose(Structure(model), calibration, threads=threads)
    headroom = max(0.0, accuracy)  # numbers may be predicted worse than by their mean
    with WorkerTrainer(1, threads, trainer=trainer) as worker:

        def slopes(models: Sequence[Model]) -> list[float | None]:
            return [slope(worker, m, dataset, training) for m in models]

        found = rank(
            diagnosis, calibration, accuracy=headroom, objective=objective, price=price, seed=seed, slopes=slopes
        )
    return RecommendResult(tuple(found), accuracy, metric(dataset))


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
    verify_result(trained := with_input_metadata(result.model, dataset), model, exact=False)
    saved = None if output is None else save(trained, output, force=force)
    if checkpoint is not None:
        checkpoint.remove()
    return TrainOutcome(
        model=trained,
        epochs=round(steps / plan.steps_per_epoch, 3),
        steps=result.state.step,
        validation_accuracy=result.history[-1].validation_accuracy,
        test_accuracy=evaluate(trained, dataset, "test", threads=settings.threads).accuracy,
        seconds=round(time.monotonic() - began, 3),
        output=saved,
        metric=metric(dataset),
        history=tuple(history),
    )


@settings_by_name
def evolve(
    model: ModelSource,
    data: DataSource | None = None,
    *,
    settings: EvolveSettings | None = None,
    run: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
    force: bool = False,
    **options: Any,
) -> EvolveResult:
    """Let the Surgeon evolve a model; `run` becomes the folder of the record, `run/result.onnx` the winner.

    Args:
        model: Not modified.
        data: What to learn; that of the settings where `None`.
        settings: How; the defaults where `None`.
        run: The folder, must not exist; `runs/MODEL-DATA-N` with the first N that is free where `None`.
        observer: Is told about the progress.
        force: Whether an older run there may be replaced.
        **options: Fields of `EvolveSettings` that differ from the settings, such as `epochs=5, objective="size"`.

    Raises:
        UsageError: There are neither settings nor data, or a setting makes no sense.
        ModelError: A weight is infinite or not a number.
        OutputExistsError: The folder holds something.
        Refused: The model breaks a limit before anything is done to it.
        DataError: The data does not fit the model.
        TrainingError: The model cannot be trained, or every branch diverged.
        VerificationError: The model does not compute what its file computes.
    """
    settings = settings_of(settings, data, options)
    ensure_observer(observer)
    folder = None if run is None else path_of(run, "run")
    name = "model" if isinstance(model, Model) else Path(model).stem
    model = loaded(model)
    dataset = doubted(load_data(settings, model, data), data)
    check(model, settings, dataset)
    folder = free_folder(name, settings.data) if folder is None else folder
    return _finish(begin(model, settings, folder, force=force), dataset, observer)


def resume(
    run: str | os.PathLike[str], data: DataSource | None = None, *, observer: Observer | None = None
) -> EvolveResult:
    """Go on with a run from wherever it stands.

    Args:
        run: Its folder.
        data: The data itself, where the run was begun with data that has no name.
        observer: Is told about the progress.

    Raises:
        RunError: The folder is that of no run, is damaged, or another process is at work on it.
        DataError: The data is not there any more, or does not fit the start.
        TrainingError: Every branch diverged.
    """
    ensure_observer(observer)
    return _finish(open_run(path_of(run, "run")), data, observer)


def read(run: str | os.PathLike[str]) -> Run:
    """Look at a run without its data: one that has ended, that is under way, or that was interrupted.

    Args:
        run: Its folder.

    Raises:
        RunError: The folder is that of no run, or is damaged.
    """
    journal = open_run(path_of(run, "run"))
    settings = EvolveSettings.from_json(journal.settings)
    return Run(journal.folder, settings, result_of(journal), history_of(journal), tuple(journal.events))


def _finish(journal: Journal, data: DataSource | None, observer: Observer | None) -> EvolveResult:
    start = load(journal.start)
    dataset = doubted(load_data(EvolveSettings.from_json(journal.settings), start, data), data)
    result = go_on(journal, dataset, observer)
    write_report(journal, journal.folder / "report.html", force=True)
    return result


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
