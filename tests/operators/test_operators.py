"""Every family of operators between layers: which widths there are, and that widening each of them keeps the function."""

from __future__ import annotations

import models
import numpy as np
import onnx
import pytest
from checks import assert_valid, difference

from pysurgeon.errors import Refused
from pysurgeon.model import Model, from_proto
from pysurgeon.surgery import Calibration, Narrow, Widen, apply_edit, operate
from pysurgeon.surgery.edits.edit import AxisMap, Edit
from pysurgeon.widths.axis_layout import Select
from pysurgeon.widths.structure import Structure, Width

HEADS = "int64[4] heads = {0, 0, 2, 4}, int64[3] flat = {0, 0, -1}"


def net(body: str, *, x: str, y: str, constants: str = "", opset: int = 17, **shapes: tuple[int, ...]) -> Model:
    """A model with this body between the input `x` and the output `y`."""
    held = f"<{constants}>" if constants else ""
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g (float[{x}] x) => (float[{y}] y) {held} {{ {body} }}'
    return from_proto(models.parsed(text, seed=3, **shapes))


ATTENTION = """
    q0 = MatMul (x, wq) k0 = MatMul (x, wk) v0 = MatMul (x, wv)
    q1 = Reshape (q0, heads) k1 = Reshape (k0, {kv}) v1 = Reshape (v0, {kv})
    q = Transpose <perm = [0, 2, 1, 3]> (q1) {rope}
    k = Transpose <perm = [0, 2, 3, 1]> (k2) v = Transpose <perm = [0, 2, 1, 3]> (v2)
    s = MatMul (q, k) a = Softmax <axis = -1> (s) h = MatMul (a, v)
    h1 = Transpose <perm = [0, 2, 1, 3]> (h) h2 = Reshape (h1, flat) y = MatMul (h2, wo)
"""

PLAIN = ATTENTION.format(kv="heads", rope="k2 = Identity (k1) v2 = Identity (v1)")
# Two heads of keys and values, each for two heads of queries.
GROUPED = ATTENTION.format(
    kv="shared",
    rope=(
        "k3 = Unsqueeze (k1, three) k4 = Expand (k3, repeat) k2 = Reshape (k4, heads)"
        " v3 = Unsqueeze (v1, three) v4 = Expand (v3, repeat) v2 = Reshape (v4, heads)"
    ),
)
SHAPES = {"wq": (6, 8), "wk": (6, 8), "wv": (6, 8), "wo": (8, 3)}
FUSED = """
    qkv0 = MatMul (x, w) qkv = Reshape (qkv0, three_heads) t = Transpose <perm = [2, 0, 3, 1, 4]> (qkv)
    q = Gather <axis = 0> (t, i0) k = Gather <axis = 0> (t, i1) v = Gather <axis = 0> (t, i2)
    k1 = Transpose <perm = [0, 1, 3, 2]> (k) s = MatMul (q, k1) a = Softmax <axis = -1> (s) h = MatMul (a, v)
    h1 = Transpose <perm = [0, 2, 1, 3]> (h) h2 = Reshape (h1, flat) y = MatMul (h2, wo)
"""

