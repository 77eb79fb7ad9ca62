"""Factorized layers: exact on planted ranks, the best on the data, and only where they save."""

from __future__ import annotations

import re

import models
import numpy as np
import pytest
from checks import assert_valid, attempt, loaded, structure
from hypothesis import given
from hypothesis import strategies as st

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.surgery import Calibration, Factorize, operate
from pysurgeon.surgery.edits.apply import carry
from pysurgeon.surgery.layers.weight_matrices import form_of
from pysurgeon.surgery.operations.factorize import largest_rank
from pysurgeon.widths.structure import Structure

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
            reasons = ("too small", "used elsewhere", "not one number for each")
            assert any(r in str(done) for r in reasons), done
            continue
        assert_valid(done.model, like=model)
        assert layer.weight not in done.model.tensors()
        names = {x.name for x in Structure(done.model).layers}
        assert names == {x.name for x in s.layers} - {layer.name} | {f"{layer.name}.reduce", f"{layer.name}.expand"}
        saved = done.record.before.parameters - done.record.after.parameters
        form = form_of(s, layer)
        assert form.count * form.rows * form.columns == array.size
        assert saved == array.size - form.count * (form.rows + form.columns)
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
    "Conv 1 x 1, wider": ("float[N, 7, 4, 4] x", "float[N, 9, 4, 4] y", "y = Conv (x, w, b)", (9, 7, 1, 1), True),
    "Conv in groups": (
        "float[N, 10, 6, 6] x",
        "float[N, 14, 6, 6] y",
        "y = Conv <group = 2, kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)",
        (14, 5, 3, 3),
        True,
    ),
    "Conv in groups, 1 x 1, wider": (
        "float[N, 14, 4, 4] x",
        "float[N, 18, 4, 4] y",
        "y = Conv <group = 2> (x, w, b)",
        (18, 7, 1, 1),
        True,
    ),
    "Conv on one channel a group": (
        "float[N, 2, 6, 6] x",
        "float[N, 14, 6, 6] y",
        "y = Conv <group = 2, kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)",
        (14, 1, 3, 3),
        False,
    ),
    "ConvTranspose": (
        "float[N, 5, 3, 3] x",
        "float[N, 7, 7, 7] y",
        "y = ConvTranspose <kernel_shape = [3, 3], strides = [2, 2]> (x, w, b)",
        (5, 7, 3, 3),
        True,
    ),
    "ConvTranspose in groups": (
        "float[N, 6, 4] x",
        "float[N, 14, 8] y",
        "y = ConvTranspose <group = 2, kernel_shape = [3], strides = [2], pads = [1, 1], output_padding = [1]> (x, w, b)",
        (6, 7, 3),
        True,
    ),
    "ConvTranspose of a given size": (
        "float[N, 5, 3, 3] x",
        "float[N, 7, 8, 8] y",
        "y = ConvTranspose <kernel_shape = [3, 3], strides = [2, 2], output_shape = [8, 8]> (x, w)",
        (5, 7, 3, 3),
        False,
    ),
    "Gemm transA": ("float[9, 5] x", "float[5, 7] y", "y = Gemm <transA = 1, alpha = 0.5> (x, w, b)", (9, 7), True),
    "MatMul, wider": ("float[N, 7] x", "float[N, 9] y", "y = MatMul (x, w)", (7, 9), False),
    "MatMul by batches": ("float[N, 3, 4, 9] x", "float[N, 3, 4, 7] y", "y = MatMul (x, w)", (3, 9, 7), False),
    "MatMul by batches, wider": ("float[N, 3, 4, 7] x", "float[N, 3, 4, 9] y", "y = MatMul (x, w)", (3, 7, 9), False),
    "MatMul by batches on the left": (
        "float[N, 3, 9, 4] x",
        "float[N, 3, 7, 4] y",
        "y = MatMul (w, x)",
        (3, 7, 9),
        False,
    ),
    "MatMul by batches, transposed": (
        "float[N, 3, 4, 9] x",
        "float[N, 3, 4, 7] y",
        "v = Transpose <perm = [2, 0, 1]> (w) y = MatMul (x, v)",
        (9, 7, 3),
        False,
    ),
    "MatMul, many of one input": ("float[N, 1, 4, 9] x", "float[N, 3, 4, 7] y", "y = MatMul (x, w)", (3, 9, 7), False),
    "MatMul, many of one matrix": ("float[4, 9] x", "float[3, 4, 7] y", "y = MatMul (x, w)", (3, 9, 7), False),
    "MatMul with an axis of one": ("float[4, 9] x", "float[1, 4, 7] y", "y = MatMul (x, w)", (1, 9, 7), False),
    "MatMul with an axis of one beside others": (
        "float[N, 5, 4, 9] x",
        "float[N, 5, 4, 7] y",
        "y = MatMul (x, w)",
        (1, 1, 9, 7),
        False,
    ),
    "MatMul, as many of one input as it may be fed": (
        "float[L, 4, 9] x",
        "float[3, 4, 7] y",
        "y = MatMul (x, w)",
        (3, 9, 7),
        False,
    ),
    "MatMul of a vector": ("float[9] x", "float[7] y", "y = MatMul (x, w)", (9, 7), False),
    "MatMul of a vector on the left": ("float[9] x", "float[7] y", "y = MatMul (w, x)", (7, 9), False),
    "Einsum to heads": (
        "float[N, 4, 9] x",
        "float[N, 4, 3, 5] y",
        'y = Einsum <equation = "ntd,dhk->nthk"> (x, w)',
        (9, 3, 5),
        False,
    ),
    "Einsum from heads": (
        "float[N, 4, 3, 5] x",
        "float[N, 4, 9] y",
        'y = Einsum <equation = "nthk,hkd->ntd"> (x, w)',
        (3, 5, 9),
        False,
    ),
    "Einsum by heads": (
        "float[N, 4, 3, 9] x",
        "float[N, 3, 7, 4] y",
        'y = Einsum <equation = "hdk,nthd->nhkt"> (w, x)',
        (3, 9, 7),
        False,
    ),
    "Gather": ("int64[N, 4] x", "float[N, 4, 7] y", "y = Gather (w, x)", (12, 7), False),
    "Gather of a transposed table": (
        "int64[N, 4] x",
        "float[N, 4, 7] y",
        "v = Transpose (w) y = Gather (v, x)",
        (7, 12),
        False,
    ),
    "Gather of one": ("int64[N] x", "float[N, 7] y", "y = Gather <axis = 0> (w, x)", (12, 7), False),
    "LSTM": ("float[T, N, 9] x", "float[T, 1, N, 5] y", "y = LSTM <hidden_size = 5> (x, w, r, b)", (1, 20, 9), True),
    "LSTM in both directions": (
        "float[T, N, 9] x",
        "float[T, 2, N, 2] y",
        'y, , z = LSTM <hidden_size = 2, direction = "bidirectional"> (x, w, r)',
        (2, 8, 9),
        False,
    ),
    "GRU, its last state": (
        "float[T, N, 9] x",
        "float[1, N, 2] y",
        ", y = GRU <hidden_size = 2> (x, w, r, b)",
        (1, 6, 9),
        True,
    ),
    "RNN": ("float[T, N, 9] x", "float[T, 1, N, 7] y", "y = RNN <hidden_size = 7> (x, w, r)", (1, 7, 9), False),
}
RECURRENT = [k for k in KINDS if k.startswith(("LSTM", "GRU", "RNN"))]
LINEAR = [k for k in KINDS if k not in RECURRENT]


