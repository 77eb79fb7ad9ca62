"""What a run has shown and what it has not, in sentences: the page and the terminal say the same."""

from __future__ import annotations

from pysurgeon.data import Dataset
from pysurgeon.evolution import EvolveSettings
from pysurgeon.report import _format as fmt
from pysurgeon.report.record import RunRecord


def verdict(run: RunRecord) -> tuple[str, ...]:
    """What a finished run has shown: whether it is better than the start trained alone, and whether it kept to the tolerance."""
    assert run.result is not None
    if run.alone is None:
        # Without the control there is no claim.
        found = ["The start alone did not train to the end, so there is nothing to compare with."]
    else:
        found = [_certainty(run.alone.interval, run.result.interval)]
    found += _beyond_tolerance(run)
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
    if settings.objective == "accuracy" or data.task == "regression" or settings.allowed_loss * samples >= 1:
        return ""
    return (
        f"the validation part has {fmt.plural(samples, 'sample')}, one of which is worth {fmt.percent(1 / samples)} of accuracy, "
        f"more than the tolerance of {fmt.percent(settings.allowed_loss)}: give more samples (--validation) or a larger --tolerance"
    )


def _certainty(before: tuple[float, float], after: tuple[float, float]) -> str:
    intervals = "The 95 % confidence intervals of the result and of the start trained alone"
    if after[0] > before[1]:
        return f"{intervals} do not overlap: the result is better."
    if after[1] < before[0]:
        return f"{intervals} do not overlap: the result is worse."
    return f"{intervals} overlap: the test samples alone do not tell which is better."


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