CASES: dict[str, tuple[Model, set[int]]] = {
    # name: (model, sizes of the widths that can be widened exactly)
    "attention": (net(PLAIN, x="N, T, 6", y="N, T, 3", constants=HEADS, **SHAPES), {2, 4}),
    "grouped queries": (
        net(
            GROUPED,
            x="N, 5, 6",
            y="N, 5, 3",
            constants="int64[4] heads = {0, 0, 4, 3}, int64[4] shared = {0, 0, 2, 3}, int64[1] three = {3}, "
            "int64[5] repeat = {1, 1, 1, 2, 1}, int64[3] flat = {0, 0, -1}",
            wq=(6, 12),
            wk=(6, 6),
            wv=(6, 6),
            wo=(12, 3),
        ),
        {2, 3},
    ),
    "fused queries, keys and values": (
        net(
            FUSED,
            x="N, T, 6",
            y="N, T, 3",
            constants="int64[5] three_heads = {0, 0, 3, 2, 4}, int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {-1}, "
            "int64[3] flat = {0, 0, -1}",
            w=(6, 24),
            wo=(8, 3),
        ),
        {2, 4},
    ),
    "gate of two halves": (
        net(
            "h = MatMul (x, w) a, b = Split <axis = -1> (h) g = Sigmoid (b) t = Mul (a, g) y = MatMul (t, v)",
            x="N, 6",
            y="N, 3",
            w=(6, 10),
            v=(5, 3),
        ),
        {5},
    ),
    "slices": (
        net(
            "h = MatMul (x, w) a = Slice (h, zero, four, axis) b = Slice (h, minus, end, axis) r = Tanh (b)"
            " t = Concat <axis = 1> (r, a) y = MatMul (t, v)",
            x="N, 6",
            y="N, 3",
            constants="int64[1] zero = {0}, int64[1] four = {4}, int64[1] axis = {1}, int64[1] minus = {-3}, "
            "int64[1] end = {9223372036854775807}",
            w=(6, 7),
            v=(7, 3),
        ),
        {4, 3},
    ),
    "every second element": (
        net(
            "h = MatMul (x, w) a = Slice (h, zero, end, axis, two) t = Relu (a) y = MatMul (t, v)",
            x="N, 6",
            y="N, 3",
            constants="int64[1] zero = {0}, int64[1] two = {2}, int64[1] axis = {1}, int64[1] end = {8}",
            w=(6, 8),
            v=(4, 3),
        ),
        {4},
    ),
    "one step of a sequence": (
        net(
            "h = MatMul (x, w) a = Gather <axis = 1> (h, last) t = Relu (a) y = MatMul (t, v)",
            x="N, 4, 6",
            y="N, 3",
            constants="int64 last = {-1}",
            w=(6, 5),
            v=(5, 3),
        ),
        {5},
    ),
    "pixels from channels": (
        net(
            "h = Conv <pads = [1, 1, 1, 1]> (x, w) d = DepthToSpace <blocksize = 2> (h) t = Relu (d)"
            " c = Conv (t, v) y = GlobalAveragePool (c)",
            x="N, 2, 4, 4",
            y="N, 3, 1, 1",
            w=(12, 2, 3, 3),
            v=(3, 3, 1, 1),
        ),
        {3},
    ),
    "transposed convolution": (
        net(
            "h = Conv (x, w) r = Relu (h) t = ConvTranspose <strides = [2, 2]> (r, u, b) s = Tanh (t) c = Conv (s, v)"
            " y = GlobalAveragePool (c)",
            x="N, 2, 4, 4",
            y="N, 3, 1, 1",
            w=(5, 2, 1, 1),
            u=(5, 4, 2, 2),
            b=(4,),
            v=(3, 4, 1, 1),
        ),
        {5, 4},
    ),
    "padded channels": (
        net(
            "h = Conv (x, w) p = Pad (h, pads) q = Conv (x, u) s = Add (p, q) r = Relu (s) c = Conv (r, v)"
            " y = GlobalAveragePool (c)",
            x="N, 2, 4, 4",
            y="N, 3, 1, 1",
            constants="int64[8] pads = {0, 1, 0, 0, 0, 2, 0, 0}",
            w=(4, 2, 1, 1),
            u=(7, 2, 1, 1),
            v=(3, 7, 1, 1),
        ),
        {4},
    ),
    "tiled": (
        net(
            "h = MatMul (x, w) t = Tile (h, two) y = MatMul (t, v)",
            x="N, 6",
            y="N, 3",
            constants="int64[2] two = {1, 2}",
            w=(6, 5),
            v=(10, 3),
        ),
        {5},
    ),
    "einsum": (
        net(
            'a = Einsum <equation = "nti,ih->nth"> (x, w) t = Relu (a) y = Einsum <equation = "nth,ho->nto"> (t, v)',
            x="N, 4, 6",
            y="N, 4, 3",
            w=(6, 5),
            v=(5, 3),
        ),
        {5},
    ),
    "einsum with an ellipsis and without a result": (
        net(
            'a = Einsum <equation = "...i,ih"> (x, w) t = Relu (a) y = Einsum <equation = "... h, h o -> ... o"> (t, v)',
            x="N, 4, 6",
            y="N, 4, 3",
            w=(6, 5),
            v=(5, 3),
        ),
        {5},
    ),
    "tokens mixed by a convolution of one tap": (
        net(
            "h = MatMul (x, w) c = Conv (h, k, b) r = Relu (c) y = MatMul (r, v)",
            x="N, 4, 6",
            y="N, 4, 3",
            w=(6, 5),
            k=(4, 4, 1),
            b=(4,),
            v=(5, 3),
        ),
        {5},
    ),
    "tokens mixed between queries and keys": (
        net(
            "q = MatMul (x, wq) k0 = MatMul (x, wk) k = Conv (k0, c) t = Transpose <perm = [0, 2, 1]> (k) y = MatMul (q, t)",
            x="N, 4, 6",
            y="N, 4, 4",
            wq=(6, 5),
            wk=(6, 5),
            c=(4, 4, 1),
        ),
        {5},
    ),
    "steps cut where it is computed": (
        net(
            "h = MatMul (x, w) s = Shape <start = 1, end = 2> (x) e = Sub (s, one) a = Slice (h, zero, e, one) t = Relu (a)"
            " y = MatMul (t, v)",
            x="N, T, 6",
            y="N, S, 3",
            constants="int64[1] zero = {0}, int64[1] one = {1}",
            w=(6, 5),
            v=(5, 3),
        ),
        {5},
    ),
    "elements from their places and back": (
        net(
            "h = MatMul (x, w) e = Expand (step, all) g = GatherElements <axis = 1> (h, e) t = Tanh (g)"
            ' s = ScatterElements <axis = 1, reduction = "add"> (h, e, t) y = MatMul (s, v)',
            x="2, 4, 6",
            y="2, 4, 3",
            constants="int64[1, 1, 5] step = {2, 0, 1, 3, 2}, int64[3] all = {2, 4, 5}",
            opset=18,
            w=(6, 5),
            v=(5, 3),
        ),
        {5},
    ),
    "nodes of a graph": (
        net(
            "h = MatMul (x, w) g = GatherND (h, from) t = Tanh (g) s = ScatterND (h, to, t) y = MatMul (s, v)",
            x="N, 6",
            y="N, 3",
            constants="int64[3, 1] from = {0, 0, 1}, int64[3, 1] to = {2, 1, 0}",
            opset=18,
            w=(6, 5),
            v=(5, 3),
        ),
        {5},
    ),
    "steps turned round": (
        net(
            "h = MatMul (x, w) r = ReverseSequence <batch_axis = 0, time_axis = 1> (h, lengths) t = Relu (r) y = MatMul (t, v)",
            x="2, 4, 6",
            y="2, 4, 3",
            constants="int64[2] lengths = {2, 3}",
            w=(6, 5),
            v=(5, 3),
        ),
        {5},
    ),
    "pixels sampled at points": (
        net(
            "h = Conv (x, w) s = GridSample (h, points) t = Relu (s) c = Conv (t, v) y = GlobalAveragePool (c)",
            x="2, 2, 4, 4",
            y="2, 3, 1, 1",
            w=(5, 2, 1, 1),
            points=(2, 3, 3, 2),
            v=(3, 5, 1, 1),
        ),
        {5},
    ),
    "regions of images": (
        net(
            "h = Conv (x, w) i = Constant <value_ints = [0, 1, 1]> () r = RoiAlign <output_height = 2, output_width = 2> (h, boxes, i)"
            " c = Conv (r, v) y = GlobalAveragePool (c)",
            x="2, 2, 4, 4",
            y="3, 3, 1, 1",
            w=(5, 2, 1, 1),
            boxes=(3, 4),
            v=(3, 5, 1, 1),
        ),
        {5},
    ),
    "groups of channels, normalized": (
        net(
            "h = Conv (x, w) n = GroupNormalization <num_groups = 2> (h, s, b) r = Relu (n) c = Conv (r, v)"
            " y = GlobalAveragePool (c)",
            x="N, 2, 4, 4",
            y="N, 3, 1, 1",
            opset=21,
            w=(6, 2, 1, 1),
            s=(6,),
            b=(6,),
            v=(3, 6, 1, 1),
        ),
        {2},
    ),
    "attention as one operator": (
        net(
            "q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)"
            " h = Attention <q_num_heads = 2, kv_num_heads = 2, scale = 0.5> (q, k, v) y = MatMul (h, wo)",
            x="N, 5, 6",
            y="N, 5, 3",
            opset=23,
            **SHAPES,
        ),
        {2, 4},
    ),
    **{
        kind: (
            net(
                f"s, last = {kind} <hidden_size = 5> (x, w, r, b) z = Squeeze (last, zero) y = MatMul (z, v)",
                x="4, N, 6",
                y="N, 3",
                constants="int64[1] zero = {0}",
                w=(1, 5 * gates, 6),
                r=(1, 5 * gates, 5),
                b=(1, 10 * gates),
                v=(5, 3),
            ),
            {5},
        )
        for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
    },
}


