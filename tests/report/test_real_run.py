"""The report beside a run of the Surgeon itself, so that what is written and what is read cannot part."""

from __future__ import annotations

import pytest

from pysurgeon.evolution import EvolveSettings, Journal, begin, go_on, load_data, read
from pysurgeon.model import from_proto
from pysurgeon.report import RunPlan, from_journal, render
from tests.starts import mlp

START = from_proto(mlp())
SETTINGS = EvolveSettings(data="digits", epochs=None, steps=60, generations=2, branches=1, strategy="random", workers=1)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    folder = tmp_path_factory.mktemp("real") / "run"
    journal = begin(START, SETTINGS, folder)
    go_on(journal, load_data(SETTINGS, START))
    return journal


def test_steps_and_figures_are_those_of_the_result(journal: Journal) -> None:
    run, result = from_journal(journal), read(journal)
    assert result is not None
    assert run.result is not None
    assert run.start is not None
    assert (run.start.figures, run.result.figures) == (result.start, result.result)
    assert run.trunk_effort.steps == result.steps.trunk == 60
    assert run.all_effort.steps == result.steps.all_branches
    assert run.trunk[-1][0] == run.alone_curve[-1][0] == 60
    steps = [step for step, _ in run.trunk]
    assert steps == sorted(set(steps))
    assert tuple(o.text for g in run.generations if g.winner for o in g.winner.operations) == result.genome
    assert sum(c.after.parameters for c in run.layers if c.after) == result.result.parameters


def test_the_plan_foretells_the_steps(journal: Journal) -> None:
    run = from_journal(journal)
    assert all(b.fate in ("won", "lost") for g in run.generations for b in g.branches)
    planned = RunPlan.of(SETTINGS, load_data(SETTINGS, START)).steps
    assert planned == run.all_effort.steps + run.alone_effort.steps


def test_its_page_is_written(journal: Journal) -> None:
    assert "on digits" in render(from_journal(journal))