def layer_of(kind: str) -> Model:
    inputs, output, body, shape, biased = KINDS[kind]
    outputs = {int(x) for x in re.findall(r"\d+", output)} & {7, 9, 14, 18}
    weights = {"w": shape, **({"b": (max(outputs),)} if biased and outputs else {})}
    if kind in RECURRENT:
        hidden = int(output.rstrip(" y]").rpartition(" ")[2])
        weights |= {"r": (*shape[:2], hidden), **({"b": (shape[0], 2 * shape[1])} if biased else {})}
    return from_proto(
        models.parsed(f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({output}) {{ {body} }}', **weights)
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_planted_ranks_go_exactly(kind, rank):
    model = layer_of(kind)
    model = model.with_tensors({"w": planted_rank(model, rank)})
    name = Structure(model).layers[0].name
    done = operate(model, Factorize(name, rank), Calibration(model, feeds_of(model, 64, 0)))
    assert done.record.predicted_error <= 1e-3
    a, b = (Session(m).run(feeds_of(model, 16, 99)) for m in (model, done.model))
    assert output_error(a, b) <= 1e-5
    assert_valid(done.model, like=model)
    assert [o.name for o in done.model.outputs] == ["y"]


def planted_rank(model: Model, rank: int) -> Array:
    """The weight with every one of its matrices cut to a rank."""
    structure = Structure(model)
    array = model.tensor("w")
    form = form_of(structure, structure.layers[0])
    u, s, vt = np.linalg.svd(form.matrices(array), full_matrices=False)
    cut = form.stored((u[:, :, :rank] * s[:, None, :rank]) @ vt[:, :rank], array.shape)
    return np.ascontiguousarray(cut, dtype=np.float32)


def feeds_of(model: Model, batch: int, seed: int) -> dict[str, Array]:
    """Random input; tokens are drawn from the whole table, some more often than others."""
    feeds = random_feeds(model, batch=1 if "L" in str(model.ir.graph.inputs[0].shape) else batch, seed=seed)
    rng = np.random.default_rng(seed)
    often = np.geomspace(1, 0.05, 12)
    return {
        k: rng.choice(12, a.shape, p=often / often.sum()).astype(a.dtype) if a.dtype.kind == "i" else a
        for k, a in feeds.items()
    }


FIXED = (
    "Gemm transA",
    "MatMul, many of one matrix",
    "MatMul with an axis of one",
    "MatMul, as many of one input as it may be fed",
    "MatMul of a vector",
    "MatMul of a vector on the left",
)
FREE = [k for k in LINEAR if k not in FIXED]


@pytest.mark.parametrize("kind", FREE)
def test_the_prediction_is_the_error_on_other_samples(kind):
    """Of the layer's output before its bias, root mean square."""
    model = layer_of(kind)
    feeds, unseen = feeds_of(model, 300, 0), feeds_of(model, 2000, 1)
    done = operate(model, Factorize(Structure(model).layers[0].name, 2), Calibration(model, feeds, holdout=unseen))
    nothing = model.with_tensors({"w": np.zeros_like(model.tensor("w"))})
    a, b, bias = (Session(m).run(unseen)["y"].astype(np.float64) for m in (model, done.model, nothing))
    assert done.record.site_error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a - bias), rel=1e-5)
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.1)


