"""Widening keeps the function on any input, for every width of every model."""

from __future__ import annotations

from fractions import Fraction

import models
import numpy as np
import pytest
from checks import assert_same_function, assert_valid, difference, loaded, structure
from hypothesis import given, settings
from hypothesis import strategies as st

from pysurgeon.errors import Refused
from pysurgeon.model import from_proto
from pysurgeon.surgery import Calibration, Narrow, Widen, operate
from pysurgeon.widths.structure import Structure, Width

SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in models.NEW_EXPORTER]
TRAINING = ["cnn_bn.training", "mobile.training", "attention.training", "conv1d.training", "dropout.training"]
EVERY = [*models.RUNNABLE, *TRAINING, *SLOW]


def sizes_of(s: Structure) -> dict[str, int]:
    return {w.name: w.size for w in s.widths}


def exact_sizes(width: Width) -> tuple[int, ...]:
    if width.exact:
        return width.size + 1, 2 * width.size + 3
    return (2 * width.size, 3 * width.size) if width.averaged else ()


@pytest.mark.parametrize("how", ["fresh", "split"])
@pytest.mark.parametrize("name", EVERY)
def test_every_width_alone(name, how):
    model, s = loaded(name), structure(name)
    before = model.to_bytes()
    calibration = Calibration(model)
    for width in s.widths:
        if not width.resizable:
            with pytest.raises(Refused, match="cannot be resized"):
                operate(model, Widen(width.name, width.size + 1, how=how), calibration)
            continue
        if not width.exact:
            with pytest.raises(Refused, match=r"only whole multiples keep the function|without changing the function"):
                operate(model, Widen(width.name, width.size + 1, how=how), calibration)
        for new in exact_sizes(width):
            done = operate(model, Widen(width.name, new, how=how, seed=new), calibration)
            assert_same_function(name, done.model, tolerance=1e-5)
            assert_valid(done.model, like=model)
            assert sizes_of(Structure(done.model)) == {**sizes_of(s), width.name: new}
            assert done.record.exact
            assert done.record.predicted_error == 0.0
            assert done.record.measured_error <= 1e-5
            assert done.record.after.parameters > done.record.before.parameters
            assert done.record.after.macs >= done.record.before.macs
    assert model.to_bytes() == before


@pytest.mark.parametrize("how", ["fresh", "split"])
@pytest.mark.parametrize("name", EVERY)
def test_all_widths_and_back(name, how):
    """One after another to other sizes, then back: added units are read with zero, or are copies, so they go exactly."""
    model, s = loaded(name), structure(name)
    current = model
    # Copies of what is multiplied unit by unit have nothing that could stand in for them.
    free = [w for w in s.widths if w.exact and not (w.products and how == "split")]
    for k, width in enumerate(free):
        current = operate(current, Widen(width.name, width.size + 1 + k % 3, how=how, seed=k)).model
    assert_same_function(name, current, tolerance=2e-5)
    for width in reversed(free):
        done = operate(current, Narrow(width.name, width.size))
        current = done.model
        # Copies stand in for one another up to the ridge of the least squares.
        assert done.record.predicted_error <= 2e-5
        assert done.record.measured_error <= 2e-5
    assert sizes_of(Structure(current)) == sizes_of(s)
    assert {k: v.shape for k, v in current.tensors().items() if k in model.trainable()} == {
        k: model.tensor(k).shape for k in model.trainable()
    }
    if how == "fresh" and name != "positive":  # (a unit that sleeps on the calibration batch is as good as a copy)
        assert_same_function(name, current, tolerance=2e-5)
    assert_valid(current, like=model)


@settings(max_examples=25)
@given(
    name=st.sampled_from(
        ["grouped.legacy", "mobile.legacy", "tokens.legacy", "dense_net.legacy", "flatten_nhwc.legacy"]
    ),
    steps=st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 5), st.sampled_from(["fresh", "split"])), min_size=1, max_size=4
    ),
)
def test_any_sequence(name, steps):
    current = loaded(name)
    for seed, (which, more, how) in enumerate(steps):
        free = [w for w in Structure(current).widths if w.exact]
        width = free[which % len(free)]
        current = operate(current, Widen(width.name, width.size + more, how=how, seed=seed)).model
    assert_same_function(name, current, tolerance=2e-5)


def test_fresh_units_are_alive_and_read_with_zero():
    model = loaded("mlp_relu.legacy")
    done = operate(model, Widen("1", 12, how="fresh", seed=5))
    weight, bias, reader = (done.model.tensor(k) for k in ("1.weight", "1.bias", "3.weight"))
    np.testing.assert_array_equal(weight[:9], model.tensor("1.weight"))
    np.testing.assert_array_equal(reader[:, :9], model.tensor("3.weight"))
    np.testing.assert_array_equal(reader[:, 9:], 0)
    assert np.all(np.linalg.norm(weight[9:], axis=1) > 0)
    assert len({row.tobytes() for row in weight}) == 12  # no two units are equal
    assert 0.5 < weight[9:].std() / weight[:9].std() < 2
    assert set(bias[9:]) <= set(model.tensor("1.bias"))


