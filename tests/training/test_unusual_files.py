"""Files that are valid and unusual train like the plain files that mean the same."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
import onnx
import pytest
from engines import ENGINES
from onnx import TensorProto, helper, numpy_helper

import pysurgeon as ps
from pysurgeon.data import Dataset, load
from pysurgeon.errors import DataError, TrainingError, UsageError
from pysurgeon.model import Model, from_proto
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings, evaluate, training_report
from pysurgeon.training.derived_graph.derive import training_graph

RNG = np.random.default_rng(0)
N = 60
SETTINGS = TrainSettings(Schedule(1e-2, 20), batch_size=16)


def net(text: str, opset: int = 17, ir_version: int = 8, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    return models.parsed(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]> g {text}', **shapes)


def data(**samples: Any) -> Dataset:
    return load({f"{name}_train": x for name, x in samples.items()} | {"y_train": np.arange(N) % 3}, normalize="none")


MLP = "{ h = MatMul (x, w1) r = Relu (h) y = MatMul (r, w2) }"
SIZES = {"w1": (6, 16), "w2": (16, 3)}
FEATURES = RNG.standard_normal((N, 6), np.float32)


def slopes(model: Model, dataset: Dataset, trainer: str) -> float:
    return LocalTrainer(trainer).slope(model, dataset, SETTINGS)


@pytest.mark.parametrize("trainer", ENGINES)
@pytest.mark.parametrize("ports", ["(float[-1, 6] x) => (float[-1, 3] y)", "(float[0, 6] x) => (float[0, 3] y)", "(float[N, 6] x) => (float[1, 3] y)",
                                   "(float[N, 6] x) => (float[N, 7] y)", "(float[N, 6] x) => (float[N, 3, 1] y)", "(float[N, 6] x, float[6, 16] w1, float[16, 3] w2) => (float[N, 3] y)"])  # fmt: skip
def test_what_a_file_says_of_its_ports_and_does_not_mean(ports: str, trainer: str) -> None:
    model, plain = (from_proto(net(p + MLP, **SIZES)) for p in (ports, "(float[N, 6] x) => (float[N, 3] y)"))
    assert model.inputs[0].shape == (None, 6)
    assert len(model.inputs) == 1
    assert model.outputs[0].shape == (None, 3)
    assert model.notes
    feeds = random_feeds(plain)
    assert output_error(Session(plain).run(feeds), Session(model).run(feeds)) <= 1e-6
    dataset = data(x=FEATURES)
    assert slopes(model, dataset, trainer) == pytest.approx(slopes(plain, dataset, trainer), rel=1e-4)
    assert ps.apply(model, "widen:h=20").operations[0].measured_error <= 1e-6


@pytest.mark.parametrize("trainer", ENGINES)
def test_a_max_pool_of_images_of_any_size(trainer: str) -> None:
    body = "{ c = Conv <kernel_shape = [3, 3]> (x, k) m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c) r = Relu (m) p = GlobalAveragePool (r) f = Flatten (p) y = MatMul (f, w) }"
    ports = ("(float[N, 3, H, W] x) => (float[N, 3] y)", "(float[N, 3, 12, 10] x) => (float[N, 3] y)")
    opened, closed = (from_proto(net(p + body, k=(8, 3, 3, 3), w=(8, 3))) for p in ports)
    dataset = data(x=RNG.standard_normal((N, 3, 12, 10), np.float32))
    assert slopes(opened, dataset, trainer) == pytest.approx(slopes(closed, dataset, trainer), rel=1e-4)
    trained = LocalTrainer(trainer).train(opened, dataset, SETTINGS, state=State(), steps=4, evaluate_every=4)
    assert trained.model.inputs[0].shape == (None, 3, None, None)


@pytest.mark.parametrize("trainer", ENGINES)
def test_quantized_activations_round_and_pass_the_gradient(trainer: str) -> None:
    """Steps so small that they change next to nothing: the gradient is that of the network without them."""
    norm = "n = LayerNormalization <axis = -1> (h, s, b)"
    plain = f"{{ h = MatMul (x, w1) {norm} r = Tanh (n) y = MatMul (r, w2) }}"
    rounded = f"""<float step = {{0.0002}}, int16 zero = {{0}}> {{ h = MatMul (x, w1) {norm} q = QuantizeLinear (n, step, zero)
        d = DequantizeLinear (q, step, zero) r = Tanh (d) y = MatMul (r, w2) }}"""
    rounded = rounded.replace("int16", "int8").replace("0.0002", "0.03")
    ports = "(float[N, 6] x) => (float[N, 3] y)"
    shapes = {**SIZES, "s": (16,), "b": (16,)}
    exact, stepped = (from_proto(net(ports + body, **shapes)) for body in (plain, rounded))
    dataset = data(x=FEATURES)
    assert set(training_graph(stepped, trainer=trainer).trainable) == {"w1", "s", "b", "w2"}
    assert slopes(stepped, dataset, trainer) == pytest.approx(slopes(exact, dataset, trainer), rel=0.1)


@pytest.mark.parametrize("trainer", ENGINES)
def test_a_number_that_all_samples_share(trainer: str) -> None:
    model = from_proto(
        net(
            "(float[N, 6] x, float t) => (float[N, 3] y) { h = MatMul (x, w1) r = Relu (h) q = Mul (r, t) y = MatMul (q, w2) }",
            **SIZES,
        )
    )
    fixed = from_proto(
        net(
            "(float[N, 6] x) => (float[N, 3] y) <float t = {1.5}> { h = MatMul (x, w1) r = Relu (h) q = Mul (r, t) y = MatMul (q, w2) }",
            **SIZES,
        )
    )
    dataset = data(x=FEATURES, t=np.float32(1.5))
    assert slopes(model, dataset, trainer) == pytest.approx(slopes(fixed, data(x=FEATURES), trainer), rel=1e-4)
    assert slopes(model, dataset, trainer) == pytest.approx(
        slopes(model, data(x=FEATURES, t=np.full(N, 1.5, np.float32)), trainer), rel=1e-6
    )
    assert len(evaluate(model, dataset, "test").scores)
    with pytest.raises(DataError, match=r"'t' of the model takes \(\) and has no axis for the samples"):
        slopes(model, data(x=FEATURES, t=np.arange(N, dtype=np.float32)), trainer)


@pytest.mark.parametrize("trainer", ENGINES)
def test_a_state_for_each_sample_along_the_axis_called_batch(trainer: str) -> None:
    model = from_proto(
        net(
            """(float[7, batch, 5] x, float[1, batch, 4] h0) => (float[batch, 3] y) <int64[1] z = {0}> {
            all, hn = GRU <hidden_size = 4> (x, W, R, B, , h0) s = Squeeze (hn, z) y = MatMul (s, w2) }""",
            W=(1, 12, 5),
            R=(1, 12, 4),
            B=(1, 24),
            w2=(4, 3),
        )
    )
    x, state = RNG.standard_normal((N, 7, 5), np.float32), RNG.standard_normal((N, 1, 4), np.float32)
    found = [slopes(model, data(x=x, h0=h), trainer) for h in (state, state[:, 0], np.zeros_like(state))]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] != pytest.approx(found[2], rel=1e-5)


@pytest.mark.parametrize("trainer", ENGINES)
def test_a_transpose_without_an_order(trainer: str) -> None:
    model = from_proto(
        net(
            "(float[N, 6] x) => (float[N, 3] y) { t = Transpose (w1) h = MatMul (x, t) r = Relu (h) y = MatMul (r, w2) }",
            w1=(16, 6),
            w2=(16, 3),
        )
    )
    (node,) = [n for n in training_graph(model, trainer=trainer).ir.graph if n.op_type == "Transpose"]
    assert tuple(node.attributes["perm"].as_ints()) == (1, 0)
    assert slopes(model, data(x=FEATURES), trainer) > 0


def branching(*, behind: bool) -> onnx.ModelProto:
    """An If on a flag that is fed, behind the weights or before them."""
    source, size = ("r", 16) if behind else ("x", 6)

    def branch(name: str, operator: str) -> onnx.GraphProto:
        node = helper.make_node(operator, [source], [name])
        return helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])]
        )

    choice = helper.make_node(
        "If", ["flag"], ["c"], then_branch=branch("a", "Identity"), else_branch=branch("b", "Neg"), name="if"
    )
    nodes = [helper.make_node("MatMul", ["x" if behind else "c", "w1"], ["h"]), helper.make_node("Relu", ["h"], ["r"])]
    nodes.insert(2 if behind else 0, choice)
    nodes.append(helper.make_node("MatMul", ["c" if behind else "r", "w2"], ["y"]))
    tensors = [numpy_helper.from_array(RNG.standard_normal(shape, np.float32), name) for name, shape in SIZES.items()]
    ports = [
        helper.make_tensor_value_info(n, t, s)
        for n, t, s in (
            ("x", TensorProto.FLOAT, ["N", 6]),
            ("flag", TensorProto.BOOL, [1]),
            ("y", TensorProto.FLOAT, ["N", 3]),
        )
    ]
    graph = helper.make_graph(nodes, "g", ports[:2], ports[2:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("trainer", ENGINES)
def test_a_branch_on_what_is_fed(trainer: str) -> None:
    proto = branching(behind=True)
    (fact,) = [f for f in training_report(from_proto(proto), trainer=trainer) if f.operator == "If"]
    assert fact.status == "no gradient"
    assert "--fix flag=VALUE" in fact.detail
    with pytest.raises(TrainingError, match="--fix flag=VALUE"):
        training_graph(from_proto(proto), trainer=trainer)
    for behind in (True, False):
        proto = branching(behind=behind)
        for value in (True, 0):
            fixed = from_proto(proto, fix={"flag": value})
            assert [p.name for p in fixed.inputs] == ["x"]
            feeds = {"x": FEATURES}
            expected = Session(from_proto(proto)).run(feeds | {"flag": np.array([bool(value)])})
            assert output_error(expected, Session(fixed).run(feeds)) <= 1e-6
            assert all(
                f.status in ("trains", "rewritten")
                for f in training_report(fixed, trainer=trainer)
                if f.operator == "MatMul"
            )
            assert slopes(fixed, data(x=FEATURES), trainer) > 0


def test_what_cannot_be_fixed_is_said() -> None:
    with pytest.raises(UsageError, match="no input 'nothing' to be fixed; the model has 'x', 'flag'"):
        from_proto(branching(behind=True), fix={"nothing": 1})
    with pytest.raises(UsageError, match="'x' cannot be fixed at"):
        from_proto(branching(behind=True), fix={"x": "words"})