@pytest.mark.parametrize("kind", RECURRENT)
def test_of_a_cell_the_error_is_that_of_what_its_gates_get(kind):
    model = layer_of(kind)
    feeds, unseen = anisotropic(model, 1, 300), anisotropic(model, 2, 300)
    name = Structure(model).layers[0].name
    done = operate(model, Factorize(name, 2), Calibration(model, feeds, holdout=unseen, axis=1))
    before = model.tensor("w").reshape(-1, 9).astype(np.float64)
    reduce, expand = (done.model.tensor(f"{name}.{p}.weight").astype(np.float64) for p in ("reduce", "expand"))
    after = expand.reshape(-1, 2) @ reduce.T
    a, b = unseen["x"] @ before.T, unseen["x"] @ after.T
    assert done.record.site_error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a), rel=1e-5)
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.1)
    u, s, vt = np.linalg.svd(before, full_matrices=False)
    plain = unseen["x"] @ ((u[:, :2] * s[:2]) @ vt[:2]).T
    assert np.linalg.norm(a - b) < 0.9 * np.linalg.norm(a - plain)


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_cell_takes_any_number_of_steps_and_keeps_what_it_had(kind):
    model = layer_of(kind)
    model = model.with_tensors({"w": planted_rank(model, 2)})
    done = operate(model, Factorize(Structure(model).layers[0].name, 2), Calibration(model, anisotropic(model, 1, 50)))
    moments = {k: {t: np.ones_like(model.tensor(t)) for t in model.tensors()} for k in ("m", "v")}
    carried = carry(done.edit, moments)
    for tensor in set(model.tensors()) & set(done.model.tensors()):
        np.testing.assert_array_equal(done.model.tensor(tensor), model.tensor(tensor))
        assert carried["m"][tensor].shape == carried["v"][tensor].shape == model.tensor(tensor).shape
    assert "r" in done.model.tensors()
    assert "w" not in done.model.tensors()
    for steps, batch in ((1, 1), (7, 3)):
        x = np.random.default_rng(steps).standard_normal((steps, batch, 9)).astype(np.float32)
        assert output_error(Session(model).run({"x": x}), Session(done.model).run({"x": x})) <= 1e-5


def two_steps(tokens: Array) -> dict[str, Array]:
    return {"x": tokens.reshape(-1, 4).astype(np.int64)}


def test_frequent_tokens_are_kept_best():
    model = layer_of("Gather")
    often = np.repeat(np.arange(3), 400)
    name = Structure(model).layers[0].name
    done = operate(model, Factorize(name, 3), Calibration(model, two_steps(np.concatenate([often, np.arange(12)]))))
    reduce, expand = (done.model.tensor(f"{name}.{p}.weight").astype(np.float64) for p in ("reduce", "expand"))
    lost = np.linalg.norm(reduce @ expand - model.tensor("w"), axis=1) / np.linalg.norm(model.tensor("w"), axis=1)
    assert lost[:3].max() < 0.1 < lost[3:].mean()


