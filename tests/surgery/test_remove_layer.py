"""Removing a layer: the readers are refitted on what went into it."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import assert_valid, attempt, difference, loaded, structure
from kinds import network

from pysurgeon.errors import Refused
from pysurgeon.model import from_proto
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session
from pysurgeon.surgery import Calibration, RemoveLayer, operate
from pysurgeon.widths.structure import Structure

SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in models.NEW_EXPORTER]
REASONS = (
    "must stay what it is",
    "only the number of units may change",
    "writes a width that",
    "cannot be refitted",
    "is not one width",
    "would give outputs that are infinite",
)


@pytest.mark.parametrize("name", [*models.RUNNABLE, "cnn_bn.training", "mixer.training", *SLOW])
def test_every_layer_of_every_model(name):
    model, s = loaded(name), structure(name)
    before = model.to_bytes()
    calibration = Calibration(model)
    for layer in s.layers:
        done = attempt(model, RemoveLayer(layer.name), calibration)
        if isinstance(done, Refused):
            assert any(r in str(done) for r in REASONS), done
            continue
        assert_valid(done.model, like=model)
        gone = {x.name for x in s.layers} - {x.name for x in Structure(done.model).layers}
        assert layer.name in gone
        if len(gone) > 1:
            assert f"the residual branch of {len(gone)} layers" in done.record.reason
        assert layer.weight not in done.model.tensors()
        assert not done.record.exact
        assert 0 <= done.record.predicted_error <= 1 + 1e-6
        for batch in (1, 3):
            Session(done.model).run(random_feeds(model, batch=batch, seed=5))
    assert model.to_bytes() == before


@pytest.mark.parametrize(
    "name",
    ["mlp_relu", "cnn", "cnn_bn", "dense_net", "inception", "grouped", "mobile", "tokens", "flatten_nhwc", "mixer"],
)
def test_something_can_be_removed_or_says_why(name):
    model = loaded(f"{name}.legacy")
    outcomes = [attempt(model, RemoveLayer(layer.name)) for layer in structure(f"{name}.legacy").layers]
    assert any(not isinstance(o, Refused) for o in outcomes) or name == "tokens"


LINEAR = {
    "affine": (
        "float[N, 6] x",
        "float[N, 3] y",
        "a = Gemm (x, w0) u = Relu (a) h = Gemm (u, w1, b1) t = Identity (h) y = Gemm <transB = 1> (t, w2, b2)",
        {"w0": (6, 5), "w1": (5, 8), "b1": (8,), "w2": (3, 8), "b2": (3,)},
    ),
    "affine tokens": (
        "float[N, 4, 6] x",
        "float[N, 4, 3] y",
        "a = MatMul (x, w0) u = Relu (a) h = MatMul (u, w1) i = Add (b1, h) j = MatMul (i, w2) y = Add (j, b2)",
        {"w0": (6, 5), "w1": (5, 8), "b1": (8,), "w2": (8, 3), "b2": (3,)},
    ),
    "affine pixels": (
        "float[N, 2, 5, 5] x",
        "float[N, 3, 3, 3] y",
        "a = Conv (x, w0) u = Relu (a) h = Conv (u, w1, b1) y = Conv <kernel_shape = [3, 3]> (h, w2, b2)",
        {"w0": (4, 2, 1, 1), "w1": (6, 4, 1, 1), "b1": (6,), "w2": (3, 6, 3, 3), "b2": (3,)},
    ),
    "affine, flattened": (
        "float[N, 2, 3, 3] x",
        "float[N, 3] y",
        (
            "a = Conv (x, w0) u = Relu (a) h = Conv (u, w1, b1) p = Transpose <perm = [0, 2, 3, 1]> (h) f = Flatten (p) "
            "y = Gemm (f, w2, b2)"
        ),
        {"w0": (4, 2, 1, 1), "w1": (6, 4, 1, 1), "b1": (6,), "w2": (54, 3), "b2": (3,)},
    ),
    "affine, concatenated": (
        "float[N, 6] x",
        "float[N, 3] y",
        "a = MatMul (x, w0) u = Relu (a) h = Gemm (u, w1, b1) t = Concat <axis = 1> (u, h) y = Gemm (t, w2, b2)",
        {"w0": (6, 5), "w1": (5, 8), "b1": (8,), "w2": (13, 3), "b2": (3,)},
    ),
    "affine, in groups": (
        "float[N, 2, 3, 3] x",
        "float[N, 4, 3, 3] y",
        "a = Conv (x, w0) u = Relu (a) h = Conv (u, w1, b1) d = Conv (h, w2, b2) e = Relu (d) y = Conv <group = 2> (e, w3, b3)",
        {
            "w0": (4, 2, 1, 1),
            "w1": (6, 4, 1, 1),
            "b1": (6,),
            "w2": (6, 6, 1, 1),
            "b2": (6,),
            "w3": (4, 3, 1, 1),
            "b3": (4,),
        },
    ),
    "dense": (
        "float[N, 6] x",
        "float[N, 3] y",
        "a = MatMul (x, w0) u = Relu (a) h = MatMul (u, w1) t = Identity (h) y = MatMul (t, w2)",
        {"w0": (6, 5), "w1": (5, 8), "w2": (8, 3)},
    ),
    "from the input": (
        "float[N, 6] x",
        "float[N, 3] y",
        "h = MatMul (x, w1) y = MatMul (h, w2)",
        {"w1": (6, 8), "w2": (8, 3)},
    ),
    "Gemm": (
        "float[N, 6] x",
        "float[N, 3] y",
        "a = Gemm <transB = 1> (x, w0, b0) u = Relu (a) h = Gemm (u, w1) y = Gemm <transB = 1> (h, w2, b2)",
        {"w0": (5, 6), "b0": (5,), "w1": (5, 8), "w2": (3, 8), "b2": (3,)},
    ),
    "1 x 1": (
        "float[N, 2, 5, 5] x",
        "float[N, 3, 5, 5] y",
        "a = Conv (x, w0) u = Relu (a) h = Conv (u, w1) y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h, w2)",
        {"w0": (4, 2, 1, 1), "w1": (6, 4, 1, 1), "w2": (3, 6, 3, 3)},
    ),
    "flattened": (
        "float[N, 2, 3, 3] x",
        "float[N, 3] y",
        "a = Conv (x, w0) u = Relu (a) h = Conv (u, w1) f = Flatten (h) y = Gemm (f, w2)",
        {"w0": (4, 2, 1, 1), "w1": (6, 4, 1, 1), "w2": (54, 3)},
    ),
    "flattened the other way": (
        "float[N, 2, 3, 3] x",
        "float[N, 3] y",
        "a = Conv (x, w0) u = Relu (a) h = Conv (u, w1) p = Transpose <perm = [0, 2, 3, 1]> (h) f = Flatten (p) y = Gemm (f, w2)",
        {"w0": (4, 2, 1, 1), "w1": (6, 4, 1, 1), "w2": (54, 3)},
    ),
    "concatenated": (
        "float[N, 6] x",
        "float[N, 3] y",
        "a = MatMul (x, w0) u = Relu (a) h = MatMul (u, w1) t = Concat <axis = 1> (u, h) y = MatMul (t, w2)",
        {"w0": (6, 5), "w1": (5, 8), "w2": (13, 3)},
    ),
    "two readers": (
        "float[N, 6] x",
        "float[N, 3] y",
        "a = MatMul (x, w0) u = Relu (a) h = MatMul (u, w1) p = MatMul (h, w2) q = MatMul (h, w3) y = Add (p, q)",
        {"w0": (6, 5), "w1": (5, 8), "w2": (8, 3), "w3": (8, 3)},
    ),
}


@pytest.mark.parametrize("kind", LINEAR)
def test_a_linear_layer_goes_exactly(kind):
    inputs, output, body, weights = LINEAR[kind]
    model = from_proto(
        models.parsed(f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({output}) {{ {body} }}', **weights)
    )
    done = operate(model, RemoveLayer("h"))
    assert done.record.predicted_error <= 1e-4
    assert difference(model, done.model) <= 1e-5
    assert_valid(done.model, like=model)
    assert "w1" not in done.model.tensors()


def test_an_activation_that_is_linear_on_the_data():
    """Units that are always awake: relu does nothing there."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 6] x) => (float[N, 3] y) {
                a = MatMul (x, w0) u = Sigmoid (a) h = MatMul (u, w1) t = Relu (h) y = MatMul (t, w2)
            }""",
            w0=(6, 5),
            w1=(5, 8),
            w2=(8, 3),
        )
    )
    model = model.with_tensors({"w1": np.abs(model.tensor("w1"))})
    assert difference(model, operate(model, RemoveLayer("h")).model) <= 1e-5


def test_the_share_that_is_explained_ranks_the_sites():
    """The less of relu is shifted out of the way by a bias, the less is explained; far out it is linear."""
    errors = []
    for shift in (8.0, 0.5, 0.0):
        model = from_proto(
            models.parsed(
                """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 6] x) => (float[N, 3] y) {
                    a = MatMul (x, w0)
                    u = Sigmoid (a)
                    h = MatMul (u, w1)
                    i = Add (h, b)
                    t = Relu (i)
                    j = MatMul (t, w2)
                    y = Add (j, b2)
                }""",
                w0=(6, 5),
                w1=(5, 8),
                b=(8,),
                w2=(8, 3),
                b2=(3,),
            )
        ).with_tensors({"b": np.full(8, shift, np.float32)})
        done = operate(model, RemoveLayer("h"))
        errors.append(done.record.predicted_error)
        assert (difference(model, done.model) <= 1e-5) is (shift == 8.0)
    assert errors == sorted(errors)
    assert errors[0] < 1e-5
    assert errors[-1] > 0.01


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("mlp_relu.legacy", "5", "gives the model's output"),
        ("residual.legacy", "3.conv1", "(N, 4, 6, 6) into (N, 6, 3, 3)"),
        ("dense_net.legacy", "stem", "a width that 'norm.weight' writes, too"),
        ("grouped.legacy", "2", "is not one width"),
        ("softmax.legacy", "3", "Softmax"),
    ],
)
def test_refusals(name, layer, reason):
    with pytest.raises(Refused) as refusal:
        operate(loaded(name), RemoveLayer(layer))
    assert reason in str(refusal.value)


BRANCHES = [
    ("residual.legacy", "2.conv2", {"2.conv1", "2.conv2"}),
    ("residual.dynamo", "2.conv2", {"2.conv1", "2.conv2"}),
    ("mixer.legacy", "down1", {"up1", "down1"}),
]


@pytest.mark.parametrize(("name", "layer", "gone"), BRANCHES)
def test_a_residual_branch_goes_as_a_whole(name, layer, gone):
    """What is left of it is its mean; the prediction is the error of the sum."""
    model, s = loaded(name), structure(name)
    if layer not in {x.name for x in s.layers}:
        pytest.skip(f"no {layer} in {[x.name for x in s.layers]}")
    feeds = random_feeds(model, batch=64, seed=0)
    done = operate(model, RemoveLayer(layer), Calibration(model, feeds))
    assert {x.name for x in s.layers} - {x.name for x in Structure(done.model).layers} == gone
    assert f"branch of {len(gone)} layers" in done.record.reason
    assert done.record.predicted_error == pytest.approx(done.record.site_error, rel=1e-4)
    assert 1e-3 < done.record.predicted_error < 1
    assert_valid(done.model, like=model)
    (mean,) = set(done.model.tensors()) - set(model.tensors())
    assert mean in done.model.trainable()


@pytest.mark.parametrize(("name", "layer", "gone"), BRANCHES)
def test_a_branch_that_gives_a_constant_goes_exactly(name, layer, gone):
    model = loaded(name)
    if layer not in {x.name for x in structure(name).layers}:
        pytest.skip(f"no {layer}")
    weight = structure(name).layer(layer).weight
    for silent in (model.with_tensors({weight: np.zeros_like(model.tensor(weight))}),):
        done = operate(silent, RemoveLayer(layer))
        assert done.record.predicted_error <= 1e-6
        assert difference(silent, done.model) <= 1e-5


def test_a_branch_that_gives_nothing_leaves_nothing():
    model = loaded("residual.legacy")
    layer = structure("residual.legacy").layer("2.conv2")
    zero = {layer.weight: np.zeros_like(model.tensor(layer.weight))}
    if layer.bias is not None:
        zero[layer.bias] = np.zeros_like(model.tensor(layer.bias))
    silent = model.with_tensors(zero)
    done = operate(silent, RemoveLayer("2.conv2"))
    assert set(done.model.tensors()) < set(model.tensors())
    assert difference(silent, done.model) <= 1e-6


def test_a_transposed_convolution_of_the_same_size_goes():
    model = network("transposed")
    done = operate(model, RemoveLayer("same"))
    assert [x.name for x in Structure(done.model).layers] == ["up", "y"]
    assert_valid(done.model, like=model)


@pytest.mark.parametrize(
    ("kind", "layer", "text"),
    [
        ("embedding", "table", r"turns \(N, 4\) into \(N, 4, 7\)"),
        ("cell", "cell", r"turns \(T, N, 7\) into"),
        ("transposed", "up", r"turns \(N, 3, 4, 4\) into \(N, 5, 8, 8\)"),
    ],
)
def test_layers_that_change_more_than_units_stay(kind, layer, text):
    with pytest.raises(Refused, match=text):
        operate(network(kind), RemoveLayer(layer))


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_a_layer_that_changes_sizes_that_are_not_known_stays(operator):
    """What is not known has a name, and another name is another size."""
    model = from_proto(
        models.parsed(
            f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, H, W] x) => (float[N, 2, I, J] y) {{
                a = Conv <pads = [1, 1, 1, 1]> (x, w1)
                u = Relu (a)
                h = {operator} <strides = [2, 2]> (u, w2)
                t = Relu (h)
                y = Conv (t, w3)
            }}""",
            w1=(4, 3, 3, 3),
            w2=(4, 4, 3, 3),
            w3=(2, 4, 1, 1),
        )
    )
    with pytest.raises(Refused, match="only the number of units may change"):
        operate(model, RemoveLayer("h"))


