"""`shrink`: one call for whose network works and is too large or too slow."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pysurgeon.api.arguments import DataSource, ModelSource, loaded, path_of, settings_of
from pysurgeon.api.results import ShrinkResult
from pysurgeon.data import Dataset
from pysurgeon.diagnosis.cut import curves, output_loss
from pysurgeon.errors import Refused, UsageError
from pysurgeon.evolution import calibrated, load_data
from pysurgeon.evolution.keep import Kept
from pysurgeon.evolution.shrink import Shrunk, cut_to, cut_within, expected_fall, recovered
from pysurgeon.evolution.target import Speed, Stopwatch, Target, by_command, in_turns, operations_for, too_slow
from pysurgeon.model import Model, ensure_free, save
from pysurgeon.model.costs import Costs, costs
from pysurgeon.model.fidelity import verify_loaded, verify_result
from pysurgeon.model.session import output_error
from pysurgeon.report import Compared, Comparison, WidthCut
from pysurgeon.settings import RATE_OF_TRAINED, EvolveSettings
from pysurgeon.surgery import Calibration
from pysurgeon.training import evaluate, metric, paired, with_input_metadata
from pysurgeon.widths.structure import Structure

# Widths are whole multiples of so many elements where time counts: kernels work on blocks of eight.
_KERNELS_LIKE = 8
# Seconds for the last word on which one is faster, and how often a cut goes on that turns out too slow, and by how much.
_SECONDS, _FURTHER, _LESS = 10.0, 3, 0.85
# The share of the operations beyond which nobody cuts who only says what it may cost.
_LEAST = 0.02

Told = Callable[[str], None]


def shrink(
    model: ModelSource,
    data: DataSource,
    to: str | None = None,
    *,
    within: float | None = None,
    epochs: float | None = None,
    multiple_of: int | None = None,
    measure: str | None = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Told | None = None,
    **options: Any,
) -> ShrinkResult:
    """Cut a network that works to a goal, at the least error of its outputs. Without `epochs` this needs neither labels nor training.

    Args:
        model: Not modified.
        data: Samples; with labels, accuracies are told, too.
        to: The goal: `macs=0.5x`, `params=30000`, `latency=0.5x`, `latency=2.5` (milliseconds for one sample, as measured).
        within: How much accuracy on the validation part may be lost: the largest cut that loses no more, up to the goal where there is one.
        epochs: Passes over the training part afterwards; the outputs of the original are the targets.
        multiple_of: Widths that become narrower have a multiple of so many elements; 8 for a latency, else any number, if `None`.
        measure: A command that prints the time that `{model}` takes, in the place of a measurement on this machine.
        output: Where to save it.
        force: Whether `output` may be replaced.
        progress: Is told what is done now.
        **options: Fields of `EvolveSettings` that say how data is read, what is kept and how to train: `keep=("head",)`, `teacher="big.onnx"`.

    Raises:
        UsageError: There is no goal, or it or an option makes no sense.
        Refused: No cut is small enough, or faster beyond doubt, or cheap enough; or the model is as small already.
        DataError: The data does not fit the model.
        TrainingError: It is to be trained, and cannot be.
        VerificationError: The model does not compute what its file computes.
    """
    target = _goal(to, within, multiple_of)
    watch = None if measure is None else by_command(measure)
    model = loaded(model)
    output = None if output is None else path_of(output, "output")
    ensure_free([] if output is None else [output], force=force)
    model.ensure_finite()
    verify_loaded(model)
    settings = settings_of(None, data, {"teacher": "start", "lr": RATE_OF_TRAINED, **options, "epochs": epochs or 1.0})
    dataset = load_data(settings, model, data)
    work = _Work(model, dataset, settings, watch or in_turns(settings.threads), progress or (lambda _: None))
    work.kept.check(Structure(model))
    done = work.cut(target, within, multiple_of)
    lost = output_loss(model, done.model, work.calibration)
    result, trained = (done.model, False) if epochs is None else work.train(done.model)
    verify_result(result, model, exact=False)
    speed = work.speed(result, needed=target is not None and target.quantity == "latency")
    saved = None if output is None else save(result, output, force=force)
    return ShrinkResult(
        model=result,
        comparison=work.compared(result, speed),
        predicted_loss=expected_fall(model, dataset, done.error),
        predicted_error=done.error,
        measured_error=lost,
        operations=done.records,
        cuts=_cuts(model, done),
        trained=trained,
        missed="" if target is None else work.missed(target, result, speed),
        output=saved,
    )


def _goal(to: str | None, within: float | None, multiple_of: int | None) -> Target | None:
    if to is None and within is None:
        message = "there is no goal; say to what to shrink it, such as macs=0.5x, or within which loss of accuracy, such as 0.005"
        raise UsageError(message)
    if within is not None and not 0 <= within < 1:
        message = f"the accuracy that may be lost is {within:g}; it must be a share from 0 to below 1, such as 0.005"
        raise UsageError(message)
    if multiple_of is not None and multiple_of < 1:
        message = f"widths are to be multiples of {multiple_of}; it must be an integer above 0"
        raise UsageError(message)
    return None if to is None else Target.parse(to)


class _Work:
    """One network on its way."""

    def __init__(self, model: Model, data: Dataset, settings: EvolveSettings, watch: Stopwatch, told: Told) -> None:
        self.model, self.data, self.settings, self.watch, self.told = model, data, settings, watch, told
        self.kept = Kept(settings.keep)
        self.calibration: Calibration = calibrated(model, data, seed=settings.seed)

    def cut(self, target: Target | None, within: float | None, multiple_of: int | None) -> Shrunk:
        """Down to the goal, and no further than may be lost."""
        if within is not None and self.data.task == "unlabelled":
            message = "there are no labels, so nobody can tell what accuracy a cut costs; say how far to go instead, such as --to macs=0.5x"
            raise Refused(message)
        timed = target is not None and target.quantity == "latency"
        multiple = multiple_of or (_KERNELS_LIKE if timed else 1)
        measure = _operations if target is None else target.measure
        now = measure(costs(self.model))
        most = _LEAST * now if target is None else self._most(target, now, multiple)

        def cut(done: Model | Shrunk, level: float) -> Shrunk:
            return cut_to(done, self.calibration, measure, level, multiple=multiple, kept=self.kept, told=self.told)

        if within is not None:
            return cut_within(
                self.model, lambda done, share: cut(done, share * now), self._accuracy, within, least=most / now
            )
        done = cut(self.model, most)
        for further in range(1, _FURTHER + 1 if timed else 0):
            if target is None or self.watch(self.model, done.model, _SECONDS).reaches(target.most):
                break
            done = cut(done, most * _LESS**further)  # stages end in other shapes than the one that was timed
        return done

    def _most(self, target: Target, now: float, multiple: int) -> float:
        if target.quantity != "latency":
            return target.most(now)
        self.told("timing shapes")
        structure = Structure(self.model)
        found = curves(structure, self.calibration, kept=lambda w: self.kept.width(structure, w))
        if not found:
            message = "there is no width that can be narrowed; see pysurgeon inspect for the reasons"
            raise Refused(message)
        return operations_for(structure, found, self.watch, target.most, multiple)

    def _accuracy(self, model: Model) -> float:
        return evaluate(model, self.data, "validation", threads=self.settings.threads).accuracy

    def train(self, model: Model) -> tuple[Model, bool]:
        """Some training, where it helps."""
        self.told("training")
        steps = self.told

        def progress(step: int, loss: float, accuracy: float | None = None, /) -> None:
            steps(
                f"training: step {step:,}, loss {loss:.4g}{'' if accuracy is None else f', validation {accuracy:.2%}'}"
            )

        found, trained = recovered(model, self.data, self.settings, progress)
        return (with_input_metadata(found, self.data) if trained else found), trained

    def speed(self, model: Model, *, needed: bool) -> Speed:
        """How long it takes beside the original.

        Raises:
            Refused: It was to be faster, and is not beyond doubt.
        """
        self.told("timing both")
        found = self.watch(self.model, model, _SECONDS)
        if needed and found.ratio.verdict != "faster":
            raise Refused(too_slow(found))
        return found

    def compared(self, model: Model, speed: Speed) -> Comparison:
        """The original beside the result; the test part is read here."""
        found = [evaluate(m, self.data, "test", threads=self.settings.threads) for m in (self.model, model)]
        names = [str(o.name) for o in self.model.outputs]
        old, new = (self.calibration.holdout(m, names) for m in (self.model, model))
        a, b = (
            Compared(e.accuracy, size.parameters, size.macs, timing)
            for e, size, timing in zip(
                found, (costs(self.model), costs(model)), (speed.before, speed.after), strict=True
            )
        )
        return Comparison(output_error(old, new), a, b, speed.ratio, speed.load, metric(self.data), paired(*found))

    def missed(self, target: Target, result: Model, speed: Speed) -> str:
        """By how much a goal was missed, as a sentence; empty where it is reached."""
        if target.quantity == "latency":
            now, allowed = speed.ratio.median * speed.before.median, target.most(speed.before.median)
        else:
            now, allowed = target.measure(costs(result)), target.most(target.measure(costs(self.model)))
        return "" if now <= allowed else f"{target} is not reached: {now:,.6g} against {allowed:,.6g}"


def _operations(size: Costs) -> float:
    return float(size.macs)


def _cuts(model: Model, done: Shrunk) -> tuple[WidthCut, ...]:
    after = {w.name: w.size for w in Structure(done.model).widths}
    total = max(sum(done.squares.values()), 1e-300)
    return tuple(
        WidthCut(w.name, w.size, after.get(w.name, w.size), done.squares[w.name] / total)
        for w in Structure(model).widths
        if w.name in done.squares
    )
