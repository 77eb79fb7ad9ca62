"""Models of newer opsets than the engine reads."""

from __future__ import annotations

import models
import onnx
import pytest
from checks import loaded
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from pysurgeon.errors import ModelError
from pysurgeon.graph import external_data
from pysurgeon.model import Model, from_proto
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.opset_downgrade import difference, lowered
from pysurgeon.model.session import Session, output_error
from pysurgeon.surgery import Widen, operate


def head(opset: int) -> str:
    ir_version = {22: 10, 23: 11, 24: 12, 25: 13}.get(opset, 8)
    return f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'


def cnn(opset: int) -> onnx.ModelProto:
    """Operators that opsets 22, 23 and 24 all have new versions of."""
    return models.parsed(
        f"""{head(opset)} cnn (float[N, 2, 6, 6] x) => (float[N, 4] y) {{
            a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1, b1)
            b = Softplus (a)
            c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
            d = Transpose <perm = [0, 2, 3, 1]> (c)
            e = Flatten <axis = 1> (d)
            f = Gemm (e, w2, b2)
            g = HardSwish (f)
            h = Cast <to = 1> (g)
            axes = Constant <value = int64[1] {{1}}> ()
            i = Unsqueeze (h, axes)
            j = Squeeze (i, axes)
            y = Gemm <transB = 1> (j, w3, b3)
        }}""",
        w1=(5, 2, 3, 3),
        b1=(5,),
        w2=(45, 7),
        b2=(7,),
        w3=(4, 7),
        b3=(4,),
    )


def transformer(opset: int, attention: str = "<q_num_heads = 2, kv_num_heads = 2>") -> onnx.ModelProto:
    """One block with the operators that came with opset 23. Its weights are large enough to be lent."""
    return models.parsed(
        f"""{head(opset)} block (float[N, 5, 16] x) => (float[N, 5, 16] y) {{
            n = RMSNormalization <axis = -1> (x, s)
            q = MatMul (n, wq)
            k = MatMul (n, wk)
            v = MatMul (n, wv)
            a = Attention {attention} (q, k, v)
            o = MatMul (a, wo)
            r = Add (x, o)
            m = RMSNormalization <axis = -1, epsilon = 0.01> (r, t)
            h = MatMul (m, w1)
            g = Gelu (h)
            d = MatMul (g, w2)
            y = Add (r, d)
        }}""",
        s=(16,),
        t=(16,),
        wq=(16, 16),
        wk=(16, 16),
        wv=(16, 16),
        wo=(16, 16),
        w1=(16, 24),
        w2=(24, 16),
    )


def rotary(opset: int) -> onnx.ModelProto:
    return models.parsed(
        f"""{head(opset)} rotary (float[N, 2, 5, 8] x, int64[N, 5] p) => (float[N, 2, 5, 8] y) {{
            r = RotaryEmbedding (x, c, s, p)
            y = Tanh (r)
        }}""",
        c=(6, 4),
        s=(6, 4),
    )


def swish(opset: int) -> onnx.ModelProto:
    return models.parsed(
        f"""{head(opset)} swish (float[N, 3] x) => (float[N, 3] y) {{
            a = MatMul (x, w)
            b = Swish (a)
            c = Swish <alpha = 0.5> (b)
            y = TopK_free (c)
        }}""".replace("TopK_free", "Softsign"),
        w=(3, 3),
    )


def branches(opset: int) -> onnx.ModelProto:
    """Operators that are new, or have new versions, in the branches of an If."""
    return models.parsed(
        f"""{head(opset)} branches (float[N, 3] x, bool flag) => (float[N, 3] y) {{
            h = MatMul (x, w)
            y = If (flag) <
                then_branch = then () => (float[N, 3] z1) {{ z1 = RMSNormalization (h, s) }},
                else_branch = other () => (float[N, 3] z2) {{ z2 = Selu (h) }}
            >
        }}""",
        w=(3, 3),
        s=(3,),
    )