def test_a_layer_whose_weight_is_used_again_stays():
    """The other tower goes on giving as many units as before."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 6] a, float[N, 6] b) => (float[N, 2] y) {
                ha = MatMul (a, w1) ra = Relu (ha) ea = MatMul (ra, w2)
                hb = MatMul (b, w1) rb = Relu (hb) eb = MatMul (rb, w2)
                d = Sub (ea, eb) s = Abs (d)
                y = MatMul (s, w3)
            }""",
            w1=(6, 9),
            w2=(9, 5),
            w3=(5, 2),
        )
    )
    with pytest.raises(Refused, match="'w2' writes in another place, too"):
        operate(model, RemoveLayer("ea"))


def test_a_shape_that_is_not_known_is_the_reason():
    """Not that it were an output, or a sum that cannot be followed."""
    text = """<ir_version: 8, opset_import: ["" : 17, "some.domain" : 1]> g (float[N, 3] x) => (float[N, 2] y) {{
        u = some.domain.Mystery (x)
        h = Gemm (u, w1)
        {0}
        y = MatMul (t, w2)
    }}"""
    for body in ("t = Relu (h)", "r = Relu (h) t = Add (r, u)"):
        model = from_proto(models.parsed(text.format(body), w1=(3, 3), w2=(3, 2)))
        with pytest.raises(Refused, match=r"the shape of what layer 'h' gives, '[rt]', is not known"):
            RemoveLayer("h").plan(Structure(model), Calibration(model))
