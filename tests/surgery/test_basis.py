"""A smaller basis where only linear maps touch the units: the best one, each head its own, and nowhere else."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import assert_valid, difference, structure

from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.session import Session
from pysurgeon.surgery import Calibration, Narrow, Widen, carry, operate
from pysurgeon.surgery.methods.change_of_basis import bases, contraction_of
from pysurgeon.widths.axis_layout import Blockwise, map_axis, occurrences
from pysurgeon.widths.structure import Structure

HEADS, SIZE, UNITS = 2, 4, 10


def attention(query: str = "q1", *, seed: int = 0) -> Model:
    """Two heads of four; `query` says what of the queries is multiplied with the keys."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 5, {UNITS}] x) => (float[N, 5, 3] y)
    <int64[4] heads = {{0, 0, 2, 4}}, int64[3] flat = {{0, 0, 8}}, float scale = {{0.5}}> {{
        q0 = MatMul (x, wq)
        q1 = Add (q0, bq)
        q2 = Relu (q1)
        q3 = LayerNormalization <axis = -1> (q1, g)
        q4 = Reshape ({query}, heads)
        q = Transpose <perm = [0, 2, 1, 3]> (q4)
        k0 = MatMul (x, wk)
        k1 = Mul (k0, scale)
        k2 = Reshape (k1, heads)
        k = Transpose <perm = [0, 2, 3, 1]> (k2)
        v0 = MatMul (x, wv)
        v1 = Reshape (v0, heads)
        v = Transpose <perm = [0, 2, 1, 3]> (v1)
        s = MatMul (q, k)
        p = Softmax <axis = -1> (s)
        m0 = MatMul (p, v)
        m1 = Transpose <perm = [0, 2, 1, 3]> (m0)
        m = Reshape (m1, flat)
        y0 = MatMul (m, wo)
        y = Add (y0, bo)
    }}"""
    square = dict.fromkeys(("wq", "wk", "wv"), (UNITS, 8))
    model = from_proto(models.parsed(text, **square, bq=(8,), g=(8,), wo=(8, 3), bo=(3,)))
    rng = np.random.default_rng(seed)
    return model.with_tensors(
        {t: rng.standard_normal(model.tensor(t).shape).astype(np.float32) / 2 for t in (*square, "bq", "wo", "bo")}
    )


def feeds(seed: int, count: int = 300) -> dict[str, Array]:
    """Tokens whose units are correlated."""
    mixed = np.random.default_rng(7).standard_normal((UNITS, UNITS)) * np.linspace(0.1, 1.5, UNITS)[:, None]
    x = np.random.default_rng(seed).standard_normal((count, 5, UNITS)) @ mixed / 2
    return {"x": x.astype(np.float32)}


def width_of(model: Model, tensor: str) -> str:
    """The size of the heads that a projection writes."""
    s = Structure(model)
    return next(w.name for w in s.widths if (tensor, 1) in w.writers and w.size == SIZE)


@pytest.mark.parametrize("tensor", ["wq", "wv"])
def test_directions_that_every_head_has_of_its_own_go_exactly(tensor):
    """The queries or values of each head span two dimensions, others than those of the other head: no unit could go."""
    model = attention()
    rng = np.random.default_rng(3)
    weight = model.tensor(tensor).reshape(UNITS, HEADS, SIZE).copy()
    bias = model.tensor("bq").reshape(HEADS, SIZE).copy()
    for head in range(HEADS):
        plane = np.linalg.qr(rng.standard_normal((SIZE, 2)))[0]
        weight[:, head] = weight[:, head] @ plane @ plane.T
        bias[head] = bias[head] @ plane @ plane.T
    changed = {tensor: weight.reshape(UNITS, -1).astype(np.float32)} | (
        {"bq": bias.reshape(-1).astype(np.float32)} if tensor == "wq" else {}
    )
    planted = model.with_tensors(changed)
    done = operate(planted, Narrow(width_of(planted, tensor), 2), Calibration(planted, feeds(0)))
    assert_valid(done.model, like=planted)
    a, b = (Session(m).run(feeds(1))["y"] for m in (planted, done.model))
    assert np.abs(a - b).max() <= 1e-4 * np.abs(a).max()
    assert done.record.predicted_error <= 1e-3


@pytest.mark.parametrize("size", [1, 2, 3])
def test_scores_of_the_best_basis(size):
    """As near to the scores as the singular value decomposition says, and nearer than any two bases that were drawn."""
    model = attention()
    name = width_of(model, "wq")
    calibration = Calibration(model, feeds(0), holdout=feeds(1))
    done = operate(model, Narrow(name, size), calibration)
    known = Session(model, ["q", "k", "s"]).run(feeds(0))
    q, k = (known[n].astype(np.float64) for n in "qk")
    rows = [a.transpose(1, 0, *axes).reshape(HEADS, -1, SIZE) for a, axes in ((q, (2, 3)), (k, (3, 2)))]
    best, power = 0.0, 0.0
    for x, y in zip(*rows, strict=True):
        values = np.linalg.svd(np.linalg.qr(x)[1] @ np.linalg.qr(y)[1].T, compute_uv=False)
        best, power = best + float(np.square(values[size:]).sum()), power + float(np.square(values).sum())
    assert done.record.predicted_error == pytest.approx(np.sqrt(best / power), rel=0.25)
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.2)
    given, new = (Session(m, ["s"]).run(feeds(1))["s"] for m in (model, done.model))
    rng = np.random.default_rng(size)
    for _ in range(10):
        plane = np.linalg.qr(rng.standard_normal((SIZE, size)))[0]
        drawn = np.einsum("nhtd,de,fe,nhfs->nhts", *(a for a in (q, plane, plane, k)))
        drawn_error = np.linalg.norm(drawn - known["s"])
        assert np.linalg.norm(new - given) < drawn_error


def test_a_basis_costs_less_than_fewer_units():
    model = attention()
    for tensor in ("wq", "wv"):
        s = Structure(model)
        width = s.width(width_of(model, tensor))
        calibration = Calibration(model, feeds(0), holdout=feeds(1))
        contraction = contraction_of(s, width)
        assert contraction is not None
        cost = bases(contraction, s, calibration).cost
        assert np.all(np.diff(cost) >= 0)
        units = operate(attention("q2"), Narrow(width.name, 2), calibration).record.predicted_error
        if tensor == "wq":
            assert np.sqrt(cost[1]) < 0.7 * units
        record = operate(model, Narrow(width.name, 2), calibration).record
        assert record.site_error == pytest.approx(record.predicted_error, rel=0.2)


@pytest.mark.parametrize("query", ["q2", "q3"])
def test_units_stay_units_behind_what_is_not_linear(query):
    model = attention(query)
    s = Structure(model)
    for width in s.widths:
        if any(t == "wq" for t, _ in width.writers):
            assert contraction_of(s, width) is None


@pytest.mark.parametrize(
    ("name", "expected"), [("attention.legacy", {"q.inner", "v.inner"}), ("mlp_relu.legacy", set())]
)
def test_where_a_basis_may_change(name, expected):
    s = structure(name)
    assert {w.name for w in s.widths if w.resizable and contraction_of(s, w) is not None} == expected


def test_moments_go_through_the_same_bases():
    model = attention()
    done = operate(model, Narrow(width_of(model, "wq"), 3), Calibration(model, feeds(0)))
    rng = np.random.default_rng(0)
    moments = {
        kind: {t: rng.random(model.tensor(t).shape).astype(np.float32) for t in ("wq", "bq", "wk")} for kind in "mv"
    }
    moments["m"]["wq"] = model.tensor("wq")
    carried = carry(done.edit, moments)
    np.testing.assert_allclose(carried["m"]["wq"], done.model.tensor("wq"), rtol=1e-5, atol=1e-6)
    assert all(carried["v"][t].shape == done.model.tensor(t).shape and carried["v"][t].min() >= 0 for t in carried["v"])


def test_what_a_widening_added_goes_first():
    """Units without use cost nothing: those go, and what is left is as it was."""
    model = attention()
    name = width_of(model, "wq")
    wide = operate(model, Widen(name, 7), Calibration(model, feeds(0)))
    back = operate(wide.model, Narrow(name, SIZE), Calibration(model, feeds(0)))
    assert difference(model, back.model) <= 1e-5
    np.testing.assert_array_equal(back.model.tensor("wq"), model.tensor("wq"))


def test_every_occurrence_has_a_map_of_its_own():
    s = structure("attention.legacy")
    width = s.width("q.inner")
    (tensor, axis), *_ = (x for x in width.writers if s.model.tensor(x[0]).ndim == 2)
    term = s.term(tensor, axis)
    array = s.model.tensor(tensor)
    matrices = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    mapped = map_axis(array, axis, term, width.dim, Blockwise(matrices))
    expected = np.concatenate([array[:, 4 * h : 4 * h + 4] @ matrices[h].T for h in range(2)], axis=1)
    np.testing.assert_allclose(mapped, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(occurrences(term, width.dim), np.arange(8).reshape(2, 4))
