"""Branches, loops and sequences that always run the same way, beside the models as they were, run by onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pysurgeon.model import Model, from_proto
from pysurgeon.surgery import Widen, operate
from pysurgeon.widths.structure import Structure

CONTROL = {"If", "Loop", "SplitToSequence", "SequenceAt", "SequenceInsert", "ConcatFromSequence", "SequenceLength"}


def parsed(text: str, **tensors: Any) -> onnx.ModelProto:
    """A model of the text format with float32 tensors."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    for name, array in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, np.float32), f"{name}_weight"))
    return model


def run(model: onnx.ModelProto, *x: Any) -> list[Any]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, dict(zip([i.name for i in session.get_inputs()], x, strict=True)))
    return outputs


def straight(model: onnx.ModelProto, *x: Any) -> Model:
    """The loaded model, which has no control flow left and computes the same under the same names."""
    loaded = from_proto(model)
    assert not {n.op_type for n in loaded.nodes} & CONTROL
    written = loaded.to_proto()
    onnx.checker.check_model(written, full_check=True)
    assert [o.name for o in written.graph.output] == [o.name for o in model.graph.output]
    for before, after in zip(run(model, *x), run(written, *x), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)
    return loaded


RNG = np.random.default_rng(0)
W1, W2, W3 = (RNG.standard_normal(s).astype(np.float32) for s in ((8, 5), (8, 8), (3, 8)))
X = RNG.standard_normal((4, 5)).astype(np.float32)


@pytest.mark.parametrize("taken", [True, False])
def test_the_branch_that_is_taken_stays(taken: bool) -> None:
    model = parsed(
        f"""net (float[N, 5] x) => (float[N, 3] y) <bool c = {{{int(taken)}}}> {{
            h = Gemm <transB = 1> (x, one_weight)
            r = If (c) <
                then_branch = a () => (float[N, 8] t) {{ t = Gemm <transB = 1> (h, two_weight) }},
                else_branch = b () => (float[N, 8] t) {{ t = Relu (h) }}
            >
            y = Gemm <transB = 1> (r, three_weight)
        }}""",
        one=W1,
        two=W2,
        three=W3,
    )
    loaded = straight(model, X)
    assert {n.op_type for n in loaded.nodes} == ({"Gemm"} if taken else {"Gemm", "Relu"})
    assert any("written out" in note for note in loaded.notes)
    # What the other branch would have used holds nothing any more.
    width = Structure(loaded).width("one")
    assert width.resizable, width.reason
    done = operate(loaded, Widen(width.name, 11))
    np.testing.assert_allclose(run(done.model.to_proto(), X)[0], run(model, X)[0], rtol=1e-4, atol=1e-5)


def loop(
    body: str, *, rounds: str = "int64 m = {3}", outputs: str = "float[N, 8] h2", inputs: str = "float[N, 8] h"
) -> str:
    return f"""net (float[N, 5] x) => (float[N, 3] y) <{rounds}, bool go = {{1}}> {{
        h0 = Gemm <transB = 1> (x, one_weight)
        {"r" if outputs.count(",") < 2 else "r, s"} = Loop (m, go, h0) <body = inner (int64 i, bool c, {inputs}) => (bool c2, {outputs}) {{ {body} }}>
        y = Gemm <transB = 1> (r, three_weight)
    }}"""


def test_a_loop_becomes_its_rounds_and_shares_its_tensors() -> None:
    model = parsed(
        loop("c2 = Identity (c) g = Gemm <transB = 1> (h, two_weight) t = Tanh (g) h2 = Add (t, h)"),
        one=W1,
        two=W2,
        three=W3,
    )
    loaded = straight(model, X)
    assert sum(n.op_type == "Tanh" for n in loaded.nodes) == 3
    assert set(loaded.trainable()) == {"one_weight", "two_weight", "three_weight"}
    width = Structure(loaded).width("one")
    assert width.resizable, width.reason
    done = operate(loaded, Widen("one", 12))
    assert done.model.tensor("two_weight").shape == (12, 12)
    np.testing.assert_allclose(run(done.model.to_proto(), X)[0], run(model, X)[0], rtol=1e-4, atol=1e-5)


