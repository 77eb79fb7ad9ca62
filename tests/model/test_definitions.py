"""Operators of com.microsoft, written in standard ones: onnxruntime runs both and finds no difference."""

from __future__ import annotations

import re
from dataclasses import dataclass

import models
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pysurgeon.graph import Array
from pysurgeon.model import from_proto, load
from pysurgeon.model.definitions import DEFINITIONS
from pysurgeon.model.definitions.microsoft import DOMAIN
from pysurgeon.model.session import Session, output_error
from pysurgeon.surgery import Widen, operate
from pysurgeon.training import training_graph
from pysurgeon.widths.structure import Structure

# `~` stands for the domain.
INPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "x": ("float[N, T, 8]", (3, 5, 8)),
    "f": ("float[N, 8]", (3, 8)),
    "image": ("float[N, 4, 6, 6]", (3, 4, 6, 6)),
    "added": ("float[N, 4, T, T]", (3, 4, 5, 5)),
    "ids": ("int32[N, T]", (3, 5)),
    "kinds": ("int32[N, T]", (3, 5)),
    "kept": ("int32[N, T]", (3, 5)),
    "lengths": ("int32[N]", (3,)),
}
TENSORS = {
    "w": (8, 8),
    "b": (8,),
    "scale": (8,),
    "shift": (8,),
    "words": (7, 8),
    "places": (9, 8),
    "segments": (2, 8),
    "wq": (8, 8),
    "wk": (8, 8),
    "wv": (8, 12),
    "u": (12, 8),
    "qkv": (8, 24),
    "qkv_bias": (24,),
    "wide_qkv": (8, 28),
    "wide_bias": (28,),
    "filters": (5, 4, 3, 3),
    "filter_bias": (5,),
    "pointwise": (4, 4, 1, 1),
    "pointwise_bias": (4,),
}


@dataclass(frozen=True)
class Case:
    body: str
    output: str = "N, T, 8"
    oldest: int = 11


