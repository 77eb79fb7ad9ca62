"""Factorized layers: exact on planted ranks, the best on the data, and only where they save."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import assert_valid, attempt, difference, loaded, structure
from hypothesis import given
from hypothesis import strategies as st

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, Model, from_proto
from pysurgeon.graph.session import Session, random_feeds
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import Calibration, Factorize, operate
from pysurgeon.surgery.factorize import largest_rank

SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in models.NEW_EXPORTER]


@pytest.mark.parametrize("name", [*models.RUNNABLE, "cnn_bn.training", "mixer.training", *SLOW])
def test_every_layer_of_every_model(name):
    model, s = loaded(name), structure(name)
    before = model.to_bytes()
    calibration = Calibration(model)
    for layer in s.layers:
        array = model.tensor(layer.weight)
        done = attempt(model, Factorize(layer.name, 1), calibration)
        if isinstance(done, Refused):
            reasons = ("too small", "grouped", "float64", "used elsewhere", "inside Gemm")
            assert any(r in str(done) for r in reasons), done
            continue
        assert_valid(done.model, like=model)
        assert layer.weight not in done.model.tensors()
        names = {x.name for x in Structure(done.model).layers}
        assert names == {x.name for x in s.layers} - {layer.name} | {f"{layer.name}.reduce", f"{layer.name}.expand"}
        saved = done.record.before.parameters - done.record.after.parameters
        rows = array.shape[0] if layer.operator == "Conv" else min(array.shape)
        assert saved == array.size - rows - array.size // rows
        assert not done.record.exact
        for batch in (1, 3):
            feeds = random_feeds(model, batch=batch, seed=5)
            a, b = Session(model).run(feeds), Session(done.model).run(feeds)
            assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    assert model.to_bytes() == before


@given(m=st.integers(1, 40), n=st.integers(1, 40))
def test_the_largest_rank_is_the_last_that_saves(m, n):
    r = largest_rank((m, n))
    assert r * (m + n) < m * n or r == 0
    assert (r + 1) * (m + n) >= m * n


@pytest.mark.parametrize("rank", [-1, 0, 5, 100])
def test_ranks_that_save_nothing(rank):
    with pytest.raises(Refused, match=r"for ranks 1\.\.4"):
        operate(loaded("cnn.legacy"), Factorize("2", rank))


def test_layers_too_small():
    with pytest.raises(Refused, match="too small"):
        operate(loaded("one_unit.legacy"), Factorize("3", 1))


KINDS = {
    "MatMul": ("float[N, 9] x", "float[N, 7] y", "y = MatMul (x, w)", (9, 7), False),
    "MatMul and tokens": ("float[N, 4, 9] x", "float[N, 4, 7] y", "h = MatMul (x, w) y = Add (h, b)", (9, 7), True),
    "MatMul on the left": ("float[N, 9, 4] x", "float[N, 7, 4] y", "y = MatMul (w, x)", (7, 9), False),
    "MatMul transposed": ("float[N, 9] x", "float[N, 7] y", "v = Transpose (w) y = MatMul (x, v)", (7, 9), False),
    "Gemm": ("float[N, 9] x", "float[N, 7] y", "y = Gemm (x, w)", (9, 7), False),
    "Gemm with a bias": ("float[N, 9] x", "float[N, 7] y", "y = Gemm <beta = 0.25> (x, w, b)", (9, 7), True),
    "Gemm transB": ("float[N, 9] x", "float[N, 7] y", "y = Gemm <transB = 1> (x, w, b)", (7, 9), True),
    "Conv 1 x 1": ("float[N, 9, 4, 4] x", "float[N, 7, 4, 4] y", "y = Conv (x, w, b)", (7, 9, 1, 1), True),
    "Conv 3 x 3": (
        "float[N, 3, 6, 6] x",
        "float[N, 7, 3, 3] y",
        "y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (x, w, b)",
        (7, 3, 3, 3),
        True,
    ),
    "Conv dilated": (
        "float[N, 3, 7, 6] x",
        "float[N, 7, 3, 4] y",
        "y = Conv <kernel_shape = [3, 3], dilations = [2, 1]> (x, w)",
        (7, 3, 3, 3),
        False,
    ),
    "Conv 1-d": (
        "float[N, 3, 8] x",
        "float[N, 7, 8] y",
        'y = Conv <auto_pad = "SAME_UPPER"> (x, w, b)',
        (7, 3, 5),
        True,
    ),
}


def layer_of(kind: str) -> Model:
    inputs, output, body, shape, biased = KINDS[kind]
    weights = {"w": shape, **({"b": (7,)} if biased else {})}
    return from_proto(
        models.parsed(f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({output}) {{ {body} }}', **weights)
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_planted_ranks_go_exactly(kind, rank):
    model = layer_of(kind)
    array = model.tensor("w")
    matrix = array.reshape(array.shape[0], -1)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    planted = ((u[:, :rank] * s[:rank]) @ vt[:rank]).reshape(array.shape).astype(np.float32)
    model = model.with_tensors({"w": planted})
    name = Structure(model).layers[0].name
    done = operate(model, Factorize(name, rank))
    assert done.record.predicted_error <= 1e-3
    assert difference(model, done.model) <= 1e-5
    assert_valid(done.model, like=model)
    assert [o.name for o in done.model.outputs] == ["y"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_is_the_error_on_other_samples(kind):
    """Of the layer's output before its bias, root mean square."""
    model = layer_of(kind)
    feeds, unseen = random_feeds(model, batch=200, seed=0), random_feeds(model, batch=2000, seed=1)
    calibration = Calibration(model, feeds, unseen=unseen)
    done = operate(model, Factorize(Structure(model).layers[0].name, 2), calibration)
    bias = model.tensor("b").astype(np.float64) if "b" in model.tensors() else np.zeros(7)
    bias *= 0.25 if kind == "Gemm with a bias" else 1.0
    axis = 1 if kind.startswith(("Conv", "MatMul on")) else -1
    a, b = (np.moveaxis(Session(m).run(unseen)["y"].astype(np.float64), axis, -1) for m in (model, done.model))
    assert done.record.site_error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a - bias), rel=1e-5)
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.08)