def exact(structure: Structure) -> list[Width]:
    return [w for w in structure.widths if w.exact]


@pytest.mark.parametrize("name", CASES)
def test_the_widths_that_are_exact(name):
    model, sizes = CASES[name]
    assert {w.size for w in exact(Structure(model))} >= sizes


@pytest.mark.parametrize("how", ["fresh", "split"])
@pytest.mark.parametrize("name", CASES)
def test_widening_keeps_the_function(name, how):
    model = CASES[name][0]
    for width in exact(Structure(model)):
        for size in (width.size + 1, 2 * width.size + 1):
            wider = operate(model, Widen(width.name, size, how=how, seed=size)).model
            assert difference(model, wider) <= 1e-5
            assert_valid(wider, like=model)


@pytest.mark.parametrize("name", CASES)
def test_narrowing_gives_a_valid_model(name):
    model = CASES[name][0]
    for width in Structure(model).widths:
        if width.resizable and width.size > 1:
            narrow = operate(model, Narrow(width.name, width.size - 1)).model
            assert_valid(narrow, like=model)
            assert narrow.parameter_count() < model.parameter_count()


@pytest.mark.parametrize("name", CASES)
def test_one_tensor_in_another_order_is_seen(name):
    """For every tensor of every width: its units shifted by one, and the outputs are others."""
    model = CASES[name][0]
    structure = Structure(model)
    for width in exact(structure):
        if width.size < 2 or name == "tiled":
            continue
        edit = Widen(width.name, 2 * width.size + 1, how="split", seed=1).plan(structure, Calibration(model)).edit
        for k, m in enumerate(edit.maps):
            assert isinstance(m.map, Select)
            if model.tensor(m.tensor).size == width.size and width.size < 3:
                continue
            shifted = AxisMap(m.tensor, m.axis, m.dim, Select(np.roll(m.map.index, 1), m.map.scale))
            wrong = apply_edit(Edit(structure, (*edit.maps[:k], shifted, *edit.maps[k + 1 :])))
            assert difference(model, wrong) > 1e-4, (width.name, m.tensor)