EMBED = "~EmbedLayerNormalization (ids, kinds, words, places, segments, scale, shift"
QUERIES = "q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv) "
CONV = "y = ~FusedConv <pads = [1, 1, 1, 1], activation = "
CASES = {
    "Gelu": Case("h = MatMul (x, w) y = ~Gelu (h)"),
    "QuickGelu": Case("h = MatMul (x, w) y = ~QuickGelu (h)"),
    "QuickGelu, alpha": Case("h = MatMul (x, w) y = ~QuickGelu <alpha = 1.2> (h)"),
    "FastGelu": Case("h = MatMul (x, w) y = ~FastGelu (h)"),
    "FastGelu, bias": Case("h = MatMul (x, w) y = ~FastGelu (h, b)"),
    "BiasGelu": Case("h = MatMul (x, w) y = ~BiasGelu (h, b)"),
    "LayerNormalization": Case("h = MatMul (x, w) y = LayerNormalization (h, scale, shift)"),
    "SimplifiedLayerNormalization": Case("h = MatMul (x, w) y = SimplifiedLayerNormalization (h, scale)"),
    "SkipLayerNormalization": Case("h = MatMul (x, w) y = ~SkipLayerNormalization (x, h, scale, shift)"),
    "SkipLayerNormalization, bias and sum": Case(
        "h = MatMul (x, w) n, , , s = ~SkipLayerNormalization <epsilon = 0.001> (x, h, scale, shift, b) y = Add (n, s)"
    ),
    "SkipSimplifiedLayerNormalization": Case(
        "h = MatMul (x, w) n, , , s = ~SkipSimplifiedLayerNormalization (x, h, scale) y = Add (n, s)"
    ),
    "FusedMatMul": Case("y = ~FusedMatMul <alpha = 0.3, transB = 1> (x, w)"),
    "FusedMatMul of activations": Case("y = ~FusedMatMul <transA = 1> (x, x)", "N, 8, 8"),
    "FusedGemm": Case(
        'y = ~FusedGemm <transB = 1, activation = "LeakyRelu", activation_alpha = 0.2> (f, w, b)', "N, 8"
    ),
    "FusedConv": Case(f'{CONV}"Relu"> (image, filters, filter_bias)', "N, 5, 6, 6"),
    "FusedConv, LeakyRelu": Case(
        f'{CONV}"LeakyRelu", activation_params = [0.1]> (image, filters, filter_bias)', "N, 5, 6, 6"
    ),
    "FusedConv, Clip": Case(f'{CONV}"Clip", activation_params = [-0.2, 0.4]> (image, filters)', "N, 5, 6, 6"),
    "FusedConv, HardSigmoid": Case(
        f'{CONV}"HardSigmoid", activation_params = [0.3, 0.4]> (image, filters)', "N, 5, 6, 6"
    ),
    "FusedConv, sum": Case(
        'y = ~FusedConv <activation = "Relu"> (image, pointwise, pointwise_bias, image)', "N, 4, 6, 6"
    ),
    "EmbedLayerNormalization": Case(f"y, n = {EMBED})"),
    "EmbedLayerNormalization, words alone": Case(
        "y, n = ~EmbedLayerNormalization (ids, , words, places, , scale, shift)"
    ),
    "EmbedLayerNormalization, lengths for an Attention": Case(
        f"e, n = {EMBED}, kept) y = ~Attention <num_heads = 2> (e, qkv, qkv_bias, n)"
    ),
    "Attention": Case("y = ~Attention <num_heads = 2> (x, qkv, qkv_bias)"),
    "Attention, scale": Case("y = ~Attention <num_heads = 4, scale = 0.7> (x, qkv, qkv_bias)"),
    "Attention, causal": Case("y = ~Attention <num_heads = 2, unidirectional = 1> (x, qkv, qkv_bias)", oldest=14),
    "Attention, mask": Case("y = ~Attention <num_heads = 2> (x, qkv, qkv_bias, kept)"),
    "Attention, lengths": Case("y = ~Attention <num_heads = 2> (x, qkv, qkv_bias, lengths)"),
    "Attention, added": Case("y = ~Attention <num_heads = 4> (x, qkv, qkv_bias, , , added)"),
    "Attention, sizes": Case(
        "y = ~Attention <num_heads = 4, qkv_hidden_sizes = [8, 8, 12]> (x, wide_qkv, wide_bias)", "N, T, 12"
    ),
    "MultiHeadAttention": Case(f"{QUERIES} y = ~MultiHeadAttention <num_heads = 4> (q, k, v)", "N, T, 12"),
    "MultiHeadAttention, bias": Case(
        f"{QUERIES} y = ~MultiHeadAttention <num_heads = 2> (q, k, v, wide_bias)", "N, T, 12"
    ),
    "MultiHeadAttention, mask and causal": Case(
        f"{QUERIES} y = ~MultiHeadAttention <num_heads = 2, unidirectional = 1, mask_filter_value = -10000.0>"
        " (q, k, v, wide_bias, kept)",
        "N, T, 12",
        oldest=14,
    ),
    "MultiHeadAttention, one behind the other": Case(
        f"{QUERIES} a = ~MultiHeadAttention <num_heads = 2> (q, k, v) h = MatMul (a, u) l = MatMul (h, wk)"
        " y = ~MultiHeadAttention <num_heads = 2> (h, l, l)"
    ),
}
OPSETS = (11, 14, 17, 20)
STANDARD_FROM = {"LayerNormalization": 17}


def file(case: Case, opset: int) -> onnx.ModelProto:
    words = set(re.findall(r"\w+", case.body))
    fed = ", ".join(f"{kind} {name}" for name, (kind, _) in INPUTS.items() if name in words)
    text = (
        f'<ir_version: 7, opset_import: ["" : {opset}, "{DOMAIN}" : 1]> g ({fed}) => (float[{case.output}] y)'
        f"{{ {case.body.replace('~', DOMAIN + '.')} }}"
    )
    return models.parsed(text, seed=1, **{name: shape for name, shape in TENSORS.items() if name in words})


def fed(message: onnx.ModelProto) -> dict[str, Array]:
    rng = np.random.default_rng(2)
    known = {
        "kept": (np.arange(5) < np.array([[5], [2], [3]])).astype(np.int32),
        "lengths": np.array([5, 2, 3], np.int32),
        "ids": rng.integers(0, 7, (3, 5)).astype(np.int32),
        "kinds": rng.integers(0, 2, (3, 5)).astype(np.int32),
    }
    feeds = {}
    for value in message.graph.input:
        shape = INPUTS[value.name][1]
        feeds[value.name] = known.get(value.name, rng.standard_normal(shape).astype(np.float32))
    return feeds


