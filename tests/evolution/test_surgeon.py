"""Whole runs on the digits with the real training engine, in this process: quick, and the oracle of the workers."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from starts import cnn, digits, mlp, model

from pysurgeon.data import Dataset
from pysurgeon.errors import Refused, RunError, TrainingError, UsageError
from pysurgeon.evolution import (
    EvolveResult,
    EvolveSettings,
    Executor,
    Journal,
    SerialExecutor,
    Setup,
    Silent,
    Surgeon,
    ThreadExecutor,
    begin,
    calibrated,
    check,
    go_on,
    read,
)
from pysurgeon.evolution.strategy import Strategy
from pysurgeon.model import Model, load
from pysurgeon.model.costs import costs
from pysurgeon.settings import Objective
from pysurgeon.surgery import operate, parse
from pysurgeon.training import LocalTrainer, Outcome, State, Trainer, TrainResult, evaluate

QUICK = EvolveSettings("digits", limit=400, epochs=None, steps=40, generations=2, branches=2, batch_size=32, workers=1)
ROUNDS = Strategy.of(QUICK, 40).rounds


def settings(**changes: Any) -> EvolveSettings:
    return replace(QUICK, **changes)


def evolved(
    folder: Path,
    start: Model,
    how: EvolveSettings = QUICK,
    *,
    trainer: Trainer | None = None,
    executor: Executor | None = None,
    data: Dataset | None = None,
) -> EvolveResult:
    """A run in this process; `folder` may hold one to go on with."""
    journal = Journal.open(folder) if folder.exists() else begin(start, how, folder)
    setup = Setup(how, data or digits(), trainer or LocalTrainer(), executor or SerialExecutor(), Silent())
    Surgeon(setup, journal).run()
    found = read(journal)
    assert found is not None
    return found


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files of a run."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def lineage(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "lineage.jsonl").read_text().splitlines()]


def timeless(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events without what a clock has put into them."""
    text = json.dumps(events)
    found: list[dict[str, Any]] = json.loads(text)
    for event in found:
        for clock in ("seconds", "speeds", "load"):
            event.pop(clock, None)
        for name in ("start", "alone", "result"):
            if isinstance(event.get(name), dict):
                event[name].pop("latency_ms")
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that others only look at."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    evolved(folder, model(mlp((6,))))
    return folder


# --- what a run leaves --------------------------------------------------------------------------------------------------


def test_the_result_is_valid_and_as_good_as_recorded(finished: Path) -> None:
    result = read(Journal.open(finished))
    assert result is not None
    onnx.checker.check_model(str(result.output), full_check=True)
    for figures, file in ((result.result, "result.onnx"), (result.start, "start.onnx")):
        network = load(finished / file)
        assert costs(network).parameters == figures.parameters
        assert costs(network).macs == figures.macs
        assert accuracy(network) == pytest.approx(figures.test_accuracy, abs=1e-12)
    assert result.alone is not None
    assert accuracy(load(finished / f"branches/alone@{QUICK.steps}.onnx")) == result.alone.test_accuracy


