"""Nothing that depends on an open dimension becomes a number: at every size, what is saved computes what the file computes."""

from __future__ import annotations

import numpy as np
import onnx
import open_sizes
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from open_sizes import KINDS, assert_same, assert_sizes, integers, run

from pysurgeon.graph import constant
from pysurgeon.model import from_proto
from pysurgeon.surgery import Calibration, InsertLayer, Narrow, Widen, operate
from pysurgeon.widths.structure import Structure


@pytest.fixture(scope="module", params=[(kind, levels) for kind in KINDS for levels in (2, 3, 4, 5)], ids=str)
def proto(request):
    kind, levels = request.param
    return KINDS[kind](np.random.default_rng(levels), levels)


def test_loading_keeps_the_function_at_every_size(proto):
    assert_same(proto, from_proto(proto), tolerance=1e-5)


def test_every_size_that_is_said_is_the_one_that_comes_out(proto):
    model = from_proto(proto)
    for x in open_sizes.inputs(proto):
        assert_sizes(model, x)


def test_operations_keep_it_at_every_size(proto):
    model = from_proto(proto)
    calibration = Calibration(model)
    for name, how in zip([w.name for w in Structure(model).widths if w.resizable], ("fresh", "split"), strict=False):
        model = operate(model, Widen(name, 11, how=how), calibration).model
    model = operate(model, InsertLayer("conv1"), calibration).model
    assert_same(proto, model, tolerance=2e-5)


def test_a_width_that_nothing_depends_on_is_narrowed_for_every_size(proto):
    """Units that are zero, and read by nobody, go without a trace; so the file is the judge of this, too."""
    spare = onnx.ModelProto.FromString(proto.SerializeToString())
    tensors = {t.name: t for t in spare.graph.initializer}
    for name in ("w0", "b0", "w1", "b1"):
        array = np.array(onnx.numpy_helper.to_array(tensors[name]))
        array[4:] = 0  # conv1 as well: the smallest pyramid adds what the two give
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    narrowed = operate(from_proto(spare), Narrow("conv0", 4)).model
    assert_same(spare, narrowed, tolerance=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_layers_in_front_of_what_computes_sizes_can_be_resized(kind):
    widths = Structure(from_proto(KINDS[kind](np.random.default_rng(0), 4))).widths
    resizable = {w.name for w in widths if w.resizable}
    assert {"conv0", "conv1", "conv2"} <= resizable


def test_what_is_the_same_for_every_size_becomes_a_constant_all_the_same():
    proto = KINDS["flat"](np.random.default_rng(0), 4)
    reshape = next(n for n in from_proto(proto).nodes if n.op_type == "Reshape")
    np.testing.assert_array_equal(constant(reshape.inputs[1]), [0, 2, -1])


# --- arithmetic on sizes, put together at random -------------------------------------------------------------------------------


class Arithmetic:
    """Writes nodes that compute sizes from the shape of a map, and numbers that can be asked for at any size."""

    def __init__(self, draw, source, rank):
        self.draw, self.source, self.rank = draw, source, rank
        self.nodes, self.tensors = [], []

    def node(self, op_type, *names, **attributes):
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(names), [output], **attributes))
        return output

    def integers(self, *numbers):
        name = f"i{len(self.tensors)}"
        self.tensors.append(integers(name, list(numbers)))
        return name

    def dimension(self):
        """One size as a row of one: an axis of the map, taken in one of the ways in which exporters do."""
        axis, shape = self.draw(st.integers(0, self.rank - 1)), self.node("Shape", self.source)
        way = self.draw(st.sampled_from(["gather", "slice", "negative", "split", "scalar"]))
        if way == "gather":
            return self.node("Gather", shape, self.integers(axis))
        if way == "negative":
            return self.node("Gather", shape, self.integers(axis - self.rank))
        if way == "scalar":
            name = f"i{len(self.tensors)}"
            self.tensors.append(integers(name, axis))
            return self.node("Unsqueeze", self.node("Gather", shape, name), self.integers(0))
        if way == "split" and axis < self.rank - 1:
            return self.node("Slice", shape, self.integers(axis - self.rank), self.integers(axis + 1 - self.rank))
        return self.node("Slice", shape, self.integers(axis), self.integers(axis + 1), self.integers(0))

    def number(self, depth):
        """A number of at least 1, as a row of one."""
        if depth == 0 or self.draw(st.integers(0, 3)) == 0:
            return self.dimension() if self.draw(st.booleans()) else self.integers(self.draw(st.integers(1, 5)))
        a = self.number(depth - 1)
        way = self.draw(st.sampled_from(["Add", "Mul", "Div", "Sub", "Max", "Min", "Mod", "half", "prod", "where"]))
        if way == "half":
            floats = self.node("Cast", a, to=TensorProto.FLOAT)
            name = f"i{len(self.tensors)}"
            self.tensors.append(
                onnx.numpy_helper.from_array(np.array([self.draw(st.sampled_from([0.5, 2, 0.3]))], np.float32), name)
            )
            rounded = self.node(self.draw(st.sampled_from(["Floor", "Ceil"])), self.node("Mul", floats, name))
            return self.node("Max", self.node("Cast", rounded, to=TensorProto.INT64), self.integers(1))
        if way == "prod":
            both = self.node("Concat", a, self.integers(self.draw(st.integers(1, 3))), axis=0)
            return self.node("ReduceProd", both, axes=[0], keepdims=1)
        b = self.number(depth - 1)
        if way == "where":
            return self.node("Where", self.node("Less", a, b), a, b)
        found = self.node(way, a, b)
        return found if way in ("Add", "Mul", "Max", "Min") else self.node("Max", found, self.integers(1))


