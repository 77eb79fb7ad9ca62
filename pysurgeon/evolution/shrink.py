"""Shrink: a network that works, cut to a goal, without labels and without training; and some training afterwards, where it is asked for.

One plan cuts all widths at once (`diagnosis.cut`). Curves say what units are worth in the network as it is, so a large cut is made in several
stages, each planned on what the one before has left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.diagnosis import cut as planning
from pysurgeon.errors import Refused
from pysurgeon.evolution.keep import Kept
from pysurgeon.evolution.plan import Plan
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.settings import EvolveSettings
from pysurgeon.surgery import Calibration, Record, operate
from pysurgeon.training import Outcome, Progress, State, WorkerTrainer, evaluate
from pysurgeon.training.task.evaluate import answers
from pysurgeon.widths.structure import Structure

# Stages of a cut to half, and to which share of its loss a stage may be refined that costs more than it may.
STAGES_A_HALVING = 2
_STEP, _FINEST = 0.85, 0.98
_DRAWS = 8


@dataclass(frozen=True)
class Shrunk:
    """A network that was cut.

    Attributes:
        model: It.
        records: What was done, in this order.
        error: Relative root mean square error of the outputs that was expected of all of it.
        squares: Of that, the squared error of every width.
    """

    model: Model
    records: tuple[Record, ...]
    error: float
    squares: Mapping[str, float]

    @staticmethod
    def start(model: Model) -> Shrunk:
        """Nothing done yet."""
        return Shrunk(model, (), 0.0, {})


Planner = Callable[..., planning.Cut]
Told = Callable[[str], None]


def cut_to(
    model: Model | Shrunk,
    calibration: Calibration,
    measure: planning.Measure,
    most: float,
    *,
    stages: int | None = None,
    multiple: int = 1,
    kept: Kept | None = None,
    plan: Planner = planning.cut,
    told: Told = lambda _: None,
) -> Shrunk:
    """Cut all widths until a measure of the costs is at most so much.

    Args:
        model: A model, or one that was cut already.
        calibration: Samples to look at it with.
        measure: Of costs, above 0.
        most: What it may be.
        stages: Cuts with fresh curves; as many as the way is long if `None`.
        multiple: Widths that become narrower have a multiple of so many elements.
        kept: What is not touched.
        plan: `diagnosis.cut.cut`, or `uniform` for a control.
        told: Is told what is done now.

    Raises:
        Refused: No sizes are small enough, or nothing can be narrowed.
    """
    done = model if isinstance(model, Shrunk) else Shrunk.start(model)
    begin = measure(costs(done.model))
    if begin <= most:
        return done
    if stages is None:
        stages = max(1, math.ceil(STAGES_A_HALVING * math.log2(begin / most)))
    for stage in range(1, stages + 1):
        told(f"cut {stage} of {stages}")
        level = begin * (most / begin) ** (stage / stages)
        if measure(costs(done.model)) > level:
            done = _cut_once(done, calibration, measure, (level, most), multiple, kept or Kept(), plan)
    return done


def _cut_once(
    done: Shrunk,
    calibration: Calibration,
    measure: planning.Measure,
    levels: tuple[float, float],
    multiple: int,
    kept: Kept,
    plan: Planner,
) -> Shrunk:
    """One plan, carried out: to the first of two levels, on the way to the second one."""
    structure = Structure(done.model)
    found = planning.curves(structure, calibration, kept=partial(kept.width, structure))
    if not found:
        message = "there is no width that can be narrowed; see pysurgeon inspect for the reasons"
        raise Refused(message)
    planning.ensure_reachable(structure, found, measure, levels[1], multiple=multiple)
    planned = plan(structure, found, measure, levels[0], multiple=multiple)
    model, records = done.model, list(done.records)
    for operation in planned.operations(structure):
        operated = operate(model, operation, calibration)
        model = operated.model
        records.append(operated.record)
    squares = dict(done.squares)
    for name, error in planned.errors.items():
        squares[name] = squares.get(name, 0.0) + error**2
    return Shrunk(model, tuple(records), math.hypot(done.error, planned.error), squares)


def cut_within(
    start: Model,
    step: Callable[[Shrunk, float], Shrunk],
    accuracy: Callable[[Model], float],
    allowed: float,
    least: float,
) -> Shrunk:
    """The largest cut that costs no more accuracy than it may: step by step, with shorter steps where one went too far.

    Args:
        start: The model.
        step: Cuts what it is given to a share of the start.
        accuracy: Of a model.
        allowed: By how much it may fall.
        least: The share of the start beyond which nobody asks.

    Raises:
        Refused: Even the smallest cut costs more.
    """
    reached, share, factor = Shrunk.start(start), 1.0, _STEP
    wanted = accuracy(start) - allowed
    while share > least and factor <= _FINEST:
        try:
            tried = step(reached, max(least, share * factor))
        except Refused:
            tried = None
        if tried is not None and accuracy(tried.model) >= wanted:
            reached, share = tried, max(least, share * factor)
        else:
            factor = math.sqrt(factor)
    if not reached.records:
        message = f"even a cut to {share * factor:.0%} costs more accuracy than {allowed:g} on the validation part; train it afterwards with --epochs, or allow more"
        raise Refused(message)
    return reached


def expected_fall(model: Model, data: Dataset, error: float) -> float:
    """The fall of accuracy that an error of the outputs should mean: of classes, that of answers with normal noise of this size.

    Args:
        model: Before the cut.
        data: Its validation part is looked at.
        error: Relative root mean square error of the outputs.

    Returns:
        A difference of accuracies; of what has no classes, the share of the outputs' variance that is lost.
    """
    if data.task != "classification":
        return error**2
    rng = np.random.default_rng(0)
    fall, samples = 0.0, 0
    parts = list(answers(model, data, "validation"))
    logits = np.concatenate([x for x, _ in parts]).astype(np.float64)
    labels = np.concatenate([y for _, y in parts])
    if logits.ndim != 2 or labels.ndim != 1:
        return error**2
    size = error * float(np.sqrt(logits.var(0).mean()))
    right = logits.argmax(1) == labels
    for _ in range(_DRAWS):
        noisy = logits + size * rng.standard_normal(logits.shape)
        fall += float(right.sum() - (noisy.argmax(1) == labels).sum())
        samples += len(labels)
    return max(0.0, fall / samples)


def recovered(
    model: Model, data: Dataset, settings: EvolveSettings, progress: Progress | None = None
) -> tuple[Model, bool]:
    """A model after some training, or as it was where that was no better on the validation part.

    Args:
        model: Was cut.
        data: With its goal: labels, or a teacher.
        settings: How to train it.
        progress: Is told how it goes.

    Returns:
        The better one, and whether it is the trained one.

    Raises:
        TrainingError: The engine cannot train it.
    """
    plan = Plan.of(settings, data)
    before = evaluate(model, data, "validation", threads=settings.threads)
    with WorkerTrainer(1, settings.threads, trainer=settings.trainer) as trainer:
        trainer.check(model, data, plan.training)
        result = trainer.train(
            model,
            data,
            plan.training,
            state=State(),
            steps=plan.strategy.total,
            evaluate_every=plan.steps_per_epoch,
            progress=progress,
        )
    if result.outcome is not Outcome.DONE:
        return model, False
    after = evaluate(result.model, data, "validation", threads=settings.threads)
    better = (after.accuracy, -after.loss) > (before.accuracy, -before.loss)
    return (result.model, True) if better else (model, False)