def by_the_engine(message: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """What onnxruntime makes of the operators as they are."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(message.SerializeToString(), options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.mark.parametrize(
    ("name", "opset"),
    [(n, o) for n, c in CASES.items() for o in OPSETS if c.oldest <= o < STANDARD_FROM.get(n, 99)],
)
def test_a_definition_means_what_the_operator_does(name, opset):
    message = file(CASES[name], opset)
    before = message.SerializeToString()
    model = from_proto(message)
    assert message.SerializeToString() == before
    assert {(n.domain, n.op_type) for n in model.nodes}.isdisjoint(DEFINITIONS)
    assert all(node.domain == "" for node in model.nodes)
    assert any("written in standard operators" in note for note in model.notes)
    feeds = fed(message)
    assert output_error(by_the_engine(message, feeds), Session(model).run(feeds)) <= 2e-6


@pytest.mark.parametrize(
    "name", ["Attention, mask", "MultiHeadAttention, bias", "SkipLayerNormalization", "BiasGelu", "FusedConv, sum"]
)
def test_what_is_written_out_is_trained_and_operated_on(name):
    message = file(CASES[name], 17)
    model = from_proto(message)
    assert set(training_graph(model, "regression").trainable) == set(model.trainable())
    feeds = fed(message)
    reference = Session(model).run(feeds)
    for width in Structure(model).widths:
        if width.exact:
            wider = operate(model, Widen(width.name, width.size + 1)).model
            assert output_error(reference, Session(wider).run(feeds)) <= 1e-5


def test_heads_of_a_fused_attention_can_be_resized():
    message = file(
        Case(f"{QUERIES} a = ~MultiHeadAttention <num_heads = 2> (q, k, v, wide_bias) y = MatMul (a, u)"), 17
    )
    assert sorted(w.size for w in Structure(from_proto(message)).widths if w.exact) == [2, 4, 6]


def test_every_definition_has_a_case():
    text = " ".join(case.body for case in CASES.values())
    assert {op for _, op in DEFINITIONS if op != "Scaler"} <= set(re.findall(r"\w+", text))


@pytest.mark.parametrize(
    "case",
    [
        Case("y = ~Attention <num_heads = 2, do_rotary = 1> (x, qkv, qkv_bias)"),
        Case("y = ~Attention <num_heads = 3> (x, qkv, qkv_bias)"),
        Case("y = ~Attention (x, qkv, qkv_bias)"),
        Case("y = ~Attention <num_heads = 2, qkv_hidden_sizes = [8, 8]> (x, qkv, qkv_bias)"),
        Case("a = ~Attention <num_heads = 2> (x, qkv) y = ~Attention <num_heads = 2> (a, qkv)"),
        Case(f"{QUERIES} y = ~MultiHeadAttention <num_heads = 5> (q, k, v)", "N, T, 12"),
        Case("h = MatMul (x, w) y = ~SkipSimplifiedLayerNormalization (x, h, scale, b)"),
        Case("y = ~FusedMatMul <transBatchA = 1> (x, w)"),
        Case(f'{CONV}"LeakyRelu"> (image, filters)', "N, 5, 6, 6"),
        Case(f'{CONV}"Swish"> (image, filters)', "N, 5, 6, 6"),
        Case("h = ~Unknown (x) y = ~Gelu (h)"),
    ],
)
def test_what_a_definition_does_not_cover_stays_as_it_is(case):
    """Options that are not known, tensors that two nodes share, and types that nobody knows."""
    model = from_proto(file(case, 17))
    assert any(node.domain == DOMAIN for node in model.nodes)
    assert not any("standard operators" in note for note in model.notes)
    assert not any(w.resizable for w in Structure(model).widths)


@pytest.mark.parametrize("labels", [{"classlabels_int64s": [3, 5, 8]}, {"classlabels_strings": ["a", "b", "c"]}])
def test_dictionaries_of_a_classifier_are_read_as_their_tensor(labels, tmp_path):
    """The end that skl2onnx gives a classifier unless it is told not to."""
    rng = np.random.default_rng(0)
    tensors = {"w0": rng.standard_normal((4, 6)), "w1": rng.standard_normal((6, 3))}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"], axis=-1),
        helper.make_node("ZipMap", ["p"], ["output_probability"], name="zip", domain="ai.onnx.ml", **labels),
    ]
    key = TensorProto.INT64 if "classlabels_int64s" in labels else TensorProto.STRING
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(key, value))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_value_info("output_probability", kind)],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    before = proto.SerializeToString(deterministic=True)
    path = tmp_path / "classifier.onnx"
    path.write_bytes(before)
    x = rng.standard_normal((5, 4)).astype(np.float32)
    given = ort.InferenceSession(before, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    names = next(iter(labels.values()))
    for model in (from_proto(proto), load(path)):
        assert any("'output_probability'" in note for note in model.notes)
        found = Session(model).run({"x": x})["output_probability"]
        np.testing.assert_allclose(found, [[row[name] for name in names] for row in given], rtol=1e-6)
        assert [w.name for w in Structure(model).widths if w.resizable] == ["h"]
        onnx.checker.check_model(model.to_proto(), full_check=True)
    assert proto.SerializeToString(deterministic=True) == before