@st.composite
def arithmetic(draw):
    """A map behind strides, and several ends that take sizes computed from its shape."""
    levels = draw(st.integers(0, 4))
    (nodes, tensors), last = open_sizes.trunk(np.random.default_rng(levels), levels)
    write = Arithmetic(draw, last, 4)
    small = write.node("Min", write.number(3), write.integers(23))
    ends = []
    for k, kind in enumerate(draw(st.lists(st.sampled_from(_ENDS), min_size=1, max_size=3, unique=True))):
        end, rank = kind(write, last, small)
        write.nodes.append(helper.make_node("Identity", [end], [f"y{k}"]))
        ends.append((f"y{k}", [f"y{k}_{axis}" for axis in range(rank)]))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*nodes, *write.nodes],
        "arithmetic",
        [info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [info(name, TensorProto.FLOAT, shape) for name, shape in ends],
        [*tensors, *write.tensors],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _flattened(write, x, size):
    kept = write.draw(st.integers(1, 3))
    front = write.node("Slice", write.node("Shape", x), write.integers(0), write.integers(kept), write.integers(0))
    return write.node("Reshape", x, write.node("Concat", front, write.integers(-1), axis=0)), kept + 1


def _regrouped(write, x, size):
    """To a shape that is computed number by number: what is left is a product of sizes."""
    shape = write.node("Shape", x)
    parts = [write.node("Gather", shape, write.integers(k)) for k in range(4)]
    chosen = write.draw(st.integers(1, 3))
    rest = write.node("ReduceProd", write.node("Concat", *parts[chosen:], axis=0), axes=[0], keepdims=1)
    return write.node("Reshape", x, write.node("Concat", *parts[:chosen], rest, axis=0)), chosen + 1


def _resized(write, x, size):
    front = write.node("Slice", write.node("Shape", x), write.integers(0), write.integers(2), write.integers(0))
    return write.node(
        "Resize", x, "", "", write.node("Concat", front, size, write.number(1), axis=0), mode="nearest"
    ), 4


def _stretched(write, x, size):
    x = write.node("ReduceMax", x, axes=[1, 2, 3], keepdims=1)
    front = write.node("Slice", write.node("Shape", x), write.integers(0), write.integers(1), write.integers(0))
    return write.node("Expand", x, write.node("Concat", front, size, write.integers(1), write.integers(2), axis=0)), 4


def _filled(write, x, size):
    filled = write.node("ConstantOfShape", write.node("Concat", size, write.integers(2), axis=0))
    return write.node("Cast", filled, to=TensorProto.FLOAT), 2


def _counted(write, x, size):
    names = [write.node("Squeeze", part) for part in (write.integers(0), size, write.integers(1))]
    return write.node("Cast", write.node("Range", *names), to=TensorProto.FLOAT), 1


def _cut(write, x, size):
    return write.node("Slice", x, write.integers(0), size, write.integers(write.draw(st.integers(2, 3)))), 4


def _parted(write, x, size):
    return write.node("Tile", x, write.node("Concat", write.integers(1), size, write.integers(1, 1), axis=0)), 4


_ENDS = (_flattened, _regrouped, _resized, _stretched, _filled, _counted, _cut, _parted)


@settings(max_examples=120, deadline=None)
@given(
    proto=arithmetic(), sizes=st.lists(st.tuples(st.integers(1, 3), *[st.integers(1, 70)] * 2), min_size=3, max_size=3)
)
def test_arithmetic_on_open_sizes_is_kept_at_every_size(proto, sizes):
    loaded = from_proto(proto)
    for batch, height, width in sizes:
        x = np.random.default_rng(0).standard_normal((batch, 3, height, width)).astype(np.float32)
        try:
            expected = run(proto, x, optimized=False)
        except Exception:  # noqa: BLE001  (the file does not take this size)
            event("a size that the file does not take")
            continue
        for a, b in zip(expected, run(loaded, x, optimized=False), strict=True):
            np.testing.assert_array_equal(a, b)
        assert_sizes(loaded, x)