def accuracy(network: Model) -> float:
    """By other means than the package's own."""
    import onnxruntime as ort

    data = digits()
    x = data.normalized(data.test.x)
    logits = ort.InferenceSession(network.to_bytes(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    return float((logits.argmax(axis=1) == data.test.y).mean())


def test_the_genome_replays(finished: Path) -> None:
    for event in lineage(finished):
        if event["event"] == "trained":
            network = load(finished / "start.onnx")
            calibration = calibrated(network, digits())
            for text in event["genome"]:
                network = operate(network, parse(text), calibration).model
            assert costs(network).parameters == event["parameters"]
            assert costs(network).macs == event["macs"]


def test_the_lineage_tells_every_branch(finished: Path) -> None:
    events = lineage(finished)
    keys = [e["key"] for e in events]
    assert len(set(keys)) == len(keys)
    assert keys[0] == "run"
    assert keys[-1] == "tested"
    trained = [e for e in events if e["event"] == "trained"]
    steps: dict[str, int] = {}
    branched = {e["branch"]: e for e in events if e["event"] == "branched"}
    for event in trained:
        name = event["branch"]
        assert event["key"] == f"{name}@{event['until']}"
        assert event["from"] + event["steps"] == event["until"]
        assert event["from"] >= steps.get(name, 0)
        steps[name] = event["until"]
        assert [p[0] for p in event["history"]] == sorted({p[0] for p in event["history"]})
        assert event["history"][-1][0] == event["until"]
        assert event["accuracy"] == event["history"][-1][3]
        if name in branched:
            assert event["parameters"] == branched[name]["parameters"]
    selected = [e for e in events if e["event"] == "selected"]
    assert [e["generation"] for e in selected] == [0, 1]
    for event in selected:
        assert event["survivors"] == [event["winner"]]
        assert event["winner"] in event["branches"]
        assert event["until"] == ROUNDS[event["generation"]].end


def test_the_figures_are_those_of_the_lineage(finished: Path) -> None:
    result = read(Journal.open(finished))
    assert result is not None
    trained = [e for e in lineage(finished) if e["event"] == "trained"]
    assert result.steps.trunk == QUICK.steps
    of_branches = sum(e["steps"] for e in trained if e["branch"] != "alone")
    assert result.steps.all_branches == of_branches > result.steps.trunk
    for event in trained:
        looked_at = len(event["history"]) * len(digits().validation)
        assert event["compute"] == event["macs"] * (3 * event["steps"] * QUICK.batch_size + looked_at)
    spent = [e["compute"] for e in lineage(finished) if "compute" in e and e.get("branch") != "alone"]
    assert result.compute.all_branches == sum(spent) > result.compute.trunk
    assert result.compute.alone == sum(e["compute"] for e in trained if e["branch"] == "alone")
    assert sum(e["steps"] for e in trained if e["branch"] == "alone") == QUICK.steps


def test_a_run_that_has_not_ended_has_no_result(tmp_path: Path) -> None:
    assert read(begin(model(mlp((6,))), QUICK, tmp_path / "run")) is None


# --- honesty ------------------------------------------------------------------------------------------------------------


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[list[tuple[str, bool]]]:
    """Which parts are read, and whether all training had ended by then."""
    seen: list[tuple[str, bool]] = []

    def watch(name: str) -> None:
        original: Callable[..., Any] = getattr(Dataset, name)

        def wrapper(self: Dataset, part: str, *rest: Any, **options: Any) -> Any:
            done = (folder / "lineage.jsonl").read_text().count('"branch": "alone"') > 0
            seen.append((part, done))
            return original(self, part, *rest, **options)

        monkeypatch.setattr(Dataset, name, wrapper)

    for name in ("part", "evaluation_batches"):
        watch(name)
    yield seen
    monkeypatch.undo()


def test_the_test_part_is_not_read_before_all_is_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits()
    with watched(monkeypatch, tmp_path / "run") as seen:
        evolved(tmp_path / "run", model(mlp((6,))), data=data)
    assert {part for part, done in seen if not done} == {"train", "validation"}
    assert {part for part, done in seen if done} >= {"test"}


def test_selection_does_not_depend_on_the_test_part(tmp_path: Path, finished: Path) -> None:
    from pysurgeon.data import Split

    data = digits()
    shuffled = replace(data, test=Split(data.test.x[::-1].copy(), np.roll(data.test.y, 7)))
    evolved(tmp_path / "run", load(finished / "start.onnx"), data=shuffled)
    assert timeless(lineage(tmp_path / "run"))[:-1] == timeless(lineage(finished))[:-1]
    ours, theirs = load(tmp_path / "run/result.onnx"), load(finished / "result.onnx")
    about = [m.ir.metadata_props.pop("pysurgeon.run") for m in (ours, theirs)]
    assert about[0] != about[1]  # they say what the test part told
    assert ours.to_bytes() == theirs.to_bytes()


# --- the same end, whatever happens -------------------------------------------------------------------------------------


def test_the_same_settings_give_the_same_run(tmp_path: Path, finished: Path) -> None:
    evolved(tmp_path / "run", load(finished / "start.onnx"))
    assert timeless(lineage(tmp_path / "run")) == timeless(lineage(finished))
    assert contents(tmp_path / "run")["result.onnx"] == contents(finished)["result.onnx"]


def test_another_seed_gives_another_run(tmp_path: Path, finished: Path) -> None:
    evolved(tmp_path / "run", load(finished / "start.onnx"), settings(seed=1))
    assert contents(tmp_path / "run")["result.onnx"] != contents(finished)["result.onnx"]


def test_branches_trained_at_once_end_as_those_trained_in_turn(tmp_path: Path, finished: Path) -> None:
    evolved(tmp_path / "run", load(finished / "start.onnx"), executor=ThreadExecutor(3))
    assert contents(tmp_path / "run")["result.onnx"] == contents(finished)["result.onnx"]
    found, expected = ({e["key"]: e for e in timeless(lineage(f))} for f in (tmp_path / "run", finished))
    assert found == expected


class Interrupting:
    """An engine that is interrupted before its n-th stretch."""

    def __init__(self, after: int) -> None:
        self._trainer, self._left = LocalTrainer(), after

    def check(self, network: Model, data: Dataset) -> None:
        self._trainer.check(network, data)

    def slope(self, network: Model, data: Dataset, how: Any) -> float:
        return self._trainer.slope(network, data, how)

    def train(self, *args: Any, **options: Any) -> TrainResult:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return self._trainer.train(*args, **options)


def test_a_run_interrupted_anywhere_goes_on_to_the_same_end(tmp_path: Path, finished: Path) -> None:
    folder = tmp_path / "run"
    stretches = sum(e["event"] == "trained" for e in lineage(finished))
    start = load(finished / "start.onnx")
    for _ in range(stretches - 1):
        with pytest.raises(KeyboardInterrupt):
            evolved(folder, start, trainer=Interrupting(1))
    evolved(folder, start, trainer=Interrupting(1))
    assert timeless(lineage(folder)) == timeless(lineage(finished))
    assert contents(folder)["result.onnx"] == contents(finished)["result.onnx"]


def test_a_lineage_cut_anywhere_goes_on_to_the_same_end(tmp_path: Path, finished: Path) -> None:
    whole = (finished / "lineage.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    rng = np.random.default_rng(0)
    for k, kept in enumerate([1, len(lines) // 3, len(lines) // 2, len(lines) - 2, len(lines) - 1]):
        folder = tmp_path / str(k)
        shutil.copytree(finished, folder)
        half = lines[kept][: int(rng.integers(1, len(lines[kept])))]
        (folder / "lineage.jsonl").write_bytes(b"".join(lines[:kept]) + half)
        evolved(folder, load(finished / "start.onnx"))
        assert timeless(lineage(folder)) == timeless(lineage(finished))
        assert contents(folder)["result.onnx"] == contents(finished)["result.onnx"]


def test_a_finished_run_is_not_changed_by_going_on(tmp_path: Path, finished: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = contents(folder)
    evolved(folder, load(finished / "start.onnx"), trainer=Interrupting(0))
    assert contents(folder) == before


@pytest.mark.parametrize("damage", ["deleted", "truncated", "empty"])
@pytest.mark.parametrize("suffix", ["onnx", "npz"])
def test_a_lost_branch_file_is_named(tmp_path: Path, finished: Path, suffix: str, damage: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    last = [e for e in lineage(folder) if e["event"] == "trained"][-2]
    file = folder / f"branches/{last['key']}.{suffix}"
    content = file.read_bytes()
    file.unlink() if damage == "deleted" else file.write_bytes(
        b"" if damage == "empty" else content[: len(content) // 2]
    )
    with pytest.raises(RunError, match="is missing or damaged") as caught:
        evolved(folder, load(finished / "start.onnx"))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_workers_end_as_this_process_does(tmp_path: Path, finished: Path) -> None:
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        journal = begin(load(finished / "start.onnx"), settings(workers=workers), folder)
        result = go_on(journal, digits())
        assert result.output == folder / "result.onnx"
        assert contents(folder)["result.onnx"] == contents(finished)["result.onnx"]


# --- other shapes of a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"generations": 0},
        {"branches": 0},
        {"strategy": "random"},
        {"steps": 1},
        {"steps": 2, "generations": 5},
        {"steps": 3, "generations": 1},
        {"optimizer": "sgd"},
        {"time": 0.0},
        {"augment": "flip-crop"},
        {"batch_size": 10_000},
    ],
    ids=str,
)
def test_unusual_settings_come_to_an_end(tmp_path: Path, how: dict[str, Any]) -> None:
    given = settings(**{"steps": 12, **how})
    result = evolved(tmp_path / "run", model(cnn()), given)
    events = lineage(tmp_path / "run")
    assert result.steps.trunk <= (given.steps or 0)
    if "time" not in how:
        assert result.steps.trunk == given.steps
    if given.generations == 0 or "time" in how:
        assert result.genome == ()
        assert not [e for e in events if e["event"] == "branched"]
    for event in events:
        if event["event"] == "candidates":
            origins = {c["origin"] for c in event["candidates"]}
            assert origins <= (
                {"random"} if given.strategy == "random" else {"doubled", "cut", "uniform", "recommended"}
            )


def test_for_size_a_network_that_is_too_large_shrinks(tmp_path: Path) -> None:
    how = settings(objective="size", tolerance=0.05, steps=240, generations=3, branches=3)
    result = evolved(tmp_path / "run", model(mlp((48,))), how)
    assert result.result.parameters < 0.7 * result.start.parameters
    assert result.alone is not None
    assert result.result.test_accuracy >= result.alone.test_accuracy - 0.1
    for event in lineage(tmp_path / "run"):
        if event["event"] == "branched":
            parent = next(e for e in lineage(tmp_path / "run") if e.get("branch") == event["parent"])
            assert event["parameters"] <= parent["parameters"]


def test_limits_hold_for_every_branch(tmp_path: Path) -> None:
    start = model(mlp((6,)))
    limit = costs(start).parameters + 40
    evolved(tmp_path / "run", start, settings(max_params=limit, branches=3, strategy="random", seed=3))
    events = lineage(tmp_path / "run")
    assert all(e["parameters"] <= limit for e in events if e["event"] == "trained")
    refused = [e for e in events if e["event"] == "branched" and e["refused"]]
    assert any("allowed" in e["refused"] for e in refused)


@pytest.mark.parametrize(
    "limit", [{"max_params": 900}, {"max_macs": 800}, {"max_params": 900, "max_macs": 700}], ids=str
)
@pytest.mark.parametrize("objective", ["accuracy", "size", "pareto"])
@pytest.mark.parametrize("hidden", [6, 24])
def test_a_result_keeps_the_limits_also_where_the_start_does_not(
    tmp_path: Path, limit: dict[str, int], objective: Objective, hidden: int
) -> None:
    how = settings(**limit, objective=objective, steps=120, lr=0.01, generations=3)
    result = evolved(tmp_path / "run", model(mlp((hidden,))), how)
    assert result.result.parameters <= limit.get("max_params", math.inf)
    assert result.result.macs <= limit.get("max_macs", math.inf)
    for member in result.front:
        assert member.figures.parameters <= limit.get("max_params", math.inf)


def test_a_start_beyond_the_limits_is_refused_where_nothing_cuts_it() -> None:
    start = model(mlp((6,)))
    check(start, settings(max_params=100), digits())
    with pytest.raises(
        Refused,
        match=r"no cut reaches the limit: with one unit in every width .* 85 parameters are more than the 50 allowed",
    ):
        check(start, settings(max_params=50), digits())
    with pytest.raises(Refused, match="no cut reaches the limit"):
        check(start, settings(max_params=100, keep=("fc1",)), digits())
    with pytest.raises(Refused, match=r"460 parameters are more than the 100 allowed.*leave out --strategy random"):
        check(start, settings(max_params=100, strategy="random"), digits())


def test_what_is_kept_is_not_touched(tmp_path: Path) -> None:
    start = model(mlp((6, 5, 4)))
    with pytest.raises(UsageError, match=r"--keep 'conv.' fits no width and no layer of this model; there are fc1"):
        check(start, settings(keep=("fc1", "conv*")), digits())
    for strategy in ("surgeon", "random", "paper"):
        how = settings(keep=("fc2",), steps=120, lr=0.01, generations=3, strategy=strategy)
        check(start, how, digits())
        result = evolved(tmp_path / strategy, start, how)
        assert load(result.output).tensor("fc2.weight").shape == (5, 6)
        done = {o for e in lineage(tmp_path / strategy) if e["event"] == "branched" for o in _operations(e)}
        assert not {
            o
            for o in done
            if re.match(r"\w+:(fc1|fc2)\b", o) and not re.match(r"(insert|bypass|factorize|remove):fc1", o)
        }
        assert done


def _operations(event: dict[str, Any]) -> list[str]:
    return [record["operation"] for record in event["records"]]


def test_a_model_for_one_sample_at_a_time_is_looked_at_with_many(tmp_path: Path) -> None:
    result = evolved(tmp_path / "run", model(mlp((6,), batch=1)))
    assert load(result.output).inputs[0].shape[0] is None
    assert np.isfinite(evaluate(load(result.output), digits(), "test").loss)


# --- faults -------------------------------------------------------------------------------------------------------------


class Faulty:
    """The real engine, with faults in the stretches that a rule picks."""

    def __init__(self, fault: Callable[[Model, State], Outcome | Exception | None]) -> None:
        self._trainer, self._fault = LocalTrainer(), fault

    def check(self, network: Model, data: Dataset) -> None:
        self._trainer.check(network, data)

    def slope(self, network: Model, data: Dataset, how: Any) -> float:
        return self._trainer.slope(network, data, how)

    def train(self, network: Model, data: Dataset, how: Any, *, state: State, **options: Any) -> TrainResult:
        fault = self._fault(network, state)
        if isinstance(fault, Exception):
            raise fault
        if fault is not None:
            return TrainResult(fault, network, state, (), 0, 0.0, "the engine said so")
        return self._trainer.train(network, data, how, state=state, **options)


START = costs(model(mlp((6,)))).parameters


@pytest.mark.parametrize("fault", [Outcome.LOST, Outcome.DIVERGED, TrainingError("no gradient for this")], ids=str)
def test_a_run_goes_on_without_the_branches_that_fail(tmp_path: Path, fault: Outcome | Exception) -> None:
    folder = tmp_path / "run"
    trainer = Faulty(lambda network, _: fault if network.parameter_count() > START else None)
    result = evolved(folder, model(mlp((6,))), trainer=trainer)
    assert result.result.parameters <= START
    failed = [e for e in lineage(folder) if e["event"] == "trained" and e["outcome"] != "DONE"]
    assert failed
    assert {e["outcome"] for e in failed} == {fault.name if isinstance(fault, Outcome) else "LOST"}
    assert all(e["message"] for e in failed)
    finalists = {b for e in lineage(folder) if e["event"] == "selected" for b in e["survivors"]}
    assert not finalists & {e["branch"] for e in failed}
    before = contents(folder)
    evolved(folder, model(mlp((6,))), trainer=trainer)
    assert contents(folder) == before


def test_a_run_of_which_every_branch_fails_says_so(tmp_path: Path) -> None:
    warm_up = ROUNDS[0].begin
    trainer = Faulty(lambda _, state: Outcome.DIVERGED if state.step >= warm_up else None)
    with pytest.raises(TrainingError, match=r"every branch of generation 1 .* smaller --lr"):
        evolved(tmp_path / "run", model(mlp((6,))), trainer=trainer)


@pytest.mark.parametrize("step", [0, ROUNDS[-1].end])
def test_a_trunk_that_fails_says_so(tmp_path: Path, step: int) -> None:
    trainer = Faulty(lambda _, state: Outcome.DIVERGED if state.step == step else None)
    with pytest.raises(TrainingError, match=r"training the trunk failed: .*smaller learning rate.*the engine said so"):
        evolved(tmp_path / "run", model(mlp((6,))), trainer=trainer)


def test_a_stretch_whose_worker_dies_once_is_taken_again_to_the_same_end(tmp_path: Path, finished: Path) -> None:
    tried: set[tuple[int, int]] = set()

    def fault(network: Model, state: State) -> Outcome | None:
        key = network.parameter_count(), state.step
        first = key not in tried
        tried.add(key)
        return Outcome.LOST if first else None

    evolved(tmp_path / "run", model(mlp((6,))), trainer=Faulty(fault))
    assert timeless(lineage(tmp_path / "run")) == timeless(lineage(finished))


def test_a_trunk_that_is_lost_is_not_written_down_and_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"failed twice, resume the run to try again: the engine said so"):
        evolved(folder, model(mlp((6,))), trainer=Faulty(lambda *_: Outcome.LOST))
    assert [e["event"] for e in lineage(folder)] == ["run"]
    assert evolved(folder, model(mlp((6,)))).output.exists()


def test_a_start_that_fails_alone_leaves_the_result(tmp_path: Path) -> None:
    seen: list[int] = []

    def fault(network: Model, state: State) -> Outcome | None:
        seen.append(state.step)
        return Outcome.DIVERGED if state.step == 0 and seen.count(0) > 1 else None

    trainer = Faulty(fault)
    result = evolved(tmp_path / "run", model(mlp((6,))), trainer=trainer)
    assert result.alone is None
    assert 0 <= result.result.test_accuracy <= 1


def test_a_learning_rate_that_is_too_large_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="smaller learning rate"):
        evolved(tmp_path / "run", model(mlp((6,))), settings(lr=1e30, optimizer="sgd"))


class Impatient(Silent):
    """Interrupts the main thread, as a keyboard does, once two branches of a race are under way."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def training(self, branch: str, step: int, loss: float) -> None:
        if len(self._seen) < 2:
            self._seen.add(branch)
            if len(self._seen) == 2:
                os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_an_interrupt_ends_the_branches_under_way_and_loses_none(tmp_path: Path) -> None:
    # A race of this length would take an hour.
    how = settings(steps=20_000_000, generations=2, workers=2)
    warm_up = Strategy.of(settings(steps=20_000_000), 20_000_000).rounds[0].begin
    folder = tmp_path / "run"
    journal = begin(model(mlp((6,))), how, folder)
    # As if the trunk had been warmed up already.
    first = Surgeon(Setup(how, digits(), Skipping(), SerialExecutor(), Silent()), journal)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            go_on(Journal.open(folder), digits(), Impatient())
    finally:
        signal.signal(signal.SIGINT, before)
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(30)
    trained = [e for e in lineage(folder) if e["event"] == "trained"]
    assert [e["key"] for e in trained] == [f"start@{warm_up}"]


class Skipping(LocalTrainer):
    """Says that the warm-up was done, and is interrupted then."""

    def __init__(self) -> None:
        super().__init__()
        self._done = False

    def train(
        self, network: Model, data: Dataset, how: Any, *, state: State, steps: int, **options: Any
    ) -> TrainResult:
        if self._done:
            raise KeyboardInterrupt
        self._done = True
        found = super().train(network, data, how, state=state, steps=1, **options)
        history = tuple(replace(p, step=steps) for p in found.history)
        return replace(found, state=replace(found.state, step=steps), steps=steps, history=history)