def test_what_a_loop_collects_is_stacked_and_rounds_know_their_number() -> None:
    text = """net (float[N, 5] x) => (float[N, 8] r, float[3, N, 8] s) <int64 m = {3}, bool go = {1}> {
        h0 = Gemm <transB = 1> (x, one_weight)
        r, s = Loop (m, go, h0) <body = inner (int64 i, bool c, float[N, 8] h) => (bool c2, float[N, 8] h2, float[N, 8] k) {
            c2 = Constant <value = bool {1}> ()
            zero = Constant <value = int64 {0}> ()
            is_first = Equal (i, zero)
            h2 = If (is_first) <
                then_branch = a () => (float[N, 8] t) { t = Neg (h) },
                else_branch = b () => (float[N, 8] t) { t = Gemm <transB = 1> (h, two_weight) }
            >
            k = Relu (h2)
        }>
    }"""
    loaded = straight(parsed(text, one=W1, two=W2), X)
    # The branch of each round is known once its number is.
    assert sum(n.op_type == "Neg" for n in loaded.nodes) == 1
    assert sum(n.op_type == "Gemm" for n in loaded.nodes) == 3


def test_tensors_inside_a_loop_are_not_copied() -> None:
    model = parsed(loop("c2 = Identity (c) g = MatMul (h, w) h2 = Relu (g)"), one=W1, three=W3)
    body = next(n for n in model.graph.node if n.op_type == "Loop").attribute[0].g
    body.initializer.append(numpy_helper.from_array(W2, "w"))
    held = parsed(loop("c2 = Identity (c) g = MatMul (h, w) h2 = Relu (g)"), one=W1, three=W3)
    inner = next(n for n in held.graph.node if n.op_type == "Loop").attribute[0].g
    inner.node.insert(0, helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(W2)))
    for given_as in (model, held):
        loaded = straight(given_as, X)
        (shared,) = {n.inputs[1].name for n in loaded.nodes if n.op_type == "MatMul" and n.inputs[1] is not None}
        np.testing.assert_array_equal(loaded.tensor(str(shared)), W2)


def test_names_of_scopes_that_stay_are_not_given_away() -> None:
    """What is inside a branch that is not known must not have the name of something outside, whatever is written out beside it."""
    text = """net (float[N, 5] x) => (float[N, 8] y) <int64 m = {2}, bool go = {1}, float z = {0.0}> {
        h0 = Gemm <transB = 1> (x, one_weight)
        r = Loop (m, go, h0) <body = b2 (int64 i2, bool c3, float[N, 8] g) => (bool c4, float[N, 8] g2) {
            c4 = Identity (c3)
            s = ReduceSum <keepdims = 0> (g)
            d = Less (s, z)
            g2 = If (d) <
                then_branch = t () => (float[N, 8] u) { q = Relu (g) u = Tanh (q) },
                else_branch = e () => (float[N, 8] v) { q = Exp (g) v = Sigmoid (q) }
            >
        }>
        y = Loop (m, go, r) <body = b1 (int64 i, bool c, float[N, 8] h) => (bool c2, float[N, 8] h2) {
            c2 = Identity (c)
            q = Relu (h)
            h2 = Neg (q)
        }>
    }"""
    model = parsed(text, one=W1)
    loaded = from_proto(model)
    kinds = [n.op_type for n in loaded.nodes]
    assert (kinds.count("Loop"), kinds.count("If"), kinds.count("Neg")) == (0, 2, 2)
    outside = {o.name for n in loaded.nodes for o in n.outputs}
    inside = {o.name for n in loaded.ir.graph.all_nodes() for o in n.outputs} - outside
    assert "q" in inside
    written = loaded.to_proto()
    onnx.checker.check_model(written, full_check=True)
    np.testing.assert_allclose(run(written, X)[0], run(model, X)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        # It ends when its sum is large enough.
        parsed(
            loop(
                "s = ReduceSum <keepdims = 0> (h) t = Constant <value = float {99.0}> () c2 = Less (s, t) h2 = Add (h, h)"
            ),
            one=W1,
            three=W3,
        ),
        parsed(loop("c2 = Identity (c) h2 = Add (h, h)", rounds="int64 m = {99999}"), one=W1, three=W3),
        parsed(loop("c2 = Identity (c) h2 = Add (h, h)", rounds="int64 m = {0}"), one=W1, three=W3),
    ],
    ids=["ends earlier", "too long", "never runs"],
)
def test_a_loop_that_is_not_known_stays_one_and_pins(model: onnx.ModelProto) -> None:
    loaded = from_proto(model)
    assert [n.op_type for n in loaded.nodes].count("Loop") == 1
    assert not Structure(loaded).width("one").resizable


