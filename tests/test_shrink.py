"""Shrink: goals are reached as they are measured, without labels and without training; nothing slower comes out where time is the goal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysurgeon as ps
from pysurgeon.api import shrinking
from pysurgeon.data import Dataset
from pysurgeon.diagnosis.cut import output_loss, uniform
from pysurgeon.errors import OutputExistsError, Refused, UsageError
from pysurgeon.evolution import EvolveSettings
from pysurgeon.evolution.shrink import cut_to, expected_fall, recovered
from pysurgeon.evolution.target import Speed, Target, by_command
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.model.timing import Ratio, Timing
from pysurgeon.surgery import Calibration, Widen
from pysurgeon.training import evaluate
from pysurgeon.widths.structure import Structure
from tests.starts import cnn, digits, mlp, model

Time = Callable[[Model], float]


def roomy(hidden: tuple[int, ...] = (12, 8)) -> Model:
    """A network of which half of the units of every width do nothing: what it computes fits into half the widths."""
    network = model(mlp(hidden))
    for name in ("fc2", "fc1"):  # in this order: what is new in the second one would read what is new in the first one
        network = ps.apply(network, Widen(name, 2 * Structure(network).width(name).size)).model
    return network


def watch(time: Time, doubt: float = 0.01) -> Callable[[Model, Model, float], Speed]:
    """A stopwatch for machines that nobody has."""

    def measured(before: Model, after: Model, _: float) -> Speed:
        a, b = time(before), time(after)
        low, high = b / a * (1 - doubt), b / a * (1 + doubt)
        verdict = "faster" if high < 1 else "slower" if low > 1 else "open"
        return Speed(Timing(a, a, a), Timing(b, b, b), Ratio(b / a, low, high, verdict), 1.0)  # type: ignore[arg-type]

    return measured


def timed_by(monkeypatch: pytest.MonkeyPatch, time: Time, doubt: float = 0.01) -> None:
    monkeypatch.setattr(shrinking, "in_turns", lambda _: watch(time, doubt))


@pytest.fixture(autouse=True)
def _by_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a test says otherwise, a model takes as long as it has operations."""
    timed_by(monkeypatch, lambda m: 1e-6 * costs(m).macs)


def sizes(network: Model) -> dict[str, int]:
    return {w.name: w.size for w in Structure(network).widths if w.resizable}


# --- goals ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["macs=0.5x", "params=0.4x", "params=900", "macs=1.2e3"])
@pytest.mark.parametrize("start", [mlp((24, 16)), cnn(8)], ids=["mlp", "cnn"])
def test_a_goal_is_reached_and_hardly_more_is_cut(to: str, start: Any) -> None:
    network = model(start)
    if to == "macs=1.2e3" and costs(network).macs > 10_000:
        pytest.skip("no size of this network has so few operations")
    found = ps.shrink(network, digits(), to)
    target = Target.parse(to)
    allowed = target.most(target.measure(costs(network)))
    reached = target.measure(costs(found.model))
    assert 0.7 * allowed <= reached <= allowed
    assert found.missed == ""
    assert found.after.parameters == costs(found.model).parameters
    assert found.after.macs == costs(found.model).macs
    assert found.before.macs == costs(network).macs
    assert not found.trained
    # What the table says is what the files are.
    before, after = sizes(network), sizes(found.model)
    assert {c.width: (c.before, c.after) for c in found.cuts} == {
        n: (before[n], after[n]) for n in before if before[n] != after[n]
    }
    assert sum(c.share for c in found.cuts) == pytest.approx(1.0)
    # And the operations, done again by hand, end in the same sizes.
    again = ps.apply(network, *(r.operation for r in found.operations), data=digits()).model
    assert sizes(again) == after


