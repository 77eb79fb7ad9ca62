"""Narrowing: valid everywhere, exact where it can be, and better than cutting."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import assert_valid, difference, loaded, structure

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.surgery import Calibration, Narrow, RemoveLayer, Widen, apply_edit, operate
from pysurgeon.surgery.edits.edit import AxisMap, Edit
from pysurgeon.surgery.operations.narrow import cost_curve
from pysurgeon.widths.axis_layout import Select
from pysurgeon.widths.structure import Structure

SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in models.NEW_EXPORTER]


@pytest.mark.parametrize("name", [*models.RUNNABLE, "cnn_bn.training", "mobile.training", "attention.training", *SLOW])
def test_every_width_of_every_model(name):
    model, s = loaded(name), structure(name)
    before = model.to_bytes()
    calibration = Calibration(model)
    for width in s.widths:
        if not width.resizable or width.size == 1:
            with pytest.raises(Refused):
                operate(model, Narrow(width.name, max(1, width.size - 1)), calibration)
            continue
        errors = []
        for size in dict.fromkeys([width.size - 1, (width.size + 1) // 2, 1]):
            done = operate(model, Narrow(width.name, size), calibration)
            assert_valid(done.model, like=model)
            after = {w.name: w.size for w in Structure(done.model).widths}
            if size > 1:  # one group is no group any more, so names may change there
                assert after == {**{w.name: w.size for w in s.widths}, width.name: size}
            for batch in (1, 3):
                Session(done.model).run(random_feeds(model, batch=batch, seed=5))
            assert not done.record.exact
            assert done.record.after.parameters < done.record.before.parameters
            errors.append(done.record.predicted_error)
        assert 0 <= errors[0] <= errors[-1] * (1 + 1e-6) + 1e-9
        assert errors[-1] <= 1 + 1e-6
    assert model.to_bytes() == before


@pytest.mark.parametrize("size", [0, 9, 10, 11, -1])
def test_sizes_that_are_no_narrowing(size):
    with pytest.raises(Refused, match=r"it can be narrowed to 1\.\.8"):
        operate(loaded("mlp_relu.legacy"), Narrow("1", size))


def test_one_unit_cannot_be_narrowed():
    with pytest.raises(Refused, match="it cannot be narrowed"):
        operate(loaded("one_unit.legacy"), Narrow("0", 0))


def truncated(model: Model, width: str, kept: Array) -> Model:
    """The same units taken away, with nobody making up for them."""
    s = Structure(model)
    w = s.width(width)
    return apply_edit(Edit(s, tuple(AxisMap(t, a, w.dim, Select.of(kept)) for t, a in (*w.writers, *w.readers))))


def kept_units(old: Model, new: Model, writer: str, axis: int = 0) -> Array:
    """Which units of a writer are still there; the units of the zoo are all different."""
    before, after = (np.moveaxis(m.tensor(writer), axis, 0) for m in (old, new))
    return np.array([next(k for k, unit in enumerate(before) if np.array_equal(unit, kept)) for kept in after])


def test_dead_copied_and_unread_units_go_exactly():
    """Three of nine units do nothing that others do not do: the function stays on any input, not only on the sample."""
    model = loaded("mlp_relu.legacy")
    weight, bias, reader = (model.tensor(k).copy() for k in ("1.weight", "1.bias", "3.weight"))
    weight[2], bias[2] = 0, -1.0  # never active
    weight[4], bias[4] = weight[5], bias[5]  # a copy
    reader[:, 7] = 0  # nobody reads it
    planted = model.with_tensors({"1.weight": weight, "1.bias": bias, "3.weight": reader})
    done = operate(planted, Narrow("1", 6))
    assert done.record.predicted_error <= 1e-6
    feeds = random_feeds(model, batch=50, seed=77)
    assert output_error(Session(planted).run(feeds), Session(done.model).run(feeds)) <= 2e-6
    assert {2, 7}.isdisjoint(kept_units(planted, done.model, "1.weight"))


@pytest.mark.parametrize(
    ("name", "width", "writers", "copy"),
    [
        ("cnn.legacy", "0", ("0.weight", "0.bias"), (1, 3)),
        ("flatten_view.legacy", "conv", ("conv.weight", "conv.bias"), (0, 4)),
        ("flatten_nhwc.legacy", "conv", ("conv.weight", "conv.bias"), (0, 4)),
        ("dense_net.training", "stem", ("stem.weight", "stem.bias"), (0, 2)),
        ("mixer.legacy", "up1", None, (2, 6)),
    ],
)
def test_copies_of_channels_go_exactly(name, width, writers, copy):
    """The readers are convolutions, flattened pixels in both orders, a norm and a concatenation, and tokens."""
    model = loaded(name)
    w = structure(name).width(width)
    changed = {}
    for tensor, axis in w.writers:
        if writers is not None and tensor not in writers and "norm" not in tensor:
            continue
        if "norm" in tensor and writers is not None:
            continue
        array = model.tensor(tensor).copy()
        moved = np.moveaxis(array, axis, 0)
        moved[copy[1]] = moved[copy[0]]
        changed[tensor] = array
    planted = model.with_tensors(changed)
    if name == "dense_net.training":  # the norm treats the two copies alike
        norm = {
            k: planted.tensor(k).copy() for k in planted.tensors() if k.startswith("norm.") and planted.tensor(k).ndim
        }
        for array in norm.values():
            array[copy[1]] = array[copy[0]]
        planted = planted.with_tensors(norm)
    done = operate(planted, Narrow(width, w.size - 1))
    feeds = random_feeds(model, batch=20, seed=78)
    assert done.record.predicted_error <= 1e-5
    assert output_error(Session(planted).run(feeds), Session(done.model).run(feeds)) <= 1e-5


def correlated_readout(seed: int) -> tuple[Model, dict[str, Array]]:
    """Twelve linear units that are mixtures of six, read with weights that have nothing to do with their importance."""
    rng = np.random.default_rng(seed)
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 8] x) => (float[N, 3] y) {
                h = MatMul (x, w1)
                t = LeakyRelu <alpha = 0.99> (h)
                y = MatMul (t, w2)
            }""",
            w1=(8, 12),
            w2=(12, 3),
        )
    )
    mixed = rng.standard_normal((8, 6)) @ rng.standard_normal((6, 12)) + 0.05 * rng.standard_normal((8, 12))
    scale = rng.uniform(0.2, 3.0, 12)
    tensors = {"w1": mixed * scale, "w2": rng.standard_normal((12, 3)) / rng.permutation(scale)[:, None]}
    model = model.with_tensors({k: v.astype(np.float32) for k, v in tensors.items()})
    return model, {"x": rng.standard_normal((500, 8)).astype(np.float32)}