def test_split_units_share_what_is_read_unequally():
    model = loaded("mlp_relu.legacy")
    done = operate(model, Widen("1", 20, how="split", seed=5))
    weight, reader = done.model.tensor("1.weight"), done.model.tensor("3.weight")
    old = model.tensor("1.weight")
    source = [int(np.flatnonzero((old == row).all(1))[0]) for row in weight]
    assert source[:9] == list(range(9))
    assert min(np.bincount(source)) >= 2  # every unit is copied before one is copied twice
    for unit in range(9):
        copies = [k for k, u in enumerate(source) if u == unit]
        np.testing.assert_allclose(reader[:, copies].sum(1), model.tensor("3.weight")[:, unit], rtol=1e-5, atol=1e-7)
        shares = [reader[0, k] / model.tensor("3.weight")[0, unit] for k in copies]
        assert len({round(float(x), 4) for x in shares}) == len(copies)


def test_seeds_decide():
    model = loaded("cnn.legacy")
    a, b, c = (operate(model, Widen("0", 9, seed=s)).model.to_bytes() for s in (1, 1, 2))
    assert a == b
    assert a != c


@pytest.mark.parametrize("size", [0, 1, 8, 9])
def test_widening_widens(size):
    with pytest.raises(Refused, match="would not widen"):
        operate(loaded("mlp_relu.legacy"), Widen("1", size))


def test_more_than_a_file_can_hold():
    with pytest.raises(Refused, match="would need a tensor of"):
        operate(loaded("mlp_relu.legacy"), Widen("1", 999_999_999))


def test_units_at_random_are_not_put_before_a_root():
    """w2 is positive, so its products have roots; those of a random row need not."""
    model = loaded("positive")
    done = operate(model, Widen("c", 40, how="fresh"))
    assert "copies with unequal shares" in done.record.reason
    assert "Sqrt" in done.record.reason
    assert_same_function("positive", done.model, tolerance=1e-5)
    assert "random" in operate(model, Widen("a", 8, how="fresh")).record.reason


@pytest.mark.parametrize(
    ("body", "random"),
    [
        ("t = Pow (h, cube)", True),
        ("a = Mul (h, h) t = Pow (a, half)", False),
        ("t = Div (h, cube)", True),
        ("a = Sigmoid (h) t = Div (h, a)", False),
        ("a = Exp (h) t = Log (a)", False),
        ("t = Softplus (h)", True),
    ],
)
def test_where_units_at_random_may_go(body, random):
    model = from_proto(
        models.parsed(
            f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 2] y)
            <float cube = {{3.0}}, float half = {{0.5}}> {{ h = MatMul (x, w1) {body} y = MatMul (t, w2) }}""",
            w1=(3, 6),
            w2=(6, 2),
        )
    )
    done = operate(model, Widen("h", 30))
    assert ("random" in done.record.reason) is random
    assert difference(model, done.model) <= 1e-5


def test_fresh_units_in_one_part_of_a_fused_weight_leave_the_others_alone():
    """Queries, keys and values in one weight, cut apart behind it: the values' heads grow, nothing else changes."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4, 6] x) => (float[N, 4, 3] y)
                <int64[3] parts = {5, 5, 7}> {
                qkv = MatMul (x, w)
                q, k, v = Split <axis = 2> (qkv, parts)
                t = Transpose <perm = [0, 2, 1]> (k)
                s = MatMul (q, t)
                a = Softmax <axis = -1> (s)
                h = MatMul (a, v)
                y = MatMul (h, out)
            }""",
            w=(6, 17),
            out=(7, 3),
        )
    )
    widths = {w.size: w for w in Structure(model).widths if w.exact}
    assert set(widths) == {5, 7}
    wider = operate(model, Widen(widths[7].name, 9)).model
    assert difference(model, wider) <= 1e-5
    np.testing.assert_array_equal(wider.tensor("w")[:, :17], model.tensor("w"))
    assert np.all(np.abs(wider.tensor("w")[:, 17:]).sum(0) > 0)
    np.testing.assert_array_equal(wider.tensor("out")[7:], 0)
    # Queries and keys are multiplied with one another inside one tensor: both carry the root of the share.
    assert set(widths[5].exponents.values()) == {Fraction(1, 2)}
    assert difference(model, operate(model, Widen(widths[5].name, 7)).model) <= 1e-5


def test_copies_are_read_with_random_weights_that_sum_to_zero():
    """Shares alone do not part copies: an adaptive optimizer takes the same step for a gradient and for a part of it."""
    model = loaded("mlp_tanh.legacy")
    n = structure("mlp_tanh.legacy").width("1").size
    done = operate(model, Widen("1", 4 * n, how="split", seed=3))
    before, read = model.tensor("3.weight"), done.model.tensor("3.weight")
    written = done.model.tensor("1.weight")
    copies = [np.flatnonzero((written == written[k]).all(1)) for k in range(n)]
    assert sorted(len(c) for c in copies) == [4] * n
    np.testing.assert_allclose(np.stack([read[:, c].sum(1) for c in copies], 1), before, atol=1e-6)
    for own, shared in zip(before.T, (read[:, c] for c in copies), strict=True):
        angles = shared.T @ own / (np.linalg.norm(shared, axis=0) * np.linalg.norm(own))
        assert angles.min() < 0.9
    # What parts them has the scale of the tensor, less what the copies have in common.
    parts = (
        read
        - np.concatenate([read[:, c].mean(1, keepdims=True).repeat(4, 1) for c in copies], 1)[
            :, np.argsort(np.concatenate(copies))
        ]
    )
    assert np.mean(parts**2) == pytest.approx(np.mean(before**2) * 3 / 4, rel=0.3)