def test_along_an_average_whole_multiples_are_exact():
    model = net(
        "h = MatMul (x, w) n = LayerNormalization (h, s, b) t = Tanh (n) y = MatMul (t, v)",
        x="N, 6",
        y="N, 3",
        w=(6, 5),
        s=(5,),
        b=(5,),
        v=(5, 3),
    )
    (width,) = [w for w in Structure(model).widths if w.resizable]
    assert width.averaged
    assert difference(model, operate(model, Widen(width.name, 15)).model) <= 1e-5
    with pytest.raises(Refused, match="widen it to 10"):
        operate(model, Widen(width.name, 6))
    with pytest.raises(Refused, match="widen it to 10"):
        operate(model, Widen(width.name, 12))


def test_an_average_over_parts_side_by_side_is_no_multiple_of_one_of_them():
    """The last unit is picked and stays; twice the others beside it would move the average."""
    model = net(
        "h = MatMul (x, w) a = Gather <axis = 1> (h, last) g = Sigmoid (a) m = ReduceMean <axes = [1]> (h)"
        " c = Sub (h, m) t = Mul (c, g) y = MatMul (t, v)",
        x="N, 6",
        y="N, 3",
        constants="int64[1] last = {-1}",
        w=(6, 5),
        v=(5, 3),
    )
    width = next(w for w in Structure(model).widths if w.size == 4)
    assert (width.resizable, width.exact, width.averaged) == (True, False, False)
    with pytest.raises(Refused, match="together with what stands beside it"):
        operate(model, Widen(width.name, 8))


def test_a_share_that_cannot_be_carried_is_refused():
    """Queries go through a nonlinearity and so do keys: neither can bring the share along."""
    model = net(
        "q0 = MatMul (x, wq) k0 = MatMul (x, wk) q = Sigmoid (q0) k1 = Tanh (k0) k = Transpose <perm = [0, 2, 1]> (k1)"
        " s = MatMul (q, k) a = Softmax (s) y = MatMul (a, x)",
        x="N, 4, 6",
        y="N, 4, 6",
        wq=(6, 5),
        wk=(6, 5),
    )
    width = next(w for w in Structure(model).widths if w.size == 5)
    assert width.resizable
    assert not width.exact
    with pytest.raises(Refused, match="does not let a share of a unit through"):
        operate(model, Widen(width.name, 7))


def test_a_long_chain():
    """Ten thousand nodes on one width: no recursion, no quadratic growth that would be felt here."""
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["h0"])]
    nodes += [onnx.helper.make_node("Relu", [f"h{k}"], [f"h{k + 1}"]) for k in range(10_000)]
    nodes += [onnx.helper.make_node("MatMul", ["h10000", "v"], ["y"])]
    info = onnx.helper.make_tensor_value_info
    rng = np.random.default_rng(0)
    graph = onnx.helper.make_graph(
        nodes,
        "chain",
        [info("x", onnx.TensorProto.FLOAT, ["N", 3])],
        [info("y", onnx.TensorProto.FLOAT, ["N", 2])],
        [
            onnx.numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
            for n, s in (("w", (3, 4)), ("v", (4, 2)))
        ],
    )
    model = from_proto(onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)]))
    assert [w.name for w in Structure(model).widths if w.exact] == ["h0"]
