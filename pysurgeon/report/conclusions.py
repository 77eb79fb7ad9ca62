"""What a run has shown and what it has not, in sentences: the page and the terminal say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysurgeon.data import Dataset
from pysurgeon.evolution import EvolveSettings
from pysurgeon.model.timing import BUSY
from pysurgeon.report import _format as fmt
from pysurgeon.report.run_summary import RunRecord
from pysurgeon.training import Difference

if TYPE_CHECKING:
    from pysurgeon.report.compare import Comparison


def verdict(run: RunRecord) -> tuple[str, ...]:
    """What a finished run has shown: whether it is better than the start trained alone, and whether it kept to the tolerance."""
    assert run.result is not None
    if run.alone is None:
        # Without the control there is no claim.
        found = ["The start alone did not train to the end, so there is nothing to compare with."]
    elif run.difference is not None:
        found = list(compared(run.difference, "the result", "the start trained alone", run.metric))
    else:
        found = [_apart(run.alone.interval, run.result.interval)]
    found += _beyond_tolerance(run)
    found += _beyond_limits(run)
    if run.time_is_up:
        found.append("The time limit ended the run before all its generations were through.")
    return tuple(found)


def caution(settings: EvolveSettings, data: Dataset) -> str:
    """What to know before a run whose tolerance is finer than its validation part can tell; empty if it is not.

    Args:
        settings: Of the run.
        data: Its validation part is what selection sees.
    """
    samples = len(data.validation)
    if (
        settings.objective == "accuracy"
        or data.task in ("regression", "unlabelled")
        or settings.allowed_loss * samples >= 1
    ):
        return ""
    return (
        f"the validation part has {fmt.plural(samples, 'sample')}, one of which is worth {fmt.percent(1 / samples)} of accuracy, "
        f"more than the tolerance of {fmt.percent(settings.allowed_loss)}: give more samples (--validation) or a larger --tolerance"
    )


def compared(difference: Difference, who: str, other: str, metric: str) -> tuple[str, ...]:
    """Whether one network is better than another one on the same test samples, and by how much, in sentences.

    Args:
        difference: Of the one to the other.
        who: Is compared.
        other: With whom.
        metric: What the difference is of.
    """
    d = difference
    if not d.won and not d.lost:
        alike = "right and wrong on the same" if metric == "accuracy" else "equally good on each of the"
        return (f"{_capital(who)} and {other} are {alike} {fmt.plural(d.samples, 'test sample')}.",)
    if d.decided:
        found = f"{_capital(who)} is {'better' if d.mean > 0 else 'worse'} than {other}"
    else:
        found = f"The test samples do not tell whether {who} or {other} is better"
    won, lost = fmt.count(d.won), fmt.count(d.lost)
    if metric == "accuracy":
        counts = f"it alone gets {won} right, the other alone {lost}"
    else:
        counts = f"it does better on {won}, the other on {lost}"
    chance = f"p{fmt.SPACE}{_probability(d.p)}" + (
        " by McNemar's exact test" if metric == "accuracy" else " by Student's test in pairs"
    )
    low, high = d.interval
    size = (
        f"The difference is {fmt.points(d.mean)} points of {metric}, with 95{fmt.SPACE}% confidence between {fmt.points(low)} and "
        f"{fmt.points(high)}."
    )
    return (f"{found}: of {fmt.plural(d.samples, 'test sample')} {counts} ({chance}).", size)


def _capital(text: str) -> str:
    return text.replace("the ", "The ", 1) if text.startswith("the ") else text  # a file's name stays what it is


def _probability(p: float) -> str:
    return f"<{fmt.SPACE}0.0001" if p < 1e-4 else f"={fmt.SPACE}{p:.2g}"


def _apart(before: tuple[float, float], after: tuple[float, float]) -> str:
    """What intervals of their own tell, where nobody wrote down what the networks did on each sample."""
    intervals = "The 95 % confidence intervals of the result and of the start trained alone"
    if after[0] > before[1]:
        return f"{intervals} do not overlap: the result is better."
    if after[1] < before[0]:
        return f"{intervals} do not overlap: the result is worse."
    return f"{intervals} overlap: by themselves they do not tell which is better."


def _beyond_limits(run: RunRecord) -> list[str]:
    """Limits are goals: what could not be cut down to them is said."""
    assert run.result is not None
    figures, settings = run.result.figures, run.settings
    limits = (
        ("parameters", figures.parameters, settings.max_params),
        ("multiply-accumulate operations", figures.macs, settings.max_macs),
        ("ms of latency", figures.latency_ms, settings.max_latency),
    )
    return [
        f"The result has {value:,.4g} {what}, more than the {limit:,.4g} allowed: no network of the run kept to that."
        if isinstance(value, float)
        else f"The result has {fmt.count(value)} {what}, more than the {limit:,} allowed: no network of the run kept to that."
        for what, value, limit in limits
        if limit is not None and value > limit
    ]


def _beyond_tolerance(run: RunRecord) -> list[str]:
    """The tolerance holds on the validation part, by which networks are selected. On other samples it may turn out otherwise."""
    assert run.result is not None
    if run.settings.objective == "accuracy":
        return []
    networks = [run.result, *(member.tested for member in run.front[1:])]
    best = max(t.figures.test_accuracy for t in (run.start, run.alone, *networks) if t is not None)
    losses = [best - network.figures.test_accuracy for network in networks]
    missed = [loss for loss in losses if loss > run.settings.allowed_loss]
    if not missed:
        return []
    who = "the result" if len(networks) == 1 else f"{len(missed)} of {len(networks)} networks of the front"
    sentence = (
        f"On the test part {who} fell short of the best by up to {fmt.percent(max(missed))} of {run.metric}, more than the tolerance of "
        f"{fmt.percent(run.settings.allowed_loss)}, which selection kept to on the validation part."
    )
    return [sentence]


def speed(comparison: Comparison, names: tuple[str, str]) -> tuple[str, ...]:
    """Which of two models is faster, as far as their times tell, with the spread of either, in sentences."""
    (a, b), ratio = names, comparison.speed
    times = f"{fmt.significant(ratio.low)} to {fmt.significant(ratio.high)} times as long as {a}"
    said = {
        "alike": f"{a} and {b} take equally long, within 3{fmt.SPACE}%: {b} takes {times}.",
        "open": f"The times do not tell whether {a} or {b} is faster: {b} takes {times}.",
    }.get(ratio.verdict, f"{_capital(b)} is {ratio.verdict} than {a}: it takes {times}.")
    low, high = (
        f"{fmt.significant(t.low)} to {fmt.milliseconds(t.high)}"
        for t in (comparison.a.latency_ms, comparison.b.latency_ms)
    )
    found = [said, f"Eight rounds in ten took {low} with {a} and {high} with {b}."]
    if comparison.load > BUSY:
        found.append(
            f"The machine was busy: passes took {fmt.significant(comparison.load)} times as long as the processor worked on them. On a quiet one, "
            "times are shorter and tell more."
        )
    return tuple(found)