def anisotropic(model: Model, seed: int, batch: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shape = (batch, *[int(d) for d in model.inputs[0].shape[1:] if d is not None])
    scales = np.random.default_rng(99).permutation(np.geomspace(0.02, 3.0, shape[1]))
    return {"x": (rng.standard_normal(shape) * scales.reshape(-1, *[1] * (len(shape) - 2))).astype(np.float32)}


@pytest.mark.parametrize("kind", ["Gemm", "Gemm transB", "MatMul", "MatMul transposed", "Conv 1 x 1"])
def test_whitening_beats_the_plain_svd(kind):
    model = layer_of(kind)
    done = operate(model, Factorize(Structure(model).layers[0].name, 3), Calibration(model, anisotropic(model, 1, 300)))
    array = model.tensor("w")
    matrix = array.reshape(array.shape[0], -1).astype(np.float64)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    plain = model.with_tensors({"w": ((u[:, :3] * s[:3]) @ vt[:3]).reshape(array.shape).astype(np.float32)})
    fresh = anisotropic(model, 2, 300)
    reference = Session(model).run(fresh)["y"]
    errors = [float(np.linalg.norm(Session(m).run(fresh)["y"] - reference)) for m in (done.model, plain)]
    assert errors[0] < 0.9 * errors[1]


def test_a_bias_does_not_decide_the_directions():
    """A large bias is a direction of the outputs that the factors need not have."""
    model = layer_of("Gemm with a bias")
    model = model.with_tensors({"b": np.full(7, 100.0, np.float32)})
    plain = model.with_tensors({"b": np.zeros(7, np.float32)})
    name = Structure(model).layers[0].name
    a, b = (operate(m, Factorize(name, 2), Calibration(m)).model for m in (model, plain))
    first = next(t for t in a.tensors() if "reduce" in t)
    np.testing.assert_allclose(np.abs(a.tensor(first)), np.abs(b.tensor(first)), rtol=1e-2, atol=1e-3)


def test_factors_are_balanced():
    done = operate(loaded("cnn.legacy"), Factorize("2", 3))
    reduce, expand = (done.model.tensor(f"2.{p}.weight") for p in ("reduce", "expand"))
    np.testing.assert_allclose(
        np.linalg.norm(reduce.reshape(3, -1), axis=1), np.linalg.norm(expand.reshape(5, 3), axis=0), rtol=1e-4
    )


def test_the_last_layer_keeps_the_name_of_the_output():
    model = loaded("mlp_relu.legacy")
    done = operate(model, Factorize("5", 2))
    assert [o.name for o in done.model.outputs] == ["logits"]
    assert_valid(done.model, like=model)
    again = operate(done.model, Factorize("3", 2))
    assert_valid(again.model, like=model)


def test_a_bias_that_is_computed_is_not_lost():
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 9] x) => (float[N, 7] y) {
                c = Exp (b)
                y = Gemm (x, w, c)
            }""",
            w=(9, 7),
            b=(7,),
        )
    )
    with pytest.raises(Refused, match="bias of layer 'y' is computed"):
        operate(model, Factorize("y", 2))