@pytest.mark.parametrize("seed", range(5))
def test_compensation_beats_cutting_and_weight_norms(seed):
    model, feeds = correlated_readout(seed)
    done = operate(model, Narrow("h", 6), Calibration(model, feeds))
    fresh = {"x": np.random.default_rng(seed + 100).standard_normal((500, 8)).astype(np.float32)}

    def error(other: Model) -> float:
        a, b = (Session(m).run(fresh)["y"].astype(np.float64) for m in (model, other))
        return float(np.linalg.norm(a - b) / np.linalg.norm(a))

    kept = kept_units(model, done.model, "w1", axis=1)
    norms = np.linalg.norm(model.tensor("w1"), axis=0) * np.linalg.norm(model.tensor("w2"), axis=1)
    by_norm = truncated(model, "h", np.sort(np.argsort(norms)[-6:]))
    assert error(done.model) < 0.25 * error(truncated(model, "h", kept))
    assert error(done.model) < 0.25 * error(by_norm)


@pytest.mark.parametrize("seed", range(5))
def test_the_prediction_is_the_error_of_a_linear_readout_on_other_samples(seed):
    model, feeds = correlated_readout(seed)
    unseen = {"x": np.random.default_rng(seed + 100).standard_normal((2000, 8)).astype(np.float32)}
    for size in (11, 8, 5, 2):
        done = operate(model, Narrow("h", size), Calibration(model, feeds, holdout=unseen))
        a, b = (Session(m).run(unseen)["y"].astype(np.float64) for m in (model, done.model))
        measured = np.linalg.norm(a - b) / np.linalg.norm(a)
        assert done.record.site_error == pytest.approx(measured, rel=1e-5)
        assert done.record.predicted_error == pytest.approx(measured, rel=0.1, abs=1e-6)


@pytest.mark.parametrize("samples", [120, 500])
def test_the_cost_curve_is_what_other_samples_show(samples):
    """With few samples a fit has seen less of what is to come than of what it was fitted to."""
    ratios = []
    for seed in range(8):
        model, feeds = correlated_readout(seed)
        unseen = {"x": np.random.default_rng(seed + 100).standard_normal((2000, 8)).astype(np.float32)}
        calibration = Calibration(model, {"x": feeds["x"][:samples]}, holdout=unseen)
        s = Structure(model)
        curve = cost_curve(s, s.width("h"), calibration)
        for size in (10, 8, 6):
            found = operate(model, Narrow("h", size), calibration).record.site_error
            if found > 1e-3:
                ratios.append(curve.error(12 - size) / found)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)