def test_tokens_that_do_not_occur_are_not_given_up():
    """Two tokens span two directions; what the third one holds is what it holds of all the others."""
    model = layer_of("Gather")
    name, table = Structure(model).layers[0].name, model.tensor("w").astype(np.float64)
    done = operate(model, Factorize(name, 3), Calibration(model, two_steps(np.tile([0, 1], 200))))
    reduce, expand = (done.model.tensor(f"{name}.{p}.weight").astype(np.float64) for p in ("reduce", "expand"))
    q = np.linalg.qr(table[:2].T)[0]
    others = table[2:] - table[2:] @ q @ q.T
    best = np.linalg.norm(others - others @ np.outer(*2 * [np.linalg.svd(others)[2][0]]))
    assert np.linalg.norm((reduce @ expand - table)[2:]) < 1.05 * best


def test_places_are_the_same_in_all_samples():
    """What does not depend on the input holds of other samples what it held of these."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, T, 7] x) => (float[N, T, 7] y)
                <int64 zero = {0}, int64 one = {1}> {
                s = Shape (x)
                t = Gather <axis = 0> (s, one)
                i = Range (zero, t, one)
                e = Gather (w, i)
                y = Add (x, e)
            }""",
            w=(32, 7),
        )
    )
    (layer,) = Structure(model).layers
    assert layer.operator == "Gather"
    done = operate(model, Factorize(layer.name, 3))
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=1e-3)
    assert done.record.predicted_error > 0.1


NOT_POSSIBLE = {
    "tied": (
        "int64[N] x",
        "float[N, 12] y",
        "h = Gather (w, x) v = Transpose (w) y = MatMul (h, v)",
        (12, 7),
        "used elsewhere",
    ),
    "table of matrices": ("int64[N] x", "float[N, 3, 7] y", "y = Gather (w, x)", (12, 3, 7), "3 axes"),
    "depthwise": (
        "float[N, 6, 8] x",
        "float[N, 6, 6] y",
        "y = Conv <group = 6> (x, w)",
        (6, 1, 3),
        "6 matrices, each 1 x 3",
    ),
    "vector": ("float[N, 9] x", "float[N] y", "y = MatMul (x, w)", (9,), "vector"),
    "sums the data": (
        "float[N, 4, 9] x",
        "float[N, 7] y",
        'y = Einsum <equation = "ntd,dk->nk"> (x, w)',
        (9, 7),
        "ntd,dk->nk",
    ),
    "sums the weight": ("float[N, 9] x", "float[N] y", 'y = Einsum <equation = "nd,dk->n"> (x, w)', (9, 7), "nd,dk->n"),
    "stretched": ("float[N, 1] x", "float[N, 7] y", 'y = Einsum <equation = "nd,dk->nk"> (x, w)', (9, 7), "nd,dk->nk"),
    "double": (
        "double[N, 9] x",
        "double[N, 7] y",
        "h = Cast <to = 11> (w) y = MatMul (x, h)",
        (9, 7),
        "not float32",
    ),
}


@pytest.mark.parametrize("kind", NOT_POSSIBLE)
def test_what_cannot_be_factorized_says_why(kind):
    inputs, output, body, shape, reason = NOT_POSSIBLE[kind]
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({output}) {{ {body} }}'
    model = from_proto(models.parsed(text, w=shape))
    with pytest.raises(Refused, match=reason):
        operate(model, Factorize(Structure(model).layers[0].name, 1))


NO_LAYER = {
    "another axis": ("int64[N] x", "float[12, N] y", "y = Gather <axis = 1> (w, x)", (12, 7)),
    "constant places": ("float[3, 7] x", "float[3, 7] y", "h = Gather (w, places) y = Add (x, h)", (12, 7)),
    "a list of numbers": ("int64[N] x", "float[N] y", "y = Gather (w, x)", (12,)),
}


@pytest.mark.parametrize("kind", NO_LAYER)
def test_not_all_that_picks_elements_is_a_layer(kind):
    inputs, output, body, shape = NO_LAYER[kind]
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({output}) <int64[3] places = {{1, 0, 5}}> {{ {body} }}'
    assert Structure(from_proto(models.parsed(text, w=shape))).layers == ()


