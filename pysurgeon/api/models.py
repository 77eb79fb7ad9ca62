"""Looking at models and operating on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pysurgeon.api.arguments import (
    DataSource,
    ModelSource,
    data_for,
    loaded,
    operation_of,
)
from pysurgeon.api.results import ApplyResult, DoctorResult, RecommendResult
from pysurgeon.diagnosis import Objective, diagnose
from pysurgeon.diagnosis import recommend as rank
from pysurgeon.evolution import (
    EvolveSettings,
    Plan,
    calibrated,
    slope,
)
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.model.fidelity import verify_loaded, verify_result
from pysurgeon.report import Comparison, InspectResult
from pysurgeon.report import compare as compare_models
from pysurgeon.report import inspect as inspect_model
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.surgery import Calibration, Operation, operate
from pysurgeon.training import (
    WorkerTrainer,
    ensure_device,
    evaluate,
    metric,
    training_report,
)
from pysurgeon.widths.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pysurgeon.data import Reading, Task


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
