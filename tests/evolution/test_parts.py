"""The parts of the Surgeon, each alone: timeline, fitness, executors, candidates."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starts import cnn, digits, mlp, model

from pysurgeon.diagnosis import Recommendation
from pysurgeon.errors import TrainingError
from pysurgeon.evolution import EvolveSettings, Executor, SerialExecutor, ThreadExecutor, calibrated
from pysurgeon.evolution.fitness import Fitness
from pysurgeon.evolution.population import Branch, Candidate, random_candidate, recommended
from pysurgeon.evolution.race import rungs, survivors
from pysurgeon.evolution.timeline import Timeline
from pysurgeon.graph import Model
from pysurgeon.graph.costs import costs
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import Factorize, Narrow, Operation, RemoveLayer, Widen, operate
from pysurgeon.training import State

# --- timeline -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 20_000), st.integers(0, 60))
def test_a_timeline_goes_forward_and_ends_at_the_total(total: int, generations: int) -> None:
    timeline = Timeline(total, generations)
    assert 1 <= timeline.warm_up <= total
    if generations == 0:
        assert timeline.warm_up == total
    end = timeline.warm_up
    for generation in range(generations):
        begin, until = timeline.race(generation)
        assert begin == end
        steps = rungs(begin, until)
        assert list(steps) == sorted(set(steps))
        # A race may be empty where there are more generations than steps, but it never goes back.
        assert end <= steps[0] if len(steps) == 1 else end < steps[0]
        assert steps[-1] == until
        end = until
    assert end <= total


@given(st.integers(200, 20_000), st.integers(1, 10))
def test_races_of_a_run_of_some_length_share_its_middle(total: int, generations: int) -> None:
    timeline = Timeline(total, generations)
    ends = [timeline.warm_up] + [timeline.race(g)[-1] for g in range(generations)]
    lengths = np.diff(ends)
    assert lengths.min() >= 1
    assert lengths.max() - lengths.min() <= 1
    assert ends[-1] < total


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
        ({"max_parameters": BEFORE.parameters, "max_macs": BEFORE.macs, "max_latency": 1.0}, ""),
        ({"max_parameters": BEFORE.parameters - 1}, "parameters"),
        ({"max_macs": BEFORE.macs - 1}, "multiply-accumulate"),
        ({"max_latency": 0.99}, "latency"),
        ({"max_parameters": 0}, "parameters"),
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


WIDE = model(mlp((6, 5, 4)))
LOOK = calibrated(WIDE, digits())


def recommendation(operation: Operation, score: float) -> Recommendation:
    return Recommendation(operation, None, score, score, 0, 0, {"evidence": score})


def candidates(ranking: list[Recommendation], count: int, tried: tuple[tuple[str, ...], ...] = ()) -> list[Candidate]:
    return recommended(ranking, Structure(WIDE), LOOK, count=count, seed=9, tried=tried)


def test_candidates_are_on_different_sites_and_the_helpful_ones_are_joined() -> None:
    ranking = [
        recommendation(Widen("fc1", 7), 0.5),
        recommendation(Widen("fc1", 8), 0.4),
        recommendation(Narrow("fc2", 4), 0.3),
        recommendation(Narrow("fc1", 2), 0.2),
        recommendation(Narrow("fc3", 3), -0.1),
        recommendation(Factorize("fc4", 1), -0.2),
    ]
    found = candidates(ranking, 4)
    assert [c.origin for c in found] == ["joined", "recommended", "recommended", "recommended"]
    assert [c.operations for c in found] == [
        ("widen:fc1=7", "narrow:fc2=4"),
        ("widen:fc1=7",),
        ("narrow:fc2=4",),
        ("narrow:fc3=3",),
    ]
    assert found[0].expected_gain == pytest.approx(0.8)
    assert len({c.seed for c in found}) == len(found)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("scores", [[], [0.1], [-0.1], [0.3, 0.2], [0.3, -0.2, -0.3], [0.4, 0.3, 0.2]])
def test_there_are_never_more_candidates_than_asked_for(count: int, scores: list[float]) -> None:
    ranking = [recommendation(Narrow(f"fc{k + 1}", 3), score) for k, score in enumerate(scores)]
    found = candidates(ranking, count)
    assert len(found) <= count
    assert len({c.operations for c in found}) == len(found)
    for candidate in found:
        sites = [o.site for o in candidate.parsed()]
        assert len(set(sites)) == len(sites)
        assert Candidate.from_json(candidate.to_json()) == candidate
    joined = [c for c in found if c.origin == "joined"]
    assert len(joined) == int(count > 1 and sum(s > 0 for s in scores) > 1)
    helpful = [f"narrow:fc{k + 1}=3" for k, s in enumerate(scores) if s > 0]
    for candidate in joined:
        assert len(candidate.operations) >= 2
        assert list(candidate.operations) == helpful[: len(candidate.operations)]


def test_what_does_not_go_together_is_not_joined() -> None:
    ranking = [recommendation(RemoveLayer("fc2"), 0.5), recommendation(Factorize("fc9", 1), 0.4)]
    assert [c.origin for c in candidates(ranking, 2)] == ["recommended", "recommended"]
    # Once a layer is gone, so is the width of its name.
    ranking = [recommendation(RemoveLayer("fc2"), 0.5), recommendation(Widen("fc2", 6), 0.4)]
    assert all(c.operations != ("remove:fc2", "widen:fc2=6") for c in candidates(ranking, 3))


def test_what_this_trunk_has_beaten_before_is_not_tried_again() -> None:
    ranking = [recommendation(Narrow(f"fc{k}", 3), 0.5 - k / 10) for k in (1, 2, 3)]
    first = candidates(ranking, 3)
    again = candidates(ranking, 3, tuple(c.operations for c in first))
    assert not {c.operations for c in first} & {c.operations for c in again}
    assert candidates(ranking, 3, (("narrow:fc1=3",),))[-1].operations == ("narrow:fc3=3",)


@pytest.mark.parametrize("objective", ["accuracy", "size"])
@pytest.mark.parametrize("proto", [mlp((6, 5)), cnn()], ids=["mlp", "cnn"])
def test_random_candidates_are_possible_and_repeat_with_the_seed(proto: object, objective: str) -> None:
    network = model(proto)  # type: ignore[arg-type]
    structure = Structure(network)
    calibration = calibrated(network, digits())
    settings = EvolveSettings("digits", objective=objective)  # type: ignore[arg-type]
    drawn = []
    for seed in range(12):
        pair = [random_candidate(structure, calibration, settings, np.random.default_rng(seed)) for _ in range(2)]
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
    found = [random_candidate(structure, calibration, settings, np.random.default_rng(s)) for s in range(3)]
    # One dense layer can only be factorized, and that only where it saves something.
    assert all(c is None or c.operations[0].startswith("factorize:") for c in found)
