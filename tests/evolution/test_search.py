"""What the Surgeon tries by itself, and what its result is compared with."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starts import cnn, digits, mlp, model

from pysurgeon.errors import Refused
from pysurgeon.evolution import EvolveSettings, calibrated
from pysurgeon.evolution.branch import Branch
from pysurgeon.evolution.calibration_data import chance
from pysurgeon.evolution.fitness import Fitness
from pysurgeon.evolution.keep import Kept
from pysurgeon.evolution.plan import Plan
from pysurgeon.evolution.race import Arena, Growing
from pysurgeon.evolution.rivals import FACTORS, born, scaled, sweep
from pysurgeon.evolution.strategies.grow_and_cut import by_cut, by_doubling
from pysurgeon.evolution.strategies.proposals import Context
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.surgery import operate, parse
from pysurgeon.training import LocalTrainer, State, TrainSettings
from pysurgeon.widths.structure import Structure

DATA = digits()
START = model(cnn(8))


def context(network: Model = START, **settings: Any) -> Context:
    how = EvolveSettings("digits", **settings)
    fitness = Fitness(how, costs(network), chance(DATA), len(DATA.validation))
    return Context(how, network, DATA, calibrated(network, DATA), fitness, Kept(how.keep))


def branch(name: str = "start", accuracy: float = 0.9, network: Model = START, parent: str | None = None) -> Branch:
    return Branch(name, parent, "start", (), network, State(), accuracy, 1.0)


def carried_out(network: Model, operations: tuple[str, ...]) -> Model:
    for text in operations:
        network = operate(network, parse(text), calibrated(network, DATA)).model
    return network


def test_a_doubling_doubles_every_width_that_can_be_and_keeps_the_function() -> None:
    (candidate,) = by_doubling([branch()], 0, [], context())
    before = {w.name: w.size for w in Structure(START).widths if w.resizable and w.exact}
    after = {w.name: w.size for w in Structure(carried_out(START, candidate.operations)).widths}
    assert before
    assert all(after[name] == 2 * size for name, size in before.items())
    (candidate,) = by_doubling([branch()], 0, [], context(keep=("conv1",)))
    assert not [text for text in candidate.operations if "conv1" in text]


def test_doubling_ends_where_one_has_lost_and_where_a_network_would_be_too_large() -> None:
    for winner, found in (("start", 0), ("g1-1", 1)):
        events = [
            {"event": "candidates", "generation": 0, "parents": ["start"]},
            {"event": "selected", "generation": 0, "winner": winner},
        ]
        assert len(by_doubling([branch()], 1, events, context())) == found
    large = carried_out(START, ("widen:conv1=64", "widen:conv2=128"))
    small = replace(context(), fitness=Fitness(EvolveSettings("digits"), costs(model(cnn(1)))))
    assert by_doubling([branch(network=large)], 0, [], small) == []


def test_cuts_go_to_a_half_and_a_quarter_with_a_uniform_one_as_the_control() -> None:
    found = by_cut([branch()], 0, [], context(objective="size"))
    assert [c.origin for c in found[:3]] == ["cut", "cut", "uniform"]
    others = [carried_out(START, c.operations) for c in found[3:]]
    assert others
    assert all(costs(network).parameters < costs(START).parameters for network in others)
    found = found[:3]
    sizes = [costs(carried_out(START, c.operations)).parameters for c in found]
    whole = costs(START).parameters
    assert sizes[0] <= whole / 2
    assert sizes[1] <= whole / 4
    assert sizes[2] <= whole / 4
    # Whatever is in the evidence was predicted of the operation that it is said of.
    for candidate in found:
        assert set(candidate.evidence) == set(candidate.operations)
        alone = [e["predicted_error"] for e in candidate.evidence.values()]
        (together,) = {e["of_the_cut"] for e in candidate.evidence.values()}
        assert math.sqrt(sum(e**2 for e in alone)) == pytest.approx(together)


@pytest.mark.parametrize(
    "limit", [{"max_params": 400}, {"max_macs": 9_000}, {"max_params": 500, "max_macs": 9_000}], ids=str
)
def test_where_a_limit_is_broken_the_first_cut_is_to_the_limit(limit: dict[str, int]) -> None:
    first, *_ = by_cut([branch()], 0, [], context(**limit))
    size = costs(carried_out(START, first.operations))
    assert size.parameters <= limit.get("max_params", math.inf)
    assert size.macs <= limit.get("max_macs", math.inf)
    room = [m / s for m, s in ((limit.get("max_params"), size.parameters), (limit.get("max_macs"), size.macs)) if m]
    assert min(room) < 1.6, "and not much further"


def test_a_network_that_has_learnt_nothing_is_not_cut() -> None:
    assert by_cut([branch(accuracy=chance(DATA))], 0, [], context()) == []


@pytest.mark.parametrize(
    ("parent", "grown", "winner"),
    [(0.8, 0.85, "grown"), (0.8, 0.799, "grown"), (0.8, 0.6, "parent"), (0.12, 0.11, "grown"), (0.12, None, "parent")],
    ids=["better", "within the doubt", "worse", "nobody knows anything", "lost"],
)
def test_what_has_grown_has_the_benefit_of_the_doubt(parent: float, grown: float | None, winner: str) -> None:
    ends = {"parent": parent, "grown": grown}

    def train(jobs: Any) -> list[Branch]:
        return [replace(b, accuracy=ends[b.id]) for b, _ in jobs if ends[b.id] is not None]

    fitness = Fitness(EvolveSettings("digits"), costs(START), chance=0.1, samples=1000)
    arena = Arena(0, 10, 0.0, fitness, train, lambda *_: None)
    (found,) = Growing().run([branch("parent", 0.0)], [branch("grown", 0.0, parent="parent")], arena)
    assert found.id == winner


@pytest.mark.parametrize("kept", ["fc1", "fc3", "fc2"])
def test_no_operation_that_is_allowed_touches_a_layer_that_stays(kept: str) -> None:
    start = model(mlp((12, 8, 6)))
    structure, calibration, how = Structure(start), calibrated(start, DATA), Kept((kept,))
    texts = [f"{kind}:{name}" for kind in ("insert", "remove", "bypass") for name in ("fc1", "fc2", "fc3", "fc4")]
    texts += [
        f"{kind}:fc{k}={size}" for k in (1, 2, 3) for kind, size in (("widen", 20), ("narrow", 4), ("factorize", 2))
    ]
    allowed = [text for text in texts if not how.forbids(structure, parse(text), calibration)]
    assert len(texts) > len(allowed) > 5
    done = 0
    for text in allowed:
        try:
            after = operate(start, parse(text), calibration).model
        except Refused:
            continue
        done += 1
        assert np.array_equal(after.tensor(f"{kept}.weight"), start.tensor(f"{kept}.weight")), text
    assert done > 3
    # A removed layer's readers read something else.
    assert how.forbids(structure, parse("remove:fc2"), calibration) == (kept in ("fc2", "fc3"))


# --- rivals -------------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_a_network_that_is_born_has_the_scale_of_the_start(seed: int) -> None:
    start = model(mlp((64, 64), seed=seed % 7))
    large = carried_out(start, ("widen:fc1=256",))
    found = born(large, start, seed)
    assert [found.tensor(t).shape for t in found.trainable()] == [large.tensor(t).shape for t in large.trainable()]
    # Four times the inputs, half the scale; where the inputs are as many, the same.
    ratio = found.tensor("fc2.weight").std() / start.tensor("fc2.weight").std()
    assert ratio == pytest.approx(0.5, rel=0.1)
    assert found.tensor("fc1.weight").std() == pytest.approx(start.tensor("fc1.weight").std(), rel=0.1)
    assert not np.array_equal(found.tensor("fc3.weight"), start.tensor("fc3.weight"))


def test_layers_that_the_start_has_not_are_born_too() -> None:
    start = model(mlp((64,)))
    deeper = carried_out(start, ("insert:fc1",))
    found = born(deeper, start, 0)
    (new,) = [t for t in found.trainable() if t not in start.tensors() and found.tensor(t).ndim == 2]
    assert found.tensor(new).std() == pytest.approx(np.sqrt(2 / 64), rel=0.1)
    assert not np.array_equal(found.tensor(new), deeper.tensor(new))


def test_a_sweep_takes_no_more_than_it_may_and_ends_at_the_end_of_its_schedule() -> None:
    start = model(mlp((3,)))
    how = EvolveSettings("digits", limit=400, epochs=None, steps=10, batch_size=32, lr=0.01)
    networks = {f: scaled(start, f, calibrated(start, DATA), 0) for f in FACTORS}
    asked: list[int] = []

    def schedule(steps: int) -> TrainSettings:
        asked.append(steps)
        return Plan.of(replace(how, steps=steps), DATA).training

    budget = 3 * 32 * 400 * costs(networks[8]).macs
    found = sweep(networks, DATA, LocalTrainer(), schedule, budget)
    assert 0.3 * budget < found.compute <= budget
    assert found.result.state.step == found.steps == asked[-1]
    assert costs(found.result.model).macs == costs(networks[found.factor]).macs