def test_a_table_that_is_an_input_too_is_a_layer():
    model = models.parsed(
        '<ir_version: 3, opset_import: ["" : 17]> g (int64[N] x, float[12, 7] w) => (float[N, 7] y) { y = Gather (w, x) }',
        w=(12, 7),
    )
    model.ir_version = 8
    assert [x.weight for x in Structure(from_proto(model)).layers] == ["w"]


def test_a_bias_for_every_sample_is_refused():
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[5, 9] x) => (float[5, 7] y) { y = Gemm (x, w, b) }'
    model = from_proto(models.parsed(text, w=(9, 7), b=(5, 7)))
    with pytest.raises(Refused, match="not one number for each of its outputs"):
        operate(model, Factorize("y", 2))


def test_fused_queries_keys_and_values_are_one_matrix():
    """Its directions are those of all three together."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 5, 9] x) => (float[N, 5, 9] y)
                <int64[3] parts = {9, 9, 9}> {
                h = MatMul (x, w)
                q, k, v = Split <axis = 2> (h, parts)
                t = Transpose <perm = [0, 2, 1]> (k)
                s = MatMul (q, t)
                p = Softmax <axis = -1> (s)
                y = MatMul (p, v)
            }""",
            w=(9, 27),
        )
    )
    calibration = Calibration(model, feeds_of(model, 200, 1), holdout=feeds_of(model, 200, 2))
    (layer,) = Structure(model).layers
    done = operate(model, Factorize(layer.name, 5), calibration)
    assert done.model.tensor(f"{layer.name}.expand.weight").shape == (5, 27)
    assert 0.01 < done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.1)


def anisotropic(model: Model, seed: int, batch: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    dims = model.inputs[0].shape
    if dims[1] is None:  # steps come first
        shape: tuple[int, ...] = (6, batch, dims[2] or 0)
        return {"x": (rng.standard_normal(shape) * _scales(shape[2])).astype(np.float32)}
    shape = (batch, *[int(d) for d in dims[1:] if d is not None])
    return {
        "x": (rng.standard_normal(shape) * _scales(shape[1]).reshape(-1, *[1] * (len(shape) - 2))).astype(np.float32)
    }


def _scales(units: int) -> Array:
    return np.random.default_rng(99).permutation(np.geomspace(0.02, 3.0, units))


@pytest.mark.parametrize(
    "kind", ["Gemm", "Gemm transB", "MatMul", "MatMul, wider", "MatMul transposed", "Conv 1 x 1", "Conv 1 x 1, wider"]
)
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


@pytest.mark.parametrize("kind", ["MatMul", "MatMul, wider"])
def test_directions_that_were_not_seen_are_those_of_the_weight(kind):
    """Two samples show two directions; the third one is that which the weight holds most of beside them."""
    model = layer_of(kind)
    feeds = random_feeds(model, batch=2, seed=0)
    done = operate(model, Factorize("y", 3), Calibration(model, feeds, holdout=random_feeds(model, seed=1)))
    reduce, expand = (done.model.tensor(f"y.{p}.weight").astype(np.float64) for p in ("reduce", "expand"))
    weight = model.tensor("w").astype(np.float64)
    q = np.linalg.qr((feeds["x"] @ weight).T)[0]
    rest = weight - weight @ q @ q.T
    best = np.linalg.norm(rest - rest @ np.outer(*2 * [np.linalg.svd(rest)[2][0]]))
    assert np.linalg.norm(reduce @ expand - weight) <= 1.001 * best
    a, b = (Session(m).run(feeds)["y"] for m in (model, done.model))
    assert output_error({"y": a}, {"y": b}) <= 1e-3


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


@pytest.mark.parametrize("opset", [7, 9, 10, 11])
@pytest.mark.parametrize("attributes", ["transB = 0", "transA = 1"])
def test_a_gemm_of_an_old_file(opset, attributes):
    """Before opset 11 every Gemm had to add something."""
    text = f"""<ir_version: 4, opset_import: ["" : {opset}]> g (float[12, 12] x) => (float[12, 10] y) {{
        h = Gemm <{attributes}> (x, w, b)
        y = Relu (h)
    }}"""
    model = from_proto(models.parsed(text, w=(12, 10), b=(10,)))
    done = operate(model, Factorize("h", 3))
    assert_valid(done.model, like=model)
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=0.2)


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


def test_every_kind_of_layer_has_a_form_and_two_steps():
    from pysurgeon.operators import OPERATORS
    from pysurgeon.surgery.layers.weight_matrices import _FORMS
    from pysurgeon.surgery.operations.factorize import _STEPS

    layers = {name for (_, name), operator in OPERATORS.items() if operator.weights}
    assert layers == set(_FORMS) == set(_STEPS)
