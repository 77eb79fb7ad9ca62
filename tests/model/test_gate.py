"""What a file may be: refused where it is read, with the name of what is wrong, and never the end of the process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import models
import onnx
import pytest
from onnx import TensorProto, helper

import pysurgeon as ps
from pysurgeon.apart import ApartEndedError, ApartError, Helper
from pysurgeon.errors import ModelError
from pysurgeon.model import Model, from_proto, load
from pysurgeon.operators import lookup
from pysurgeon.operators.operator import Operator
from pysurgeon.widths.structure import Structure

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
BODY = "{ h = MatMul (x, w1) r = Relu (h) y = MatMul (r, w2) }"


def plain() -> onnx.ModelProto:
    return models.parsed(HEAD + "(float[N, 4] x) => (float[N, 3] y)" + BODY, w1=(4, 8), w2=(8, 3))


def net(text: str, **shapes: tuple[int, ...]) -> Callable[[], onnx.ModelProto]:
    return lambda: models.parsed(HEAD + text, **shapes)


def changed(change: Callable[[onnx.ModelProto], object]) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        proto = plain()
        change(proto)
        return proto

    return make


def _typed(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.int32_data.extend([0] * 32)


def _again(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].attribute.append(helper.make_attribute("alpha", 1.0))
    proto.graph.node[1].attribute.append(helper.make_attribute("alpha", 2.0))


def _deep(proto: onnx.ModelProto) -> None:
    for _ in range(20):
        inner = onnx.GraphProto()
        inner.CopyFrom(proto.graph)
        del inner.input[:]
        branches = dict.fromkeys(("then_branch", "else_branch"), inner)
        del proto.graph.node[:]
        proto.graph.node.append(helper.make_node("If", ["x"], ["y"], **branches))
        for attribute in proto.graph.node[0].attribute[1:]:
            del attribute.g.node[:]


def _laughing(proto: onnx.ModelProto) -> None:
    """Thirty functions, each of which calls the one before it twice."""
    for k in range(30):
        before = helper.make_node(f"f{k - 1}" if k else "Relu", ["a"], ["b"], domain="own" if k else "")
        after = helper.make_node(f"f{k - 1}" if k else "Relu", ["b"], ["c"], domain="own" if k else "")
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        proto.functions.append(helper.make_function("own", f"f{k}", ["a"], ["c"], [before, after], opsets))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "f29", "own"


def _endless(proto: onnx.ModelProto) -> None:
    node = helper.make_node("f", ["a"], ["c"], domain="own")
    proto.functions.append(helper.make_function("own", "f", ["a"], ["c"], [node], [helper.make_opsetid("own", 1)]))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "f", "own"


def _cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "r"


def _set(tensor: int, **fields: object) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                proto.graph.initializer[tensor].ClearField(name)  # type: ignore[arg-type]
                getattr(proto.graph.initializer[tensor], name).extend(value)
            else:
                setattr(proto.graph.initializer[tensor], name, value)

    return change


def _external(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL


POOL = "(float[N, 2, 8, 8] x) => (float[N, 2, 4, 4] y) {{ y = MaxPool <kernel_shape = [2, 2], {}> (x) }}"
REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a tensor with fewer bytes": (changed(_set(0, raw_data=b"123")), r"tensor 'w1' has the shape \(4, 8\) of FLOAT, which takes 128 bytes, and 3 are there"),
    "a tensor of a negative size": (changed(_set(0, dims=[-4, 8])), r"tensor 'w1' has the shape \(-4, 8\), which no tensor"),
    "a tensor of a gigantic size": (changed(_set(0, dims=[2**62, 4])), "tensor 'w1' has the shape"),
    "a tensor of size zero that says much": (changed(_set(0, dims=[0, 2**62], raw_data=b"")), "tensor 'w1' has the shape"),
    "a tensor of empty bytes beside its numbers": (changed(_set(0, raw_data=b"", float_data=[0.0] * 32)), "takes 128 bytes, and 0 are there"),
    "a tensor whose numbers are in the field of another type": (changed(_typed), "takes 128 bytes, and 0 are there"),
    "a tensor of no type": (changed(_set(0, data_type=99)), "tensor 'w1' has elements of type 99"),
    "tensors of one name": (changed(_set(0, name="w2")), "there are 2 of the tensor 'w2'"),
    "a tensor elsewhere": (changed(_external), "w1"),
    "values of one name": (changed(lambda p: p.graph.node[1].output.__setitem__(0, "h")), "there are 2 of the value 'h'"),
    "attributes of one name": (changed(_again), "there are 2 of the attribute of .*'alpha'"),
    "no operator": (changed(lambda p: setattr(p.graph.node[1], "op_type", "")), "the node that gives 'r' has no operator"),
    "a cycle": (changed(_cycle), "not a valid ONNX model"),
    "graphs in graphs": (changed(_deep), "graphs in graphs|not an ONNX"),
    "functions that double": (changed(_laughing), "its functions, written out, are more than 200,000 nodes"),
    "a function of itself": (changed(_endless), "function 'f' is made of itself"),
    "strides of zero": (net(POOL.format("strides = [0, 2]")), "'strides' of the MaxPool that gives 'y' is 0; it counts something"),
    "negative dilations": (net(POOL.format("dilations = [-1, 1]")), "'dilations' of the MaxPool that gives 'y' is -1"),
    "a block that is squared": (net("(float[N, 4, 4, 4] x) => (float[N, 1, 8, 8] y) { y = DepthToSpace <blocksize = 1099511627776> (x) }"), "more than anybody could compute"),
    "pads beyond all": (net("(float[N, 2, 8, 8] x) => (float[N, 2, P, Q] y) { y = Conv <kernel_shape = [1, 1], pads = [1099511627776, 1, 1, 1]> (x, k) }", k=(2, 2, 1, 1)), "Conv 'y' gives .* numbers"),
    "a negative size that is inferred": (net("(float[N, 2, 3, 3] x) => (float[N, 2, P, Q] y) <int64[1] b = {-1}, int64[1] e = {5}, int64[1] a = {2}> { c = Conv <kernel_shape = [9, 9]> (x, k) y = Slice (c, b, e, a) }", k=(2, 2, 9, 9)), "contradict one another"),
    "a cell whose weights are another cell's": (net("(float[5, N, 4] x) => (float[5, 1, N, 3] y) { y = LSTM <hidden_size = 3> (x, W, R) }", W=(1, 12, 4), R=(0, 4, 1)), r"LSTM 'y' has an operand \[0, 4, 1\]"),
    "a weight of one axis": (net("(float[N, 2, 8, 8] x) => (float[N, 2, P, Q] y) { y = ConvTranspose <kernel_shape = [2, 2]> (x, k) }", k=(4,)), "ConvTranspose 'y'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    make, said = REFUSED[kind]
    path = tmp_path / "model.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(ModelError, match=said) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [10**9, 2**40, 2**62])
@pytest.mark.parametrize("node", ["z = ConstantOfShape (s)", "zero = Constant <value_int = 0> () one = Constant <value_int = 1> () q = Squeeze (s) z = Range (zero, q, one)",
                                  "zero = Constant <value_ints = [0]> () z = Tile (zero, s)", "zero = Constant <value_ints = [0]> () z = Expand (zero, s)",
                                  "zero = Constant <value_ints = [0, 1]> () z = Pad (zero, p)"])  # fmt: skip
def test_constants_are_worked_out_within_bounds(node: str, size: int) -> None:
    import resource

    text = f"""(float[N, 4] x) => (float[N, 3] y) <int64[1] s = {{{size}}}, int64[2] p = {{0, {size}}}> {{ {node} m = ReduceMax <keepdims = 0> (z)
        f = Cast <to = 1> (m) h = MatMul (x, w) y = Add (h, f) }}"""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(ModelError):
        ps.inspect(from_proto(net(text, w=(4, 3))()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10


def test_a_layer_from_all_to_all_is_not_made_to_be_looked_at() -> None:
    """`inspect` asks what may be inserted behind a layer of many units, and makes none of it."""
    import tracemalloc

    model = from_proto(
        net(
            "(float[N, 1] x) => (float[N, 1] y) { h = MatMul (x, w1) r = Tanh (h) y = MatMul (r, w2) }",
            w1=(1, 20_000),
            w2=(20_000, 1),
        )()
    )
    tracemalloc.start()
    assert ps.inspect(model).layers[0].insertable
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_a_rule_that_stumbles_pins_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    model = from_proto(plain())
    relu = next(n for n in model.nodes if n.op_type == "Relu")
    known = lookup(relu)
    assert known is not None
    broken = Operator(
        lambda inference, node: inference.terms(node.inputs[0])[7] and None, "", macs=lambda node: len(node.inputs) // 0
    )
    monkeypatch.setattr(
        "pysurgeon.widths.constraints.lookup", lambda node: broken if node.op_type == "Relu" else lookup(node)
    )
    widths = Structure(model).widths
    assert not any(w.resizable for w in widths)
    assert any("Relu that gives 'r' is not formed as its operator is (IndexError" in w.reason for w in widths)
    assert broken.count(relu) == 0


@pytest.mark.parametrize("name", models.RUNNABLE)
def test_no_rule_stumbles_over_what_exporters_write(name: str) -> None:
    assert not Structure(from_proto(models.build(name))).constraints.malformed


def test_defects_of_rules_that_are_no_stumbling_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(inference: object, node: object) -> None:
        raise RuntimeError

    model = from_proto(plain())
    monkeypatch.setattr(
        "pysurgeon.widths.constraints.lookup",
        lambda node: Operator(rule, "") if node.op_type == "Relu" else lookup(node),
    )
    with pytest.raises(RuntimeError):
        Structure(model)


def doubtful() -> Model:
    """Scales that are computed: nothing is inferred of their Resize, and onnxruntime 1.19 reads them as if they were known."""
    return from_proto(net("(float[N, 2, 4, 4] x) => (float[N, 2, P, Q] y) { a = Conv <kernel_shape = [1, 1]> (x, k) u = Resize <mode = \"nearest\"> (a, , a) y = Conv <kernel_shape = [1, 1]> (u, k2) }", k=(2, 2, 1, 1), k2=(2, 2, 1, 1))())  # fmt: skip


def test_a_doubtful_model_is_first_run_apart() -> None:
    with pytest.raises(ModelError):
        ps.apply(doubtful(), "widen:a=3")


# --- helpers ------------------------------------------------------------------------------------------------------------------

CODE = """
def answer(request):
    if request == b"abort": os.abort()
    if request == b"leave": os._exit(3)
    if request == b"sleep":
        import time; time.sleep(60)
    if request == b"much": return bytes(1 << 40)
    if request == b"print": print("noise")
    return request[::-1]
"""


def test_a_helper_answers_and_its_end_is_an_error() -> None:
    helper_ = Helper("the helper", CODE, imports=False, seconds=1.0)
    assert helper_.ask(b"abc" * 100_000) == b"cba" * 100_000
    for request, said in (
        (b"abort", "the helper ended by SIGABRT"),
        (b"leave", "exit status 3"),
        (b"sleep", "took more than 1 s"),
    ):
        with pytest.raises(ApartEndedError, match=said):
            helper_.ask(request)
        assert helper_.ask(b"abc") == b"cba"
    with pytest.raises(ApartError, match="MemoryError"):
        helper_.ask(b"much")
    assert helper_.ask(b"print") == b"tnirp"
    helper_.close()
    helper_.close()