def given_by(model: Model, node: str) -> str:
    """The value behind a reader with its bias."""
    value = next(n.outputs[0] for n in model.nodes if n.outputs[0].name == node)
    users = [u.node for u in value.uses()]
    adds = len(users) == 1 and users[0].op_type == "Add" and value.producer().op_type == "MatMul"
    return str(users[0].outputs[0].name if adds else value.name)


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("cnn.legacy", "0"),
        ("cnn.legacy", "2"),
        ("cnn_bn.training", "3"),
        ("flatten_nhwc.legacy", "conv"),
        ("flatten_view.legacy", "conv"),
        ("mixer.legacy", "up1"),
        ("inception.legacy", "three"),
    ],
)
def test_every_kind_of_reader_is_compensated(name, width):
    """What the readers give is nearer to what they gave than if the same units were only cut off."""
    model, s = loaded(name), structure(name)
    w = s.width(width)
    nodes = [given_by(model, r.node) for r in w.reads]
    feeds = random_feeds(model, batch=64, seed=0)
    calibration = Calibration(model, feeds)
    reference = Session(model, nodes).run(feeds)
    writer, axis = max(w.writers, key=lambda place: model.tensor(place[0]).ndim)

    def error(other: Model) -> float:
        values = Session(other, nodes).run(feeds)
        return sum(float(np.square(values[n] - reference[n]).sum() / np.square(reference[n]).sum()) for n in nodes)

    errors, cuts = [], []
    for size in range(1, w.size):
        done = operate(model, Narrow(width, size), calibration)
        errors.append(error(done.model))
        cuts.append(error(truncated(model, width, kept_units(model, done.model, writer, axis))))
        assert errors[-1] <= cuts[-1] * (1 + 1e-3) + 1e-10
    assert sum(errors) < 0.97 * sum(cuts)


def test_a_unit_that_is_constant_goes_into_the_bias():
    """Its readers are dense; before a padded convolution a part of it is missing, since the border is not constant."""
    model = loaded("mlp_tanh.legacy")
    weight = model.tensor("1.weight").copy()
    weight[3] = 0  # tanh of its bias, always
    planted = model.with_tensors({"1.weight": weight})
    done = operate(planted, Narrow("1", 8))
    assert done.record.predicted_error <= 1e-6
    assert difference(planted, done.model) <= 1e-5
    assert not np.array_equal(done.model.tensor("3.bias"), planted.tensor("3.bias"))

    model = loaded("cnn.legacy")
    weight, bias = model.tensor("0.weight").copy(), model.tensor("0.bias").copy()
    weight[3], bias[3] = 0, 1.0
    planted = model.with_tensors({"0.weight": weight, "0.bias": bias})
    done = operate(planted, Narrow("0", 5))
    assert 0.01 < done.record.site_error < 0.2
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.1)
    moved = done.model.tensor("2.bias") - planted.tensor("2.bias")
    assert np.abs(moved).max() > 0.05


def test_the_calibration_data_decide():
    """Units that sleep on the data go, whatever they do elsewhere."""
    model = loaded("mlp_relu.legacy")
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(12).astype(np.float32)
    weight, bias = model.tensor("1.weight").copy(), model.tensor("1.bias").copy()
    weight[0], bias[0] = direction, 0.0
    planted = model.with_tensors({"1.weight": weight, "1.bias": bias})
    x = rng.standard_normal((200, 12)).astype(np.float32)
    x -= np.maximum(x @ direction, 0)[:, None] * direction / (direction @ direction) * 1.01
    done = operate(planted, Narrow("1", 8), Calibration(planted, {"input": x.reshape(-1, 3, 4)}))
    assert done.record.measured_error <= 1e-6
    assert 0 not in kept_units(planted, done.model, "1.weight")


@pytest.mark.parametrize(
    ("name", "width"), [("residual.legacy", "0"), ("mixer.legacy", "stem"), ("mobile.legacy", "stem")]
)
def test_readers_in_a_stream_are_fitted_one_after_another(name, width):
    """What comes from behind another reader, or from behind a norm, has changed by more than the units that went."""
    model, w = loaded(name), structure(name).width(width)
    feeds, unseen = (random_feeds(model, batch=300, seed=k) for k in (0, 1))
    done = operate(model, Narrow(width, w.size // 2), Calibration(model, feeds, holdout=unseen))
    assert done.record.site_error > 0.05
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.1)


@pytest.mark.parametrize(
    "added",
    [
        pytest.param("Gather <axis = 1> (h, picked)", id="a value"),
        pytest.param("Identity (line)", id="a number for each sample"),
        pytest.param("Identity (full)", id="a number for each sample and output"),
    ],
)
@pytest.mark.parametrize("size", [3, 2])
def test_what_is_added_to_a_reader_is_not_what_it_gives(added, size):
    """Some of the units that it reads keep their places, so that every one of them is fitted on its own."""
    model = from_proto(
        models.parsed(
            f"""<ir_version: 8, opset_import: ["" : 17]> g (float[5, 6] x) => (float[5, 3] y)
            <int64[3] picked = {{1, 2, 3}}> {{
                a = MatMul (x, w1)
                h = Tanh (a)
                z = MatMul (h, w2)
                more = {added}
                y = Add (z, more)
            }}""",
            w1=(6, 8),
            w2=(8, 3),
            line=(5, 1),
            full=(5, 3),
        )
    )
    feeds, unseen = (
        {"x": np.concatenate([random_feeds(model, seed=10 * k + j)["x"] for j in range(40)])} for k in (0, 50)
    )
    width = next(w for w in Structure(model).widths if w.resizable)
    done = operate(model, Narrow(width.name, min(size, width.size - 1)), Calibration(model, feeds, holdout=unseen))
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.3, abs=1e-5)


