"""A bypass changes nothing, learns at once, and refuses what it cannot lead round."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import assert_same_function, assert_valid, attempt, difference, loaded, structure
from kinds import network

from pysurgeon.errors import Refused, UsageError
from pysurgeon.model import from_proto
from pysurgeon.surgery import AddBypass, operate, parse
from pysurgeon.widths.structure import Structure

SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in models.NEW_EXPORTER]
REASONS = ("as many axes", "the sizes must be known", "the batch changes", "not float32", "side by side")


@pytest.mark.parametrize("name", [*models.RUNNABLE, "cnn_bn.training", "mobile.training", *SLOW])
def test_round_every_layer(name):
    model, s = loaded(name), structure(name)
    before = model.to_bytes()
    for layer in s.layers:
        done = attempt(model, AddBypass(layer.name))
        if isinstance(done, Refused):
            assert any(r in str(done) for r in REASONS), done
            continue
        assert_same_function(name, done.model, tolerance=1e-5)
        assert_valid(done.model, like=model)
        assert done.record.exact
        (new,) = set(done.model.trainable()) - set(model.trainable())
        assert not done.model.tensor(new).any()
        back = operate(done.model, parse(done.record.undo))
        assert back.record.measured_error <= 1e-6
        assert set(back.model.tensors()) == set(model.tensors())
    assert model.to_bytes() == before


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("mlp_relu.legacy", "1", "3"), ("residual.legacy", "2.conv1", "2.conv2"), ("cnn.legacy", "0", "2")],
)
def test_round_several_layers(name, first, last):
    model = loaded(name)
    done = operate(model, AddBypass(first, last))
    assert_same_function(name, done.model, tolerance=1e-5)
    assert f"{last}.bypass" in {x.name for x in Structure(done.model).layers}
    assert str(AddBypass(first, last)) == f"bypass:{first}..{last}"
    assert parse(f"bypass:{first}..{last}") == AddBypass(first, last)


def test_the_image_may_shrink_on_the_way():
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2, 9, 8] x) => (float[N, 5, 3, 2] y) {
                h = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (x, w0)
                t = Tanh (h)
                y = Conv <kernel_shape = [3, 3], strides = [1, 1]> (t, w1)
            }""",
            w0=(4, 2, 3, 3),
            w1=(5, 4, 3, 3),
        )
    )
    done = operate(model, AddBypass("h"))
    node = next(n for n in done.model.nodes if "h.bypass.weight" in {v.name for v in n.inputs})
    assert list(node.attributes["strides"].as_ints()) == [2, 2]
    assert done.model.tensor("h.bypass.weight").shape == (4, 2, 1, 1)
    assert done.record.measured_error == 0.0


@pytest.mark.parametrize(
    ("name", "first", "last", "reason"),
    [
        ("mlp_relu.legacy", "3", "1", "name them in their order"),
        ("flatten_nhwc.legacy", "conv", "fc1", "as many axes on both sides"),
        ("residual.legacy", "3.conv1", "3.conv2", "'3.short' leads from the same place"),
        ("mlp_relu.legacy", "1", "nothing", "there is no layer 'nothing'"),
    ],
)
def test_refusals(name, first, last, reason):
    with pytest.raises(Refused, match=reason):
        operate(loaded(name), AddBypass(first, last))


@pytest.mark.parametrize(("name", "layer"), [("mlp_tanh.legacy", "1"), ("cnn.legacy", "0")])
def test_a_second_way_beside_the_first_is_refused(name, layer):
    once = operate(loaded(name), AddBypass(layer)).model
    with pytest.raises(Refused, match=rf"'{layer}\.bypass' leads from the same place into the same sum"):
        operate(once, AddBypass(layer))
    # So is one round the bypass itself, or round any linear layer; others are possible still.
    with pytest.raises(Refused, match=r"bypass' is linear"):
        operate(once, AddBypass(f"{layer}.bypass"))
    others = [x.name for x in Structure(once).layers if not x.name.startswith(layer)]
    assert any(_possible(once, other) for other in others)


def _possible(model, layer):
    try:
        return operate(model, AddBypass(layer)).record.measured_error <= 1e-6
    except Refused:
        return False


def test_a_projection_shortcut_is_such_a_way():
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 6] x) => (float[N, 5] y) {
                h = MatMul (x, w0)
                t = Tanh (h)
                a = MatMul (t, w1)
                r = Relu (a)
                s = MatMul (x, w2)
                u = Add (s, b)
                y = Add (u, r)
            }""",
            w0=(6, 4),
            w1=(4, 5),
            w2=(6, 5),
            b=(5,),
        )
    )
    with pytest.raises(Refused, match="layer 's' leads from the same place"):
        operate(model, AddBypass("h", "a"))
    assert operate(model, AddBypass("h")).record.exact


@pytest.mark.parametrize("text", ["bypass:", "bypass:a..", "bypass:..b"])
def test_what_is_no_bypass(text):
    with pytest.raises(UsageError):
        parse(text)


def test_it_gets_a_gradient_at_once():
    """The gradient of the projection is that of the sum times what goes in, whatever the projection is."""
    model = loaded("mlp_tanh.legacy")
    done = operate(model, AddBypass("1"))
    weight = next(iter(set(done.model.trainable()) - set(model.trainable())))
    moved = done.model.with_tensors({weight: np.full_like(done.model.tensor(weight), 1e-2)})
    from checks import difference

    assert difference(done.model, moved) > 1e-4


@pytest.mark.parametrize(
    ("kind", "way", "reason"),
    [
        ("embedding", ("table", ""), "takes INT64"),
        ("embedding", ("table", "y"), "takes INT64"),
        ("transposed", ("up", ""), "divide the size of an image"),
        ("cell", ("cell", ""), "as many axes on both sides"),
    ],
)
def test_no_way_round_layers_that_are_no_plain_matrix(kind, way, reason):
    with pytest.raises(Refused, match=reason):
        operate(network(kind), AddBypass(*way))


def test_a_way_round_a_transposed_convolution():
    model = network("transposed")
    done = operate(model, AddBypass("same"))
    assert done.model.tensor("same.bypass.weight").shape == (6, 5, 1, 1)
    assert_valid(done.model, like=model)
    assert difference(model, done.model) <= 1e-6
