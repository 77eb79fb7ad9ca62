"""Strategies: races on made-up accuracies, the paper's list and score, and whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starts import cnn, digits, mlp, model

from pysurgeon.evolution import (
    EvolveResult,
    EvolveSettings,
    Journal,
    SerialExecutor,
    Setup,
    Silent,
    Surgeon,
    calibrated,
    read,
)
from pysurgeon.evolution import begin as begin_run
from pysurgeon.evolution.branch import Branch
from pysurgeon.evolution.fitness import Fitness
from pysurgeon.evolution.keep import Kept
from pysurgeon.evolution.pareto import dominates
from pysurgeon.evolution.race import Arena, Growing, Halving, Race
from pysurgeon.evolution.strategies.proposals import Context, by_chance
from pysurgeon.evolution.strategies.schiessler2021 import Trial, by_paper, score
from pysurgeon.evolution.strategy import FRONT
from pysurgeon.model import Model, load
from pysurgeon.model.costs import costs
from pysurgeon.surgery import Narrow, Widen, operate, parse
from pysurgeon.surgery.layers.weight_matrices import weight_matrix
from pysurgeon.training import LocalTrainer, State, evaluate
from pysurgeon.widths.structure import Structure

START = model(mlp((6,)))
SMALLER, LARGER = model(mlp((3,))), model(mlp((12,)))


def branch(name: str, accuracy: float = 0.0, *, parent: str | None = None, network: Model = START) -> Branch:
    return Branch(name, parent, "recommended", (), network, State(), accuracy, 1.0)


class Track:
    """A race course on which it is settled beforehand how good a branch will be at a step."""

    def __init__(self, accuracy: Callable[[str, int], float | None], begin: int, end: int, reference: float) -> None:
        self.steps = 0
        self.at: dict[str, int] = {}
        self._accuracy, self._begin = accuracy, begin
        fitness = Fitness(EvolveSettings("digits", price=0.0), costs(START))
        self.arena = Arena(begin, end, reference, fitness, self._train, lambda *_: None)

    def _train(self, jobs: Sequence[tuple[Branch, int]]) -> list[Branch]:
        found = []
        for b, until in jobs:
            self.steps += until - self.at.get(b.id, self._begin)
            self.at[b.id] = until
            accuracy = self._accuracy(b.id, until)
            if accuracy is not None:
                found.append(replace(b, accuracy=accuracy))
        return found


@given(st.integers(0, 50), st.integers(1, 200), st.integers(1, 8), st.integers(1, 4), st.integers(0, 99))
def test_halving_takes_the_steps_that_it_announces(begin: int, span: int, count: int, carried: int, seed: int) -> None:
    quality = np.random.default_rng(seed).permutation(count) / count
    track = Track(lambda name, _: float(quality[int(name)]), begin, begin + span, 0.0)
    branches = [branch(str(k)) for k in range(count)]
    race = Halving(carried)
    found = race.run(branches[:1], branches[1:], track.arena)
    assert track.steps == race.steps(begin, begin + span, count)
    # Who is better all along comes through.
    assert [b.id for b in found] == [str(k) for k in np.argsort(-quality)[:carried]]
    assert all(track.at[b.id] == begin + span for b in found)


@pytest.mark.parametrize("race", [Halving(), Halving(3), Growing(), Trial()], ids=str)
def test_a_race_of_which_nobody_comes_through_has_no_survivors(race: Race) -> None:
    track = Track(lambda *_: None, 0, 100, 0.0)
    assert race.run([branch("p")], [branch("a", parent="p")], track.arena) == []


# --- the paper's ----------------------------------------------------------------------------------------------------------


def test_the_score_is_that_of_the_published_code() -> None:
    before, after = branch("p", 0.5), branch("a", 0.6, network=LARGER)
    ratio = LARGER.parameter_count() / START.parameter_count()
    assert score(after, before) == pytest.approx(0.6 + math.exp(0.1) * math.exp(-ratio))
    assert score(before, before) == pytest.approx(0.5 + math.exp(-1))


def test_what_was_taken_away_is_tried_for_longer() -> None:
    quality = {"p": 0.9, "shrunk": 0.0}
    track = Track(lambda name, _: quality.get(name, 0.1), 0, 100, 0.5)
    grown, shrunk = branch("grown", parent="p", network=LARGER), branch("shrunk", parent="p", network=SMALLER)
    others = [branch(str(k), parent="p") for k in range(3)]
    Trial().run([branch("p", 0.9)], [grown, shrunk, *others], track.arena)
    # The parent and one of those of its own size are the best two and go to the end; the rest had their trial only.
    assert track.at == {"p": 100, "0": 100, "grown": 1, "1": 1, "2": 1, "shrunk": 10}


def test_the_next_ones_get_a_chance_and_the_parent_is_not_lost() -> None:
    quality = {"p": 0.5, **{str(k): 0.4 + k / 1000 for k in range(12)}}
    # All promise more than the parent and keep nothing of it.
    track = Track(lambda name, step: quality[name] + (0.2 if step < 100 and name != "p" else 0), 0, 100, 0.5)
    found = Trial().run([branch("p")], [branch(str(k), parent="p") for k in range(12)], track.arena)
    assert found[0].id == "p"
    assert len(found) == 2
    ended = [name for name, step in track.at.items() if step == 100]
    assert len(ended) == 2 * 4 + 1  # two, three times two more, and the parent
    good = Track(lambda name, _: quality[name] + (0.2 if name == "11" else 0), 0, 100, 0.5)
    found = Trial().run([branch("p")], [branch(str(k), parent="p") for k in range(12)], good.arena)
    assert found[0].id == "11"
    assert sum(step == 100 for step in good.at.values()) == 2


@pytest.mark.parametrize("start", [mlp((6,)), mlp((30, 12)), cnn(4)])
def test_the_paper_lists_the_best_of_each_kind(start: Any) -> None:
    network = model(start)
    data = digits()
    calibration = calibrated(network, data)
    settings = EvolveSettings("digits", strategy="paper")
    context = Context(settings, network, data, calibration, Fitness(settings, costs(network)), Kept())
    parents = [
        branch("start", network=network),
        branch("other", network=operate(network, parse(_narrow(network))).model),
    ]
    found = by_paper(parents, 0, [], context)
    assert found == by_paper(parents, 0, [], context)
    assert found != by_paper(parents, 1, [], context)
    assert [c.origin for c in found].count("random") == 1
    operations = {p.id: p.model for p in parents}
    few = many = 0
    for candidate in found:
        (operation,) = candidate.parsed()
        done = operate(operations[candidate.parent], operation, calibration)
        n = Structure(operations[candidate.parent]).width(operation.site).size if isinstance(operation, Widen) else 0
        if isinstance(operation, Widen) and candidate.origin != "random":
            few += operation.size == n + max(2, n // 10)
            many += operation.size == n + 10 * max(2, n // 10)
        if isinstance(operation, Narrow):
            assert operation.size == _kept(operations[candidate.parent], operation.width)
        assert done.record.exact or done.record.after.parameters < done.record.before.parameters
    assert (few, many) == (1, 1)


@pytest.mark.parametrize("generation", range(3))
def test_no_branch_does_what_another_one_does(generation: int) -> None:
    data = digits()
    settings = EvolveSettings("digits", branches=12)
    context = Context(settings, START, data, calibrated(START, data), Fitness(settings, costs(START)), Kept())
    found = [c.operations for c in by_chance([branch("start")], generation, [], context)]
    assert len(found) > 8
    assert len(set(found)) == len(found)


def _narrow(network: Model) -> str:
    width = next(w for w in Structure(network).widths if w.resizable)
    return f"narrow:{width.name}={width.size - 1}"


def _kept(network: Model, name: str) -> int:
    structure = Structure(network)
    values = np.linalg.svd(weight_matrix(structure, structure.layer(name)), compute_uv=False)
    n = structure.width(name).size
    return n - min(n - 1, int(np.sum((values < 0.3) | (values < 0.005 * values[0]))))


# --- whole runs -----------------------------------------------------------------------------------------------------------

PAPER = EvolveSettings(
    "digits", limit=400, epochs=None, steps=60, generations=2, batch_size=32, workers=1, strategy="paper"
)
FRONTIER = replace(PAPER, strategy="surgeon", objective="pareto", steps=120, lr=0.01)


def evolved(folder: Path, settings: EvolveSettings, *, until: int | None = None) -> EvolveResult | None:
    """A run in this process, ended before its n-th stretch of training if that is said."""
    journal = Journal.open(folder) if folder.exists() else begin_run(model(cnn(4)), settings, folder)
    setup = Setup(settings, digits(), Ending(until), SerialExecutor(), Silent())
    Surgeon(setup, journal).run()
    return read(Journal.open(folder))


class Ending(LocalTrainer):
    """An engine that is interrupted."""

    def __init__(self, until: int | None) -> None:
        super().__init__()
        self._left = until

    def train(self, *args: Any, **options: Any) -> Any:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left = None if self._left is None else self._left - 1
        return super().train(*args, **options)


def test_a_run_by_the_paper_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    whole = evolved(tmp_path / "whole", PAPER)
    assert whole is not None
    selected = [e for e in Journal.open(tmp_path / "whole").events if e["event"] == "selected"]
    assert [e["until"] for e in selected] == [40, 60]
    assert all(1 <= len(e["survivors"]) <= 2 for e in selected)
    assert any(len(e["survivors"]) == 2 for e in selected)
    with pytest.raises(KeyboardInterrupt):
        evolved(tmp_path / "parts", PAPER, until=8)
    with pytest.raises(KeyboardInterrupt):
        evolved(tmp_path / "parts", PAPER, until=6)
    parts = evolved(tmp_path / "parts", PAPER)
    assert parts is not None
    assert parts.output.read_bytes() == whole.output.read_bytes()
    assert (parts.genome, parts.steps) == (whole.genome, whole.steps)


@pytest.fixture(scope="module")
def frontier(tmp_path_factory: pytest.TempPathFactory) -> EvolveResult:
    """A run that others only look at."""
    result = evolved(tmp_path_factory.mktemp("frontier") / "run", FRONTIER)
    assert result is not None
    return result


def test_a_front_is_one(frontier: EvolveResult) -> None:
    result = frontier
    assert 1 < len(result.front) <= FRONT
    assert result.front[0].figures.parameters == result.result.parameters
    assert result.front[0].genome == result.genome
    assert (result.run / "result.onnx").read_bytes() == result.front[0].output.read_bytes()
    data, points = digits(), []
    trained = {e["key"]: e for e in Journal.open(result.run).events if e["event"] == "trained"}
    for member in result.front:
        network = load(member.output)
        assert costs(network).parameters == member.figures.parameters
        assert evaluate(network, data, "test").accuracy == member.figures.test_accuracy
        last = trained[f"{member.output.stem}@120"]
        assert evaluate(network, data, "validation").accuracy == pytest.approx(last["accuracy"], abs=1e-12)
        points.append((-(last["accuracy"] + math.exp(-last["loss"])), last["parameters"], last["latency"]))
    assert not any(dominates(a, b) for a in points for b in points)
    assert [p[0] for p in points] == sorted(p[0] for p in points)


def test_a_front_shows_in_every_report(frontier: EvolveResult) -> None:
    from rich.console import Console

    from pysurgeon.report import evolve_json, from_journal, render, result_table

    result = frontier
    record = from_journal(Journal.open(result.run))
    page = render(record)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(result_table(result))
    for member, row, document in zip(result.front, record.front, evolve_json(result)["front"], strict=True):
        name = f"front/{member.output.name}"
        assert row.file == name in page
        assert document["figures"]["parameters"] == member.figures.parameters
        assert name in capture.get() or member is result.front[0]
    # The way that led to the result, whoever won meanwhile.
    operations = [o.text for g in record.generations if g.taken is not None for o in g.taken.operations]
    assert set(result.genome) <= set(operations)
    assert record.trunk_effort.steps == 120