def own_function(opset: int) -> onnx.ModelProto:
    """A function of the model's own with operators that are new."""
    proto = onnx.parser.parse_model(
        f"""<ir_version: {head(opset)[13:15]}, opset_import: ["" : {opset}, "own" : 1]>
        m (float[N, 3] x, float[3] s) => (float[N, 3] y) {{ y = own.normed (x, s) }}
        <domain: "own", opset_import: ["" : {opset}]>
        normed (a, b) => (c) {{ n = RMSNormalization (a, b) c = Softplus (n) }}"""
    )
    onnx.checker.check_model(proto)
    return proto


def same_as_reference(proto: onnx.ModelProto) -> Model:
    model = from_proto(proto)
    before = model.to_bytes()
    for batch in (1, 3):
        feeds = random_feeds(model, batch=batch, seed=batch)
        expected = ReferenceEvaluator(proto).run(None, feeds)
        got = Session(model).run(feeds)
        assert output_error(dict(zip(got, expected, strict=True)), got) < 1e-5
    assert model.to_bytes() == before  # what runs is a private copy
    assert model.opset == proto.opset_import[0].version
    return model


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 13, 17, 21, 22, 23, 24, 25])
def test_every_operator_set(opset):
    text = f"""{head(opset)} m (float[N, 3, 4, 4] x) => (float[N, 3, 4, 4] y) {{
        a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
        b = Relu (a)
        c = MaxPool <kernel_shape = [1, 1]> (b)
        d = Transpose <perm = [0, 1, 3, 2]> (c)
        e = Elu (d)
        y = Identity (e)
    }}"""
    same_as_reference(models.parsed(text, w=(3, 3, 3, 3)))


@pytest.mark.parametrize("opset", [22, 23, 24, 25])
def test_new_versions_of_old_operators(opset):
    same_as_reference(cnn(opset))


@pytest.mark.parametrize("lend", [True, False])
@pytest.mark.parametrize("opset", [23, 24, 25])
@pytest.mark.parametrize(
    "build",
    [
        transformer,
        lambda opset: transformer(opset, "<q_num_heads = 2, kv_num_heads = 2, is_causal = 1>"),
        lambda opset: transformer(opset, "<q_num_heads = 4, kv_num_heads = 4, scale = 0.3, softcap = 2.0>"),
        rotary,
        branches,
        own_function,
    ],
    ids=["transformer", "causal", "scaled", "rotary", "branches", "function"],
)
def test_new_operators_are_written_out(build, opset, lend, monkeypatch):
    monkeypatch.setattr(external_data, "SMALLEST", 48 if lend else 1 << 40)
    same_as_reference(build(opset))


@pytest.mark.parametrize("opset", [24, 25])
def test_defaults_are_written_out_too(opset):
    same_as_reference(swish(opset))


@pytest.mark.parametrize("opset", [22, 23, 24])
def test_such_models_can_be_operated_on(opset):
    model = from_proto(cnn(opset))
    done = operate(model, Widen("a", 8))
    assert done.record.measured_error < 1e-5
    assert done.model.opset == opset


