"""Quantized files: the same function, with weights that can be operated on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import models
import numpy as np
import onnx
import pytest
from checks import assert_valid, difference, loaded

from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto, load
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.surgery import Narrow, Widen, operate
from pysurgeon.widths.structure import Structure

NAMES = ["mlp_relu.legacy", "cnn.legacy", "residual.legacy", "mobile.legacy", "flatten_view.legacy", "attention.legacy"]


def quantized(name: str, folder: Path, *, per_channel: bool) -> Path:
    """What onnxruntime's own tool makes of a model of the zoo."""
    from onnxruntime import quantization

    class Samples(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, Array]] = iter(random_feeds(loaded(name), seed=k) for k in range(3))

        def get_next(self) -> dict[str, Array] | None:
            return next(self.feeds, None)

    before, after = folder / "before.onnx", folder / "after.onnx"
    onnx.save(models.build(name), before)
    logging.disable(logging.WARNING)  # it advises to preprocess
    quantization.quantize_static(
        before, after, Samples(), quant_format=quantization.QuantFormat.QDQ, per_channel=per_channel
    )
    logging.disable(logging.NOTSET)
    return after


def run(path: Path, feeds: dict[str, Array]) -> dict[str, Array]:
    """As the file says: without fusions, which compute in integers."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back(name, per_channel, tmp_path):
    """The names are those of before, most widths are there, and the file computes what it did, up to single steps."""
    path = quantized(name, tmp_path, per_channel=per_channel)
    model = load(path)
    assert any("few bits" in note for note in model.notes)
    feeds = random_feeds(loaded(name), batch=4, seed=9)
    assert output_error(run(path, feeds), Session(model).run(feeds)) <= 0.02
    before = loaded(name)
    shared = set(before.trainable()) & set(model.trainable())
    assert sum(before.tensor(t).size for t in shared) > 0.8 * sum(before.tensor(t).size for t in before.trainable())
    for tensor in shared:
        step = np.abs(before.tensor(tensor)).max() / 127
        assert np.abs(model.tensor(tensor) - before.tensor(tensor)).max() <= 1.01 * step
    free = [w for w in Structure(model).widths if w.resizable]
    assert len(free) == len([w for w in Structure(before).widths if w.resizable])
    for width in free:
        if width.exact:
            done = operate(model, Widen(width.name, width.size + 2))
            assert_valid(done.model, like=model)
            assert difference(model, done.model) <= 0.02
        if width.size > 1:
            operate(model, Narrow(width.name, width.size - 1))


def text(body: str) -> Model:
    """A model whose weights are integers."""
    return from_proto(
        onnx.parser.parse_model(
            f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 3] y)
            <int8[3, 3] w = {{1, -2, 3, 4, 0, -6, 7, 8, 100}}, float one = {{0.5}}, float[3] each = {{0.5, 1.0, 2.0}},
             int8 zero = {{2}}, int8[3] zeros = {{0, 1, 2}}> {{ {body} }}"""
        )
    )


WHOLE = np.array([[1, -2, 3], [4, 0, -6], [7, 8, 100]], np.float32)


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        ("(w, one)", WHOLE * 0.5),
        ("(w, one, zero)", (WHOLE - 2) * 0.5),
        ("<axis = 1> (w, each, zeros)", (WHOLE - [0, 1, 2]) * [0.5, 1, 2]),
        ("<axis = -2> (w, each)", WHOLE * np.array([[0.5], [1], [2]])),
    ],
)
def test_what_is_stored(operands, expected):
    model = text(f"d = DequantizeLinear {operands} y = MatMul (x, d)")
    assert np.array_equal(model.tensor("d"), expected)
    assert [n.op_type for n in model.nodes] == ["MatMul"]


def test_a_weight_that_is_shared_stays_one():
    model = text(
        "d = DequantizeLinear (w, one) e = DequantizeLinear (w, one) h = MatMul (x, d) t = Relu (h) y = MatMul (t, e)"
    )
    assert model.trainable() == ("d",) or list(model.trainable()) == ["d"]


def test_what_is_fed_keeps_its_steps():
    model = text("q = QuantizeLinear (x, one, zero) d = DequantizeLinear (q, one, zero) y = Relu (d)")
    assert [n.op_type for n in model.nodes] == ["QuantizeLinear", "DequantizeLinear", "Relu"]
    assert not model.notes
