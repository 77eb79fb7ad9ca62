"""How steep the loss is: against a step of the optimizer, in every engine, behind operations; and what is recommended by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from checks import difference
from engines import ENGINES
from hypothesis import given
from hypothesis import strategies as st
from starts import cnn, digits, mlp, model

from pysurgeon.data import Batches
from pysurgeon.diagnosis import Recommendation, diagnose, recommend
from pysurgeon.errors import TrainingError
from pysurgeon.evolution import calibrated, slope
from pysurgeon.model import Model
from pysurgeon.model.session import Session
from pysurgeon.runtime import TrainerName
from pysurgeon.surgery import AddBypass, InsertLayer, RemoveLayer, Widen, apply_edit, operate
from pysurgeon.surgery.methods.unit_init import in_pairs
from pysurgeon.training import (
    LocalTrainer,
    Schedule,
    State,
    TrainSettings,
    WorkerTrainer,
)
from pysurgeon.training.protocol import SLOPE_SAMPLES
from pysurgeon.widths.structure import Structure

DATA = digits()
# The first step of AdamW is the sign of the gradient, times the rate.
HOW = TrainSettings(
    Schedule(1e-5, 10, decay="constant"), batch_size=SLOPE_SAMPLES, micro_batch=32, weight_decay=0.0, clip=None
)


def loss(network: Model) -> float:
    """Cross-entropy on the samples of the first step, by other means."""
    x, y = Batches(DATA, SLOPE_SAMPLES, seed=HOW.seed).batch(0)
    logits = Session(network).run({"x": x})["y"].astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    return float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]).mean())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("proto", [mlp((6,)), mlp((9, 7), seed=3), cnn(4)], ids=["one", "two", "cnn"])
def test_a_small_step_of_adamw_goes_down_as_the_slope_says(proto: Any, engine: TrainerName) -> None:
    trainer = LocalTrainer(engine)
    network = model(proto)
    after = trainer.train(network, DATA, HOW, state=State(), steps=1, evaluate_every=0).model
    fallen = loss(network) - loss(after)
    assert fallen == pytest.approx(HOW.schedule.rate * trainer.slope(network, DATA, HOW), rel=0.05)


def test_engines_and_workers_give_the_same_and_other_samples_nearly() -> None:
    network = model(cnn(4))
    expected = LocalTrainer().slope(network, DATA, HOW)
    assert LocalTrainer("torch").slope(network, DATA, HOW) == pytest.approx(expected, rel=1e-4)
    with WorkerTrainer(1) as trainer:
        assert trainer.slope(network, DATA, HOW) == expected
    other = LocalTrainer().slope(network, DATA, replace(HOW, seed=HOW.seed + 1))
    assert other != expected
    assert other == pytest.approx(expected, rel=0.2)


def test_what_cannot_be_told_is_not() -> None:
    class Broken(LocalTrainer):
        def slope(self, *_: Any) -> float:
            message = "no gradient for this"
            raise TrainingError(message)

    assert slope(Broken(), model(mlp()), DATA, HOW) is None
    network = model(mlp())
    endless = network.with_tensors({"fc1.weight": np.full_like(network.tensor("fc1.weight"), np.inf)})
    assert slope(LocalTrainer(), endless, DATA, HOW) is None


@given(st.integers(0, 2**20), st.data())
def test_what_keeps_the_function_never_makes_the_loss_flatter(seed: int, draw: st.DataObject) -> None:
    """All old parameters keep their gradients, and the new ones add theirs."""
    network = model(cnn(3, seed=seed))
    operation = draw.draw(
        st.sampled_from(
            [
                *(Widen(w, 9, seed=seed) for w in ("conv1", "conv2")),
                *(InsertLayer(layer, seed=seed) for layer in ("conv1", "conv2")),
                *(AddBypass(layer) for layer in ("conv1", "conv2")),
            ]
        )
    )
    trainer = LocalTrainer()
    before, after = (trainer.slope(m, DATA, HOW) for m in (network, operate(network, operation).model))
    assert after >= before * (1 - 1e-4)


@given(st.integers(0, 2**20), st.sampled_from(["conv1", "conv2"]), st.integers(1, 7))
def test_pairs_cancel_and_have_a_gradient_at_once(seed: int, name: str, more: int) -> None:
    network = model(cnn(3, seed=seed))
    structure = Structure(network)
    width = structure.width(name)
    edit = Widen(name, width.size + more, seed=seed).plan(structure, calibrated(network, DATA)).edit
    looked = apply_edit(in_pairs(edit, width, np.random.default_rng(seed)))
    assert difference(network, looked) <= 1e-5
    pairs = more // 2
    for tensor, axis in width.readers:
        new = np.moveaxis(looked.tensor(tensor), axis, 0)[width.size :] if looked.tensor(tensor).ndim == 4 else None
        if new is not None:
            np.testing.assert_array_equal(new[:pairs], -new[pairs : 2 * pairs])
            assert not new[2 * pairs :].any()
            assert np.all(np.abs(new[: 2 * pairs]).max(axis=(1, 2, 3)) > 0)
    written = next(t for t, _ in width.writers if looked.tensor(t).ndim == 4)
    settings = replace(HOW, optimizer="sgd")
    moved = LocalTrainer().train(looked, DATA, settings, state=State(), steps=1, evaluate_every=0).model.tensor(written)
    rows = np.abs(moved - looked.tensor(written)).max(axis=(1, 2, 3))[width.size :]
    assert np.all(rows[: 2 * pairs] > 0)
    assert not rows[2 * pairs :].any()


# --- recommendations --------------------------------------------------------------------------------------------------------


def slopes(models: Sequence[Model]) -> list[float | None]:
    return [slope(LocalTrainer(), m, DATA, HOW) for m in models]


def recommended(network: Model, **options: Any) -> list[Recommendation]:
    calibration = calibrated(network, DATA)
    return recommend(diagnose(Structure(network), calibration), calibration, **{"accuracy": 0.1, **options})


def trained(network: Model, steps: int = 150) -> Model:
    how = TrainSettings(Schedule(5e-3, steps), batch_size=64)
    return LocalTrainer().train(network, DATA, how, state=State(), steps=steps, evaluate_every=0).model


@pytest.mark.parametrize("narrow", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_bottleneck_is_what_is_to_be_operated_on_first(narrow: int, seed: int) -> None:
    """Planted: one layer of a trained network has far fewer units than all others."""
    sizes = [24, 24, 24]
    sizes[narrow - 1] = 2
    first = recommended(trained(model(mlp(tuple(sizes), seed=seed))), slopes=slopes)[0].operation
    assert str(first) in (f"widen:fc{narrow}=8", f"remove:fc{narrow}")


def test_a_layer_that_has_died_is_found() -> None:
    """Whoever looks at what its units do only, finds that fewer would suffice."""
    network = trained(model(mlp((24, 8), seed=2)))
    bias = network.tensor("fc2.bias").copy()
    bias[1:] = -100.0
    dead = network.with_tensors({"fc2.bias": bias})

    def place(found: list[Recommendation]) -> int:
        helpful = [r for r in found if isinstance(r.operation, Widen | RemoveLayer | InsertLayer | AddBypass)]
        return next(k for k, r in enumerate(helpful) if str(r.operation) == "widen:fc2=32")

    assert place(recommended(dead, slopes=slopes)) < place(recommended(dead))


def test_operations_that_bring_parameters_are_looked_at_and_the_others_are_as_before() -> None:
    network = trained(model(cnn(4)))
    seen: list[int] = []

    def counting(models: Sequence[Model]) -> list[float | None]:
        seen.append(len(models))
        return slopes(models)

    plain = {str(r.operation): r for r in recommended(network, accuracy=0.5)}
    looked = {str(r.operation): r for r in recommended(network, accuracy=0.5, slopes=counting)}
    assert plain.keys() == looked.keys()
    growing = {name for name in plain if name.split(":")[0] in ("widen", "insert", "bypass", "remove")}
    assert seen == [1 + len({name.split("=")[0] for name in growing})]
    for name, r in looked.items():
        before = plain[name]
        if name not in growing:
            assert r == before
            continue
        more = 0.1 * 0.5 * np.log1p(r.evidence["steeper"])
        assert r.expected_gain == pytest.approx(before.expected_gain + more)
        assert r.score == pytest.approx(before.score + more)
    double, fourfold = (looked[f"widen:conv1={n}"].evidence["steeper"] for n in (8, 16))
    assert fourfold == pytest.approx(3 * double)
    # Nothing that grows is proposed for a smaller network, so nothing is looked at.
    recommended(network, accuracy=0.5, objective="size", slopes=counting)
    assert len(seen) == 1


def test_where_nobody_can_tell_the_ranking_is_as_without() -> None:
    network = trained(model(cnn(4)))
    plain = recommended(network)
    for answer in (None, 0.0):
        assert recommended(network, slopes=lambda models, a=answer: [a] * len(models)) == plain


def test_of_many_sites_some_of_every_kind_are_looked_at() -> None:
    network = model(mlp((7,) * 12))
    found = recommended(network, slopes=slopes)
    looked = [r.operation for r in found if "steeper" in r.evidence]
    sites = {(o.kind, o.site) for o in looked}
    assert len(sites) == 24
    assert {kind for kind, _ in sites} == {"widen", "insert", "bypass", "remove"}
    assert {len([s for s in sites if s[0] == kind]) for kind in ("widen", "insert", "bypass", "remove")} == {6}
