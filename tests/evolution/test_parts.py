"""The parts of the Surgeon, each alone: rounds, fitness, executors, candidates."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starts import cnn, digits, mlp, model

from pysurgeon.errors import TrainingError
from pysurgeon.evolution import EvolveSettings, Executor, SerialExecutor, ThreadExecutor, calibrated
from pysurgeon.evolution.branch import Branch
from pysurgeon.evolution.fitness import Fitness
from pysurgeon.evolution.keep import Kept
from pysurgeon.evolution.race import rungs, survivors
from pysurgeon.evolution.strategies.random_operations import random_candidate
from pysurgeon.evolution.strategy import CUTS, Strategy, even
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.surgery import operate
from pysurgeon.training import State
from pysurgeon.widths.structure import Structure

# --- rounds -------------------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 20_000),
    st.integers(0, 60),
    st.sampled_from(["surgeon", "random", "paper"]),
    st.sampled_from(["accuracy", "size", "latency", "pareto"]),
)
def test_rounds_go_forward_and_end_before_the_total(
    total: int, generations: int, strategy: str, objective: str
) -> None:
    if strategy == "paper":
        objective = "accuracy"
    how = EvolveSettings("digits", generations=generations, strategy=strategy, objective=objective)  # type: ignore[arg-type]
    found = Strategy.of(how, total)
    cutting = strategy == "surgeon" and objective in ("size", "latency")
    assert len(found.rounds) == (min(CUTS, generations) if cutting else generations)
    step = 1
    for now in found.rounds:
        # A race may be empty where there are more generations than steps, but it never goes back.
        assert step <= now.begin <= now.end <= total
        steps = rungs(now.begin, now.end)
        assert list(steps) == sorted(set(steps))
        assert steps[-1] == now.end
        step = now.end
    if strategy == "surgeon" and generations:
        assert found.rounds[-1].within, "nothing is grown that is not cut to its limits"


@given(st.integers(200, 20_000), st.integers(1, 10), st.floats(0.01, 0.4), st.floats(0.6, 1.0))
def test_races_of_a_run_of_some_length_share_its_middle(total: int, count: int, first: float, last: float) -> None:
    spans = even(total, count, first, last)
    lengths = np.diff([spans[0][0], *(end for _, end in spans)])
    assert [b for b, _ in spans[1:]] == [e for _, e in spans[:-1]]
    assert lengths.min() >= 1
    assert lengths.max() - lengths.min() <= 1


@given(st.integers(1, 100))
def test_survivors_become_fewer_but_never_none(count: int) -> None:
    left = survivors(count)
    assert 1 <= left <= count
    assert left < count or count <= 2
    assert left >= count / 2


# --- fitness ------------------------------------------------------------------------------------------------------------

START = model(mlp((6,)))
BEFORE = costs(START)


def branch(name: str, accuracy: float, *, network: Model = START, loss: float = 1.0, latency: float = 0.0) -> Branch:
    return Branch(name, None, "recommended", (), network, State(), accuracy, loss, latency)


def fitness(**options: object) -> Fitness:
    return Fitness(EvolveSettings("digits", **options), BEFORE)  # type: ignore[arg-type]


def best(branches: list[Branch], rule: Fitness, reference: float) -> str:
    """Who is carried on, by name; the same who is ranked first."""
    (found,) = rule.selected(branches, reference, 1)
    assert found is rule.ranked(branches, reference)[0]
    return found.id


SMALLER, LARGER = model(mlp((3,))), model(mlp((12,)))


@pytest.mark.parametrize("objective", ["accuracy", "size", "latency", "pareto"])
def test_of_equals_the_parent_stays(objective: str) -> None:
    branches = [branch("parent", 0.8), branch("a", 0.8), branch("b", 0.8)]
    for reference in (0.1, 0.8, 0.9):
        assert best(branches, fitness(objective=objective), reference) == "parent"
        assert [b.id for b in fitness(objective=objective).ranked(branches, reference)] == ["parent", "a", "b"]


def test_accuracy_wins_and_loss_decides_between_equals() -> None:
    rule = fitness(price=0.0)
    assert best([branch("parent", 0.8), branch("a", 0.9)], rule, 0.8) == "a"
    assert best([branch("parent", 0.8), branch("a", 0.8, loss=0.9)], rule, 0.8) == "a"
    assert best([branch("parent", 0.8), branch("a", 0.8, loss=1.1)], rule, 0.8) == "parent"
    branches = [branch(str(a), a) for a in (0.3, 0.9, 0.1, 0.5)]
    assert [b.id for b in rule.ranked(branches, 0.8)] == ["0.9", "0.5", "0.3", "0.1"]


def test_a_branch_has_to_buy_its_parameters() -> None:
    grown = branch("grown", 0.81, network=LARGER)
    assert best([branch("parent", 0.8), grown], fitness(price=1e-3), 0.8) == "parent"
    assert best([branch("parent", 0.8), grown], fitness(price=1e-6), 0.8) == "grown"


def test_size_takes_the_smallest_within_the_tolerance() -> None:
    rule = fitness(objective="size", tolerance=0.05)
    branches = [branch("parent", 0.80), branch("small", 0.76, network=SMALLER), branch("large", 0.9, network=LARGER)]
    assert best(branches, rule, 0.80) == "small"
    assert best(branches, rule, 0.90) == "large"  # nothing else is good enough
    assert best(branches[:2], rule, 0.90) == "parent"  # then the more accurate one


def test_latency_takes_the_fastest_within_the_tolerance() -> None:
    rule = fitness(objective="latency", tolerance=0.05)
    branches = [branch("parent", 0.8, latency=2.0), branch("fast", 0.78, latency=1.0), branch("bad", 0.5, latency=0.1)]
    assert best(branches, rule, 0.8) == "fast"


def test_of_a_front_only_its_members_are_carried_on() -> None:
    rule = fitness(objective="pareto", tolerance=0.1)
    accurate = branch("accurate", 0.85, network=LARGER, latency=1.0)
    small = branch("small", 0.80, network=SMALLER, latency=1.0)
    fast = branch("fast", 0.78, latency=0.5)
    beaten = branch("beaten", 0.79, latency=1.0)  # by the small one, in everything
    bad = branch("bad", 0.2, network=SMALLER, latency=0.1)  # smallest and fastest, but nobody wants it
    everyone = [beaten, bad, fast, small, accurate]
    assert [b.id for b in rule.selected(everyone, 0.85, 4)] == ["accurate", "small", "fast"]
    assert [b.id for b in rule.ranked(everyone, 0.85)][3:] == ["beaten", "bad"]
    assert rule.selected(everyone, 0.85, 1) == [accurate]
    # Where nobody is good enough, it is the front of those that there are.
    assert {b.id for b in rule.selected([beaten, small, fast], 0.99, 4)} == {"small", "fast"}


def test_a_loss_that_is_not_finite_loses() -> None:
    branches = [branch("parent", 0.8, loss=float("inf")), branch("a", 0.8, loss=2.0)]
    assert best(branches, fitness(), 0.8) == "a"


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        ({}, ""),
        ({"max_params": BEFORE.parameters, "max_macs": BEFORE.macs, "max_latency": 1.0}, ""),
        ({"max_params": BEFORE.parameters - 1}, "parameters"),
        ({"max_macs": BEFORE.macs - 1}, "multiply-accumulate"),
        ({"max_latency": 0.99}, "latency"),
        ({"max_params": 0}, "parameters"),
    ],
)
def test_limits_are_told_by_name(limits: dict[str, float], word: str) -> None:
    why = fitness(**limits).allowed(BEFORE, 1.0)
    assert word in why
    assert bool(why) == bool(word)


# --- executors ----------------------------------------------------------------------------------------------------------

EXECUTORS: list[Executor] = [SerialExecutor(), ThreadExecutor(1), ThreadExecutor(2), ThreadExecutor(7)]


@pytest.mark.parametrize("executor", EXECUTORS)
@given(jobs=st.lists(st.integers(-100, 100), max_size=12))
def test_results_come_in_the_order_of_the_jobs(executor: Executor, jobs: list[int]) -> None:
    assert executor.map(lambda job: job * job - job, jobs) == [job * job - job for job in jobs]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_exception_of_a_job_is_raised_once_those_under_way_have_ended(executor: Executor) -> None:
    running: set[int] = set()

    def work(job: int) -> int:
        running.add(job)
        try:
            if job == 1:
                message = "job 1"
                raise TrainingError(message)
            time.sleep(0.02)
            return job
        finally:
            running.discard(job)

    with pytest.raises(TrainingError, match="job 1"):
        executor.map(work, range(5))
    assert not running


def test_threads_work_at_the_same_time() -> None:
    barrier = threading.Barrier(3)
    assert ThreadExecutor(3).map(lambda job: barrier.wait(30) >= 0 and job, [1, 2, 3]) == [1, 2, 3]


def test_an_interrupt_does_not_wait_for_the_jobs_under_way() -> None:
    release, begun = threading.Event(), threading.Event()

    def work(job: int) -> None:
        if job == 0:
            assert begun.wait(30)
            raise KeyboardInterrupt
        begun.set()
        assert release.wait(30)

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            ThreadExecutor(2).map(work, [0, 1, 2])
        assert not release.is_set()
        assert time.monotonic() - began < 25
    finally:
        release.set()


# --- candidates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["accuracy", "size"])
@pytest.mark.parametrize("proto", [mlp((6, 5)), cnn()], ids=["mlp", "cnn"])
def test_random_candidates_are_possible_and_repeat_with_the_seed(proto: object, objective: str) -> None:
    network = model(proto)  # type: ignore[arg-type]
    structure = Structure(network)
    calibration = calibrated(network, digits())
    settings = EvolveSettings("digits", objective=objective)  # type: ignore[arg-type]
    drawn = []
    for seed in range(12):
        pair = [
            random_candidate(structure, calibration, settings, np.random.default_rng(seed), Kept()) for _ in range(2)
        ]
        assert pair[0] == pair[1]
        assert pair[0] is not None
        (operation,) = pair[0].parsed()
        after = costs(operate(network, operation, calibration).model)
        assert objective == "accuracy" or (after.parameters, after.macs) < (
            costs(network).parameters,
            costs(network).macs,
        )
        drawn.append(pair[0].operations)
    assert len(set(drawn)) > 3


def test_no_random_candidate_where_nothing_can_be_done() -> None:
    network = model(mlp(()))
    calibration = calibrated(network, digits())
    settings = replace(EvolveSettings("digits"), objective="size")
    structure = Structure(network)
    found = [random_candidate(structure, calibration, settings, np.random.default_rng(s), Kept()) for s in range(3)]
    # One dense layer can only be factorized, and that only where it saves something.
    assert all(c is None or c.operations[0].startswith("factorize:") for c in found)