def test_a_new_operator_without_a_definition():
    text = f"""{head(24)} m (float[N, 4, 3] x, float[N, 4, 3] u, int64[N] k) => (float[N, 4, 3] y) {{
        a = Relu (x)
        y = TensorScatter (a, u, k)
    }}"""
    with pytest.raises(ModelError, match=r"TensorScatter came with opset 24.*opset_version=21 or lower") as error:
        Session(from_proto(onnx.parser.parse_model(text)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("height", "kernel", "stride", "pad", "runs"),
    [(6, 3, 2, 1, True), (5, 2, 2, 0, True), (5, 2, 3, 1, False), (3, 1, 3, 0, False), (4, 2, 3, 1, False)],
)
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_pooling_whose_last_window_is_in_the_padding(operator, height, kernel, stride, pad, runs):
    """Operator set 22 leaves such windows out; the engine does not."""
    text = f"""{head(22)} m (float[N, 2, {height}, {height}] x) => (float[N, 2, a, b] y) {{
        r = Relu (x)
        y = {operator} <ceil_mode = 1, kernel_shape = [{kernel}, {kernel}], strides = [{stride}, {stride}],
                        pads = [{pad}, {pad}, {pad}, {pad}]> (r)
    }}"""
    proto = onnx.parser.parse_model(text)
    if runs:
        same_as_reference(proto)
    else:
        with pytest.raises(ModelError, match="leaves out windows that begin in the padding"):
            Session(from_proto(proto))


# --- the decision -------------------------------------------------------------------------------------------------------------


def node(operator: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, ["x"], ["y"], **attributes)


@pytest.mark.parametrize(
    ("made", "version", "target"),
    [
        (node("Relu"), 25, 21),
        (node("Softplus"), 22, 21),
        (node("Transpose", perm=[1, 0]), 25, 21),
        (node("Cast", to=1), 25, 21),
        (node("Cast", to=1, round_mode="up"), 25, 21),
        (node("MaxPool", kernel_shape=[2, 2], ceil_mode=0), 22, 21),
        (node("MaxPool", kernel_shape=[2, 2], ceil_mode=1), 25, 22),
        (node("RMSNormalization"), 25, 23),
        (helper.make_node("Whatever", ["x"], ["y"], domain="somebody"), 25, 21),
    ],
)
def test_what_is_the_same(made, version, target):
    assert difference(made, version, target, {}) is None


@pytest.mark.parametrize(
    ("made", "version", "target", "reason"),
    [
        (node("RMSNormalization"), 23, 21, "RMSNormalization came with opset 23"),
        (node("Cast", to=1, round_mode="down"), 24, 21, "Cast of opset 24 has 'round_mode'"),
        (node("DequantizeLinear", output_dtype=10), 23, 21, "DequantizeLinear of opset 23 has 'output_dtype'"),
        (node("MaxPool", kernel_shape=[2, 2], ceil_mode=1), 22, 21, "ceil_mode"),
        (node("Upsample"), 25, 21, "Upsample is not known in opset 25"),
        (helper.make_node("ReduceMax", ["x", "axes"], ["y"]), 18, 13, "inputs or outputs of its own"),
        (helper.make_node("Relu6", ["x"], ["y"]), 22, 21, "Relu6 is not known"),
        (node("BatchNormalization"), 14, 9, "takes or gives other values"),
        (node("Softmax"), 13, 11, "another default of 'axis'"),
    ],
)
def test_what_is_not_the_same(made, version, target, reason):
    found = difference(made, version, target, {"x": (None, 2, None, 5)})
    assert found is not None
    assert reason in found


def test_attributes_that_say_what_is_done_anyway_are_dropped():
    """The engine would not know them."""
    proto = onnx.parser.parse_model(
        f"""{head(24)} m (float[N, 3] x) => (float[N, 3] y) {{ y = Cast <to = 1, round_mode = "up", saturate = 1> (x) }}"""
    )
    result = lowered(proto, 21)
    assert [a.name for a in result.graph.node[0].attribute] == ["to", "saturate"]
    assert result.opset_import[0].version == 21
    same_as_reference(proto)


def test_lowering_keeps_references_and_the_outside():
    proto = from_proto(transformer(23)).to_proto()
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "elsewhere"
    tensors, ports = list(proto.graph.initializer), (list(proto.graph.input), list(proto.graph.output))
    result = lowered(proto, 21)
    assert list(result.graph.initializer) == tensors
    assert (list(result.graph.input), list(result.graph.output)) == ports
    assert not {"Attention", "RMSNormalization"} & {n.op_type for n in result.graph.node}


def test_definitions_that_cannot_be_written_out():
    """They depend on types, and nothing says what type a weight has."""
    proto = transformer(23)
    del proto.graph.initializer[:]
    with pytest.raises(ModelError, match="cannot be written out in those of opset 21"):
        lowered(proto, 21)


@pytest.mark.parametrize("name", ["cnn.legacy", "plain_opset11", "attention.legacy"])
def test_models_that_are_old_enough_are_left_alone(name):
    proto = loaded(name).to_proto()
    before = proto.SerializeToString()
    assert lowered(proto, 21) is proto
    assert proto.SerializeToString() == before