def test_a_condition_that_is_computed_from_data_stays() -> None:
    model = parsed(
        """net (float[N, 5] x) => (float[N, 8] r) <float z = {0.0}> {
            h = Gemm <transB = 1> (x, one_weight)
            s = ReduceSum <keepdims = 0> (h)
            c = Less (s, z)
            r = If (c) <
                then_branch = a () => (float[N, 8] t) { t = Neg (h) }, else_branch = b () => (float[N, 8] t) { t = Relu (h) }
            >
        }""",
        one=W1,
    )
    loaded = from_proto(model)
    assert [n.op_type for n in loaded.nodes].count("If") == 1
    np.testing.assert_array_equal(run(loaded.to_proto(), X)[0], run(model, X)[0])


@pytest.mark.parametrize(
    ("sizes", "keepdims", "parts"),
    [
        (None, 1, [1] * 6),
        (None, 0, [1] * 6),
        (np.array(1), 0, [1] * 6),  # the standard says otherwise than onnxruntime does
        (np.array(4), 1, [4, 2]),
        (np.array([1, 3, 2]), 1, [1, 3, 2]),
        (np.array([2, 4]), 0, [2, 4]),
    ],
    ids=str,
)
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_a_tensor_is_split_as_onnxruntime_does(sizes: Any, keepdims: int, parts: list[int], opset: int) -> None:
    x = RNG.standard_normal((2, 6, 3)).astype(np.float32)
    dropped = keepdims == 0 and (sizes is None or sizes.ndim == 0)
    for at in (0, -1, len(parts) - 1):
        inputs = ["x"] if sizes is None else ["x", "sizes"]
        nodes = [
            helper.make_node("SplitToSequence", inputs, ["q"], axis=-2, keepdims=keepdims),
            helper.make_node("SequenceAt", ["q", "at"], ["e"]),
            helper.make_node("Relu", ["e"], ["y"]),
        ]
        tensors = {"at": np.array(at)} | ({} if sizes is None else {"sizes": sizes})
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c"][: 2 if dropped else 3])],
            [numpy_helper.from_array(a.astype(np.int64), n) for n, a in tensors.items()],
        )
        straight(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), x)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(-9, 9), st.booleans()),
        st.tuples(st.just("erase"), st.integers(-9, 9), st.booleans()),
        st.tuples(st.just("relu"), st.integers(-9, 9), st.booleans()),
    ),
    max_size=6,
)


@given(st.integers(1, 4), STEPS, st.booleans(), st.booleans())
@settings(max_examples=60)
def test_random_programs_on_sequences_compute_the_same(
    parts: int, steps: list[Any], stacks: bool, constructs: bool
) -> None:
    x = RNG.standard_normal((2, 2 * parts, 3)).astype(np.float32)
    nodes, tensors, count = [], {"two": np.array(2)}, parts
    if constructs:
        nodes.append(helper.make_node("SequenceConstruct", ["x"] * parts, ["q0"]))
    else:
        nodes.append(helper.make_node("SplitToSequence", ["x", "two"], ["q0"], axis=1))
    last = "q0"
    for k, (kind, at, says) in enumerate(steps):
        low, high = (-count, count) if kind == "insert" else (-count, count - 1)
        if count == 0 and kind != "insert":
            continue
        tensors[f"at{k}"] = np.array(min(max(at, low), high))
        where = [f"at{k}"] if says else []
        if kind == "erase" and count > 1:
            nodes.append(helper.make_node("SequenceErase", [last, *where], [f"q{k + 1}"]))
            count, last = count - 1, f"q{k + 1}"
        elif kind != "erase":
            tensors[f"from{k}"] = np.array(at % count)
            nodes.append(helper.make_node("SequenceAt", [last, f"from{k}"], [f"e{k}"]))
            nodes.append(helper.make_node("Neg", [f"e{k}"], [f"n{k}"]))
            nodes.append(helper.make_node("SequenceInsert", [last, f"n{k}", *where], [f"q{k + 1}"]))
            count, last = count + 1, f"q{k + 1}"
    nodes.append(helper.make_node("SequenceLength", [last], ["count"]))
    nodes.append(helper.make_node("ConcatFromSequence", [last], ["y"], axis=-1 if stacks else 1, new_axis=int(stacks)))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c", "d"][: 3 + stacks]),
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
        ],
        [numpy_helper.from_array(a.astype(np.int64), n) for n, a in tensors.items()],
    )
    straight(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), x)
