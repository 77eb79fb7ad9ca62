"""Inserted layers change nothing, and can learn."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import assert_same_function, assert_valid, attempt, difference, loaded, structure
from kinds import network

from pysurgeon.errors import Refused
from pysurgeon.model import Model, from_proto
from pysurgeon.surgery import InsertLayer, operate, parse
from pysurgeon.widths.structure import Structure

SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in models.NEW_EXPORTER]


@pytest.mark.parametrize("name", [*models.RUNNABLE, "cnn_bn.training", "mobile.training", "conv1d.training", *SLOW])
def test_behind_every_layer(name):
    model, s = loaded(name), structure(name)
    before = model.to_bytes()
    inserted = 0
    for layer in s.layers:
        done = attempt(model, InsertLayer(layer.name))
        if isinstance(done, Refused):
            assert "must stay what it is" in str(done) or "not float32" in str(done)
            continue
        inserted += 1
        assert_same_function(name, done.model, tolerance=1e-5)
        assert_valid(done.model, like=model)
        assert done.record.exact
        assert set(model.tensors()) <= set(done.model.tensors())
        new = set(done.model.trainable()) - set(model.trainable())
        assert len(new) in (2, 4)
        assert {x.name for x in s.layers} < {x.name for x in Structure(done.model).layers}
        twice = operate(done.model, InsertLayer(layer.name)).model
        assert_same_function(name, twice, tolerance=1e-5)
    assert inserted or len(s.layers) == 1
    assert model.to_bytes() == before


@pytest.mark.parametrize(
    ("body", "identity"),
    [
        ("t = Relu (h)", True),
        ("t = Clip (h, zero, six)", True),
        ("t = Clip (h, zero)", True),
        ("t = Clip (h, minus, six)", True),
        ("t = Clip (h)", False),
        ("t = Tanh (h)", False),
        ("t = Gelu (h)", False),
        ("t = LeakyRelu (h)", False),
        ("t = Softplus (h)", False),
        ("s = Sigmoid (h) t = Mul (h, s)", False),
        ("t = Identity (h)", False),
        ("n = BatchNormalization (h, scale, shift, mean, var) t = Relu (n)", True),
        ("n = BatchNormalization (h, scale, shift, mean, var) t = Tanh (n)", False),
        ("i = Add (h, shift) t = Relu (i)", True),
        ("t = PRelu (h, slope)", False),
    ],
)
@pytest.mark.parametrize("kind", ["dense", "tokens", "image"])
def test_behind_every_activation(body, identity, kind):
    shape = {"dense": "N, 3", "tokens": "N, 5, 3", "image": "N, 3, 6, 6"}[kind]
    out = {"dense": "N, 2", "tokens": "N, 5, 2", "image": "N, 2, 6, 6"}[kind]
    if kind == "tokens" and "BatchNorm" in body:
        pytest.skip("its channels are the second axis")
    one = (4, 1, 1) if kind == "image" else (4,)
    layer = "Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>" if kind == "image" else "MatMul"
    weights = {"w1": (4, 3, 3, 3), "w2": (2, 4, 3, 3)} if kind == "image" else {"w1": (3, 4), "w2": (4, 2)}
    if "Add" in body:
        weights["shift"] = one
    else:
        weights |= dict.fromkeys(("scale", "shift", "mean", "var"), (4,))
    proto = models.parsed(
        f"""<ir_version: 9, opset_import: ["" : 20]> g (float[{shape}] x) => (float[{out}] y)
        <float zero = {{0.0}}, float six = {{6.0}}, float minus = {{-1.0}}> {{
            h = {layer} (x, w1)
            {body}
            y = {layer} (t, w2)
        }}""",
        **weights,
        slope=one,
    )
    for tensor in proto.graph.initializer:
        if tensor.name == "var":
            from onnx import numpy_helper

            tensor.CopyFrom(numpy_helper.from_array(np.abs(numpy_helper.to_array(tensor)) + 0.5, "var"))
    model = from_proto(proto)
    done = operate(model, InsertLayer("h"))
    assert ("identity" in done.record.reason) is identity
    assert difference(model, done.model) <= 1e-5
    assert_valid(done.model, like=model)


def loss_gradients(model: Model, name: str) -> float:
    """Change of a random linear functional of the output with the elements of a tensor, by central differences."""
    from pysurgeon.model.feeds import random_feeds
    from pysurgeon.model.session import Session

    feeds = random_feeds(model, batch=8, seed=1)
    rng = np.random.default_rng(2)
    array = model.tensor(name)
    direction = rng.standard_normal(array.shape).astype(np.float32)
    values = [
        Session(model.with_tensors({name: array + sign * 1e-2 * direction})).run(feeds)["logits"].astype(np.float64)
        for sign in (1, -1)
    ]
    return float(np.abs(values[0] - values[1]).max() / 2e-2)


@pytest.mark.parametrize(
    ("name", "layer"), [("mlp_tanh.legacy", "1"), ("cnn_silu.legacy", "0"), ("mixer.legacy", "down1")]
)
def test_a_residual_branch_can_learn_at_once(name, layer):
    """Its last weight has a gradient from the start; with that weight moved, its first one has, too."""
    done = operate(loaded(name), InsertLayer(layer))
    first, last = (next(t for t in done.model.tensors() if t.endswith(f"{b}.weight")) for b in (".branch1", ".branch2"))
    assert not done.model.tensor(last).any()
    assert done.model.tensor(first).any()
    assert loss_gradients(done.model, last) > 1e-3
    assert loss_gradients(done.model, first) == 0.0
    moved = done.model.with_tensors({last: np.full_like(done.model.tensor(last), 0.1)})
    assert loss_gradients(moved, first) > 1e-3


def test_an_identity_layer_can_learn_at_once():
    done = operate(loaded("cnn.legacy"), InsertLayer("0"))
    assert loss_gradients(done.model, "0.next.weight") > 1e-3
    taps = done.model.tensor("0.next.weight")
    assert taps.shape == (6, 6, 3, 3)
    expected = np.zeros_like(taps)
    expected[np.arange(6), np.arange(6), 1, 1] = 1
    np.testing.assert_array_equal(taps, expected)


def test_kernels_of_the_new_layer():
    model = loaded("mobile.legacy")
    assert operate(model, InsertLayer("expand")).model.tensor("expand.next.weight").shape == (8, 8, 1, 1)
    assert operate(model, InsertLayer("depth")).model.tensor("depth.next.weight").shape == (8, 8, 3, 3)


def test_all_users_see_the_new_layer():
    """Both branches and the shortcut read behind the inserted layer."""
    model = loaded("residual.legacy")
    done = operate(model, InsertLayer("2.conv2"))
    s = Structure(done.model)
    new = s.layer("2.conv2.branch1")
    users = {n.op_type for n, _ in new.data.uses()}
    assert users == {"Conv", "Add"}


def test_seeds_decide():
    model = loaded("mlp_tanh.legacy")
    a, b, c = (operate(model, InsertLayer("1", seed=s)).model.to_bytes() for s in (1, 1, 2))
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("kind", "layer", "shape"),
    [
        ("transposed", "up", (5, 5, 3, 3)),
        ("transposed", "same", (6, 6, 3, 3)),
        ("embedding", "table", (7, 7)),
        ("cell", "cell", (5, 5)),
        ("state", "state", (5, 5)),
        ("einsum", "apart", (3, 3)),
        ("einsum", "joined", (5, 5)),
    ],
)
def test_behind_layers_that_are_no_plain_matrix(kind, layer, shape):
    """Along the units, whatever else the value has; and taken back."""
    model = network(kind)
    done = operate(model, InsertLayer(layer))
    added = {done.model.tensor(t).shape for t in done.edit.added if t.endswith("weight")}
    assert added == {shape}
    assert_valid(done.model, like=model)
    assert difference(model, done.model) <= 1e-6
    back = operate(done.model, parse(done.record.undo))
    assert difference(model, back.model) <= 1e-6