@pytest.mark.parametrize("text", ["", "macs", "macs=2x", "macs=1x", "macs=0", "macs=-1", "speed=2x", "macs=half"])
def test_a_goal_that_makes_no_sense_is_a_matter_of_usage(text: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be read; write macs, params or latency"):
        Target.parse(text)


def test_no_goal_is_a_matter_of_usage() -> None:
    with pytest.raises(UsageError, match="there is no goal"):
        ps.shrink(roomy(), digits())


def test_what_is_small_already_is_refused() -> None:
    with pytest.raises(Refused, match=r"parameters already, no more than the 1e\+06"):
        ps.shrink(roomy(), digits(), "params=1e6")


def test_what_no_width_can_reach_is_refused() -> None:
    with pytest.raises(Refused, match="more than is allowed"):
        ps.shrink(roomy(), digits(), "params=10")


def test_units_that_do_nothing_go_first_and_for_nothing() -> None:
    small = model(mlp((12, 8)))
    found = ps.shrink(roomy(), digits(), f"params={costs(small).parameters}")
    assert sizes(found.model) == sizes(small)
    assert found.predicted_error < 1e-3
    assert found.measured_error < 1e-3


def test_what_is_kept_stays() -> None:
    network = model(mlp((24, 16, 12)))
    found = ps.shrink(network, digits(), "macs=0.8x", keep=("fc3",))
    assert [c.width for c in found.cuts] == ["fc1"], "the layer itself, and so the widths that it reads and writes"
    assert np.array_equal(network.tensor("fc3.weight"), found.model.tensor("fc3.weight"))


def test_widths_have_whole_multiples_where_that_is_asked_for() -> None:
    found = ps.shrink(model(mlp((24, 16))), digits(), "macs=0.6x", multiple_of=4)
    assert found.cuts
    assert all(c.after % 4 == 0 for c in found.cuts)


def test_predicted_and_measured_errors_are_of_one_size_and_better_than_a_uniform_cut() -> None:
    x = digits().normalized(digits().train.x[:400])
    network = model(cnn(8))
    calibration = Calibration(network, {"x": x[:300]}, holdout={"x": x[300:]})
    most = 0.5 * costs(network).macs
    ours, control = (
        cut_to(network, calibration, lambda c: float(c.macs), most, **o) for o in ({}, {"plan": uniform, "stages": 1})
    )
    measured = output_loss(network, ours.model, calibration)
    assert measured / 2 <= ours.error <= 2 * measured
    assert measured <= output_loss(network, control.model, calibration)


# --- labels ---------------------------------------------------------------------------------------------------------------------


def unlabelled() -> dict[str, np.ndarray]:
    return {"x_train": digits().normalized(digits().train.x[:400])}


def test_no_labels_are_needed() -> None:
    network = model(cnn(8))
    found = ps.shrink(network, unlabelled(), "macs=0.5x", validation=0.2)
    assert found.comparison.metric != "accuracy"
    assert found.before.accuracy == pytest.approx(1.0)
    # What is left of the original's outputs is one less what was lost of them.
    assert found.after.accuracy == pytest.approx(1 - found.measured_error**2, abs=0.1)
    assert found.predicted_loss == pytest.approx(found.predicted_error**2)


def test_without_labels_nobody_knows_what_a_cut_costs() -> None:
    with pytest.raises(Refused, match="there are no labels"):
        ps.shrink(model(cnn(8)), unlabelled(), within=0.01)


def taught(network: Model) -> Dataset:
    """The digits with the answers of a network as labels, so that it is always right."""
    found = digits()
    parts = {}
    for name in ("train", "validation", "test"):
        part = getattr(found, name)
        x = found.normalized(part.x)
        from pysurgeon.model.session import Session

        answer = Session(network).run({"x": x})["y"].argmax(1).astype(np.int64)
        parts[name] = replace(part, y=answer)
    return replace(found, **parts)


@pytest.mark.parametrize("allowed", [0.0, 0.1])
def test_within_is_the_largest_cut_that_costs_no_more(allowed: float) -> None:
    network = roomy()
    data = taught(network)
    found = ps.shrink(network, data, within=allowed)
    fall = 1.0 - evaluate(found.model, data, "validation").accuracy
    assert fall <= allowed + 1e-9
    half = costs(model(mlp((12, 8)))).macs
    assert costs(found.model).macs <= 1.1 * half, "what does nothing can always go"
    if allowed:
        assert costs(found.model).macs < half


def test_within_goes_no_further_than_the_goal_and_says_where_it_stopped() -> None:
    network = roomy()
    data = taught(network)
    loose = ps.shrink(network, data, "macs=0.3x", within=0.9)
    assert 0.2 * loose.before.macs <= loose.after.macs <= 0.3 * loose.before.macs
    near = ps.shrink(network, data, "macs=0.8x", within=0.0)
    assert near.after.macs <= 0.8 * near.before.macs
    assert near.missed == ""
    far = ps.shrink(network, data, "macs=0.1x", within=0.0)
    assert far.after.macs > 0.1 * far.before.macs
    assert "macs=0.1x is not reached" in far.missed
    assert far.missed in str(far)


def test_a_fall_is_expected_where_outputs_are_disturbed() -> None:
    network = roomy()
    data = taught(network)
    assert expected_fall(network, data, 0.0) == 0.0
    little, much = (expected_fall(network, data, error) for error in (0.05, 0.5))
    assert 0 < little < much < 1


# --- training afterwards --------------------------------------------------------------------------------------------------------


def test_training_afterwards_brings_outputs_back() -> None:
    network = model(cnn(8))
    cut, trained = (ps.shrink(network, unlabelled(), "macs=0.4x", epochs=e, validation=0.2) for e in (None, 4))
    assert trained.trained
    assert sizes(trained.model) == sizes(cut.model)
    assert trained.after.accuracy > cut.after.accuracy  # type: ignore[operator]


def test_the_better_of_before_and_after_training_is_kept() -> None:
    network = roomy()
    settings = EvolveSettings("digits", epochs=1, lr=10.0, limit=200)
    found, trained = recovered(network, taught(network), settings)
    assert not trained
    assert found is network


# --- time -----------------------------------------------------------------------------------------------------------------------


def blocks(network: Model) -> float:
    """Milliseconds on a machine that computes eight units in the time of one."""
    return sum(8 * np.ceil(s / 8) for s in sizes(network).values())


def test_a_latency_is_reached_as_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    timed_by(monkeypatch, blocks)
    network = model(mlp((48, 40)))
    found = ps.shrink(network, digits(), "latency=0.5x")
    assert blocks(found.model) <= 0.5 * blocks(network)
    assert found.after.latency_ms.median == blocks(found.model)
    assert all(c.after % 8 == 0 for c in found.cuts)
    assert found.missed == ""


@pytest.mark.parametrize(
    ("time", "doubt"),
    [(lambda _: 1.0, 0.01), (lambda m: 1e6 / costs(m).macs, 0.01), (lambda m: costs(m).macs, 30.0)],
    ids=["as fast", "slower", "in doubt"],
)
def test_nothing_comes_out_that_is_not_faster_beyond_doubt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, time: Time, doubt: float
) -> None:
    timed_by(monkeypatch, time, doubt)
    with pytest.raises(Refused, match="no plan is faster than the model beyond doubt"):
        ps.shrink(model(mlp((24, 16))), digits(), "latency=0.9x", output=tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_a_latency_that_no_shape_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    timed_by(monkeypatch, lambda m: 1.0 + 1e-4 * costs(m).macs)
    with pytest.raises(Refused, match="no plan is fast enough"):
        ps.shrink(model(mlp((24, 16))), digits(), "latency=0.1x")


def script(tmp_path: Path, body: str) -> str:
    path = tmp_path / "bench.py"
    path.write_text(f"import os, sys\nsize = os.path.getsize(sys.argv[1])\n{body}\n")
    return f"{sys.executable} {path} {{model}}"


def test_a_command_of_the_users_own_decides(tmp_path: Path) -> None:
    network = model(mlp((24, 16)))
    found = ps.shrink(network, digits(), "latency=0.6x", measure=script(tmp_path, "print('took', size / 1000, 'ms')"))
    assert found.after.latency_ms.median <= 0.6 * found.before.latency_ms.median
    assert found.comparison.speed.verdict == "faster"


def test_a_command_that_cannot_tell_is_no_measurement(tmp_path: Path) -> None:
    network = model(mlp((6,)))
    with pytest.raises(UsageError, match=r"does not say where the file goes"):
        by_command("bench")
    with pytest.raises(UsageError, match="cannot be run"):
        by_command("/nowhere/bench {model}")(network, network, 1.0)
    for body, words in (("print('no idea')", "no number"), ("sys.exit('no device')", "no device"), ("print(0)", "0")):
        with pytest.raises(Refused, match=words):
            by_command(script(tmp_path, body))(network, network, 1.0)


# --- files ----------------------------------------------------------------------------------------------------------------------


def test_the_file_is_what_was_returned_and_nothing_is_overwritten(tmp_path: Path) -> None:
    network, path = model(mlp((24, 16))), tmp_path / "small.onnx"
    found = ps.shrink(network, digits(), "macs=0.5x", output=path)
    assert found.output == path
    assert sizes(ps.load(path)) == sizes(found.model)
    with pytest.raises(OutputExistsError):
        ps.shrink(network, digits(), "macs=0.4x", output=path)