@pytest.mark.parametrize(("scaled", "shape"), [("alpha = 1.0", (5, 1)), ("beta = 2.0", (3,)), ("alpha = 0.5", (3,))])
def test_a_bias_of_a_reader_that_is_no_bias(scaled, shape):
    """One number for each sample, or a multiple of what is stored: nothing of it is fitted, and all of it stays."""
    model = from_proto(
        models.parsed(
            f"""<ir_version: 8, opset_import: ["" : 17]> g (float[5, 6] x) => (float[5, 3] y, float[5, 3] part)
            <int64[3] picked = {{1, 2, 3}}> {{
                a = MatMul (x, w1)
                h = Relu (a)
                part = Gather <axis = 1> (h, picked)
                y = Gemm <{scaled}> (h, w2, bias)
            }}""",
            w1=(6, 8),
            w2=(8, 3),
            bias=shape,
        )
    )
    width = next(w for w in Structure(model).widths if w.resizable)
    wider = operate(model, Widen(width.name, width.size + 1)).model
    assert difference(model, operate(wider, Narrow(width.name, width.size)).model) <= 1e-5
    assert np.array_equal(operate(model, Narrow(width.name, 2)).model.tensor("bias"), model.tensor("bias"))


def test_a_number_for_each_step_is_no_bias_of_the_units():
    """The matrix stands on the left, so that its outputs run along the last axis but one, of which there are as many."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 6, 9] x) => (float[N, 9, 9] y) {
                a = MatMul (w1, x)
                h = Tanh (a)
                z = MatMul (w2, h)
                y = Add (z, line)
            }""",
            w1=(8, 6),
            w2=(9, 8),
            line=(9,),
        )
    )
    planted = model.with_tensors({"w1": np.where(np.arange(8)[:, None] == 2, 0, model.tensor("w1"))})
    done = operate(planted, Narrow("a", 4))
    assert np.array_equal(done.model.tensor("line"), model.tensor("line"))
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.3)


def test_units_that_are_read_in_pairs():
    """A Gram matrix of channels, as in style transfer: what a reader gets of a unit depends on all others."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, 4] x) => (float[N, 3] y)
            <int64[2] flat = {-1, 25}> {
                a = Conv (x, k)
                h = Conv (a, w1, b1)
                t = Transpose <perm = [0, 2, 1]> (h)
                m = MatMul (h, t)
                f = Reshape (m, flat)
                y = Gemm (f, w2, b2)
            }""",
            k=(5, 3, 2),
            w1=(5, 5, 1),
            b1=(5,),
            w2=(25, 3),
            b2=(3,),
        )
    )
    for how in ("fresh", "split"):
        wider = operate(model, Widen("h", 7, how=how)).model
        assert difference(model, operate(wider, Narrow("h", 5)).model) <= 1e-5
    for size in (4, 1):
        assert_valid(operate(model, Narrow("h", size)).model, like=model)
    with pytest.raises(Refused, match="are read in pairs"):
        operate(model, RemoveLayer("h"))


def test_a_reader_that_is_used_twice_is_one():
    """What it gives of small numbers counts as little as it does in the fit, which is one for both."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 6] x) => (float[N, 3] y, float[N, 3] z)
            <float little = {0.05}> {
                s = Mul (x, little)
                a = MatMul (x, w1) ha = Add (a, b1) ta = Tanh (ha) y = MatMul (ta, w2)
                c = MatMul (s, w1) hc = Add (c, b1) tc = Tanh (hc) z = MatMul (tc, w2)
            }""",
            w1=(6, 12),
            b1=(12,),
            w2=(12, 3),
        )
    ).with_tensors({"b1": np.zeros(12, np.float32)})
    feeds, unseen = (random_feeds(model, batch=400, seed=k) for k in (0, 1))
    done = operate(model, Narrow("a", 8), Calibration(model, feeds, holdout=unseen))
    assert done.record.site_error > 0.01
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.15)
