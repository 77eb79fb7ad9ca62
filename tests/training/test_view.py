"""The training graph and the report about it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from engines import needs_ort
from onnx import TensorProto, helper, numpy_helper
from starts import text_model

from pysurgeon.errors import TrainingError
from pysurgeon.model import Model, from_proto
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.model.session import Session
from pysurgeon.runtime import DEFAULT_TRAINER
from pysurgeon.training import training_graph, training_report
from pysurgeon.training.engines.engine import make_engine
from pysurgeon.training.losses.making import plain_loss
from pysurgeon.training.losses.targets import AsTheyAre
from pysurgeon.training.task.head import head

from .zoo import CLASSES, attention, cnn, engine_of, exported, gradients, losses_of, network, seeded


def dense(*tail: str, opset: int = 17, dtype: int = TensorProto.FLOAT) -> Model:
    """A dense layer and elementwise operators behind it."""
    numpy_type = helper.tensor_dtype_to_np_dtype(dtype)
    names = ["z", *(f"t{k}" for k in range(len(tail)))]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"], name="dense")]
    nodes += [helper.make_node(op, [a], [b], name=op.lower()) for op, a, b in zip(tail, names, names[1:], strict=False)]
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 3)).astype(numpy_type), "w")
    x, y = (helper.make_tensor_value_info(n, dtype, ["batch", k]) for n, k in (("x", 4), (names[-1], 3)))
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8))


@pytest.mark.parametrize("dynamo", [False, True])
def test_every_node_of_an_ordinary_network_trains(dynamo: bool) -> None:
    model = exported(cnn(), 3, 8, 8, dynamo=dynamo)
    before = model.to_bytes()
    view = training_graph(model)
    assert set(view.trainable) == set(model.trainable())
    assert {fact.status for fact in view.facts} == {"trains"}
    assert [fact.operator for fact in view.facts] == [node.op_type for node in model.nodes]
    assert model.to_bytes() == before


def test_batch_normalization_keeps_its_statistics_apart() -> None:
    model = network("cnn", dynamo=True)
    view = training_graph(model)
    assert len(view.statistics) == 4
    assert not set(view.statistics) & set(view.trainable)
    (first, _) = [f for f in view.facts if f.operator == "BatchNormalization"]
    assert "statistics from the batches" in first.detail


@pytest.mark.parametrize(("operator", "kind"), [("Softmax", "probabilities"), ("LogSoftmax", "log-probabilities")])
def test_a_final_softmax_is_left_out_of_the_view_and_stays_in_the_model(operator: str, kind: str) -> None:
    model = dense(operator, "Identity")
    assert (head(model).kind, head(model).logits) == (kind, "z")
    view = training_graph(model)
    assert [node.op_type for node in view.proto.graph.node] == ["MatMul"]
    assert [f.status for f in view.facts] == ["trains", "rewritten", "rewritten"]
    assert [node.op_type for node in model.nodes] == ["MatMul", operator, "Identity"]


def test_a_softmax_in_the_middle_stays() -> None:
    view = training_graph(dense("Softmax", "Relu"))
    assert [node.op_type for node in view.proto.graph.node] == ["MatMul", "Softmax", "Relu"]


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17, 21, 22, 24])
def test_operator_sets_that_are_supported(opset: int) -> None:
    model = dense("Relu", "Softmax", opset=opset)
    view = training_graph(model)
    gradients(engine_of(view, classes=3), view, np.ones((2, 4), np.float32), np.array([0, 1]), classes=3)
    assert view.trainable == ("w",)
    assert model.opset == opset


@pytest.mark.parametrize(
    ("opset", "line"),
    [
        (23, "y = RMSNormalization <axis = -1> (h, scale)"),
        (24, "y = Swish <alpha = 1.5> (h)"),
        (23, "y = Attention <q_num_heads = 2, kv_num_heads = 2> (h, h, h)"),
    ],
)
def test_newer_operators_train_by_their_definitions(opset: int, line: str) -> None:
    # Parameters keep their names, and what is learnt is what the user's own graph computes.
    rng = np.random.default_rng(0)
    body = f"h = MatMul (x, w)\n{line}"
    tensors = {"w": rng.standard_normal((4, 6)), "scale": np.ones(6)}
    model = from_proto(text_model("m (float[N, 5, 4] x) => (float[N, 5, 6] y)", [body], tensors, opset=opset))
    view = training_graph(model, "regression")
    assert view.proto.opset_import[0].version == 21
    assert "w" in view.trainable
    x = rng.standard_normal((2, 5, 4)).astype(np.float32)
    inside = from_proto(view.proto)
    np.testing.assert_allclose(Session(inside).run(x)[view.outputs[0]], Session(model).run(x)["y"], atol=1e-5)
    loss = plain_loss("squares", AsTheyAre((5, 6), (5, 6)))
    engine = make_engine(DEFAULT_TRAINER, view, loss)
    y = rng.standard_normal((2, 5, 6)).astype(np.float32)
    engine.step({"x": x}, loss.arrays(y))
    direction = rng.standard_normal((4, 6)).astype(np.float32)
    above, below = (
        losses_of(loss, Session(model.with_tensors({"w": model.tensor("w") + s * direction})).run(x)["y"], y).mean()
        for s in (np.float32(1e-2), np.float32(-1e-2))
    )
    assert (engine.gradients["w"] * direction).sum() == pytest.approx((above - below) / 2e-2, rel=5e-3, abs=1e-4)


def test_an_operator_set_that_cannot_be_translated_is_refused_with_the_reason() -> None:
    lines = ["h = MatMul (x, w)", "y = MaxPool <kernel_shape = [3], strides = [3], pads = [0, 1], ceil_mode = 1> (h)"]
    proto = text_model("m (float[N, 3, L] x) => (float[N, 3, K] y)", lines, {"w": np.ones((9, 9))}, opset=22)
    with pytest.raises(TrainingError, match=r"opset 22, and training knows those up to 21.*ceil_mode"):
        training_graph(from_proto(proto))


def test_parameters_that_are_not_float32_are_refused() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (double[N, 3] x) => (double[N, 3] y) { y = PRelu (x, w) }'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(3), "w"))
    with pytest.raises(TrainingError, match=r"'w' is float64.*float32"):
        training_graph(from_proto(proto))


def test_what_does_not_lead_to_the_loss_is_frozen_with_the_reason() -> None:
    model = dense("Floor")
    proto = model.to_proto()
    proto.graph.node.append(helper.make_node("MatMul", ["x", "side"], ["other"], name="aside"))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 2), np.float32), "side"))
    proto.graph.output.insert(0, helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 3]))
    proto.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["batch", 2]))
    model = from_proto(proto)
    facts = {fact.node: fact for fact in training_report(model)}
    assert facts["aside"].status == facts["floor"].status == "frozen"
    assert "does not lead to output 'z'" in facts["aside"].detail
    assert training_graph(model).trainable == ("w",)


def test_a_network_without_parameters_is_refused() -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 3]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    with pytest.raises(TrainingError, match="nothing to train"):
        training_graph(model)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_size_is_freed(dynamo: bool, batch: int) -> None:
    model = exported(cnn(), 3, 8, 8, dynamo=dynamo, dynamic=False, batch=batch)
    assert model.inputs[0].shape[0] == batch
    freed = make_batch_dynamic(model)
    x = np.random.default_rng(0).standard_normal((7, 3, 8, 8)).astype(np.float32)
    together = Session(freed).run(x)[freed.outputs[0].name]
    apart = Session(model).run(x[:batch])[model.outputs[0].name]
    np.testing.assert_allclose(together[:batch], apart, atol=1e-5)
    assert set(freed.tensors()) >= set(model.trainable())
    view = training_graph(model)
    gradients(engine_of(view), view, x, np.arange(7) % 5)


@pytest.mark.parametrize("dynamo", [False, True])
def test_attention_with_a_fixed_batch_size_is_freed(dynamo: bool) -> None:
    # The batch is merged with the heads, stands second after a permutation, and hides in constants.
    model = exported(attention(), 3, 8, 8, dynamo=dynamo, dynamic=False, batch=1)
    freed = make_batch_dynamic(model)
    x = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)
    together = Session(freed).run(x)[freed.outputs[0].name]
    apart = [Session(model).run(x[k : k + 1])[model.outputs[0].name] for k in range(6)]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-5)
    view = training_graph(model)
    gradients(engine_of(view), view, x, np.arange(6) % 5)


@pytest.mark.parametrize("batch", [1, 2])
def test_attention_with_time_first_and_a_token_of_its_own_is_freed(batch: int) -> None:
    # The batch stands second, is merged into the axis before it and taken out again; the token was repeated for each sample.
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.randn(1, 1, 8))
            self.attend, self.head = nn.MultiheadAttention(8, 2), nn.Linear(8, len(CLASSES))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1).transpose(0, 1)
            return self.head((x + self.attend(x, x, x)[0])[0])

    model = exported(seeded(0, Net), 8, 3, 3, dynamic=False, batch=batch)
    freed = make_batch_dynamic(model)
    x = np.random.default_rng(0).standard_normal((6, 8, 3, 3)).astype(np.float32)
    together = Session(freed).run(x)[freed.outputs[0].name]
    apart = [Session(model).run(x[k : k + batch])[model.outputs[0].name] for k in range(0, 6, batch)]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-5)
    view = training_graph(model)
    gradients(engine_of(view), view, x, np.arange(6) % 5)


def test_a_model_of_which_no_output_holds_floats_is_not_freed() -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("ArgMax", ["z"], ["y"], axis=1, keepdims=0)],
        "classes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2])],
        [numpy_helper.from_array(np.ones((4, 3), np.float32), "w")],
    )
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    with pytest.raises(TrainingError, match="none of its outputs holds floats"):
        make_batch_dynamic(model)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_initial_states_of_a_fixed_batch_are_freed(kind: str) -> None:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = getattr(nn, kind)(6, 4), nn.Linear(4, len(CLASSES))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.cell(x.transpose(0, 1))[0][-1])

    model = exported(seeded(0, Net), 7, 6, dynamic=False, batch=2)
    freed = make_batch_dynamic(model)
    x = np.random.default_rng(0).standard_normal((6, 7, 6)).astype(np.float32)
    apart = [Session(model).run(x[k : k + 2])[model.outputs[0].name] for k in (0, 2, 4)]
    np.testing.assert_allclose(Session(freed).run(x)[freed.outputs[0].name], np.concatenate(apart), atol=1e-6)


def test_a_free_batch_size_costs_nothing() -> None:
    model = network("mlp")
    assert make_batch_dynamic(model) is model


def test_a_network_that_mixes_its_samples_is_refused() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["y"]),
    ]
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, k]) for n, k in (("x", 4), ("y", 3)))
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    with pytest.raises(TrainingError, match=r"exported for a batch of 2.*dynamic"):
        training_graph(model)


@needs_ort
def test_quantized_weights_are_named_as_the_reason_why_nothing_is_trained() -> None:
    text = (
        '<ir_version: 10, opset_import: ["" : 21]> m (float[N, 4] x) => (float[N, 2] y)'
        " <int8[4, 2] q = {1, 2, 3, 4, 5, 6, 7, 8}, float[2, 2] s = {0.1, 0.2, 0.3, 0.4}>"
        " { w = DequantizeLinear <axis = 0, block_size = 2> (q, s) y = MatMul (x, w) }"
    )
    model = from_proto(onnx.parser.parse_model(text))
    for look in (training_report, training_graph):
        with pytest.raises(TrainingError, match=r"nothing to train.*the weights are quantized"):
            look(model)


def test_weights_with_one_step_are_trained() -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> m (float[N, 3] x) => (float[N, 2] y)'
        " <int8[3, 2] q = {1, 2, 3, 4, 5, 6}, float s = {0.1}, int8 z = {0}>"
        " { w = DequantizeLinear (q, s, z) y = MatMul (x, w) }"
    )
    assert list(training_graph(from_proto(onnx.parser.parse_model(text))).trainable) == ["w"]
