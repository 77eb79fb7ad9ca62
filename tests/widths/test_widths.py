"""Which axes belong together, under which name, and why something keeps its size."""

from __future__ import annotations

import models
import numpy as np
import onnx
import pytest
from checks import structure
from onnx import TensorProto, helper, numpy_helper

from pysurgeon.errors import ModelError, Refused
from pysurgeon.graph.terms import leaves, size
from pysurgeon.model import from_proto
from pysurgeon.model.session import Session
from pysurgeon.surgery import Calibration, Narrow, Widen, apply_edit, operate
from pysurgeon.widths.structure import Structure

# name: (size, elements of the writer's axis that one unit stands for), of all widths that can be resized
RESIZABLE: dict[str, dict[str, tuple[int, int]]] = {
    "mlp_relu": {"1": (9, 1), "3": (7, 1)},
    "cnn_bn": {"0": (6, 1), "3": (5, 1), "8": (8, 1)},
    "residual": {"0": (4, 1), "2.conv1": (4, 1), "3.conv1": (6, 1), "3.conv2": (6, 1)},
    "dense_net": {"stem": (3, 1), "a": (4, 1), "b": (5, 1)},
    "inception": {"one": (3, 1), "three": (4, 1), "five": (2, 1), "mix": (6, 1)},
    "grouped": {"0": (2, 4), "0.inner": (4, 2), "2.inner": (2, 6), "2.inner_2": (3, 4), "4.inner": (2, 4), "6": (6, 1)},
    "mobile": {"stem": (4, 1), "expand": (8, 1), "expand.inner": (1, 8), "depth.inner": (1, 8), "down": (3, 1)},
    "shuffle": {"a.inner": (4, 3), "c.inner": (2, 3)},
    "flatten_view": {"conv": (5, 1), "fc1": (8, 1)},
    "flatten_product": {"conv": (5, 1), "fc1": (8, 1)},
    "flatten_nhwc": {"conv": (5, 1), "fc1": (8, 1)},
    "reduce_mean": {"conv": (5, 1), "fc1": (8, 1)},
    "mixer": {"stem": (6, 1), "up1": (8, 1), "up2": (7, 1)},
    "attention": {"stem": (6, 1), "q": (2, 4), "q.inner": (4, 2), "v.inner": (4, 2)},
    "tied": {"stem": (6, 1)},
    "tokens": {"a": (6, 1)},
    "softmax": {"1": (7, 1)},
    "conv1d": {"0": (6, 1), "2": (4, 1)},
    "one_unit": {"0": (1, 1), "3": (1, 1)},
    "one_layer": {},
    "float64": {"1": (9, 1), "3": (7, 1)},
}


@pytest.mark.parametrize("exporter", ["legacy", "training", pytest.param("dynamo", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RESIZABLE)
def test_every_exporter_gives_the_same_widths(name, exporter):
    widths = structure(f"{name}.{exporter}").widths
    assert {w.name: (w.size, w.multiple) for w in widths if w.resizable} == RESIZABLE[name]
    assert len({w.name for w in widths}) == len(widths)


@pytest.mark.parametrize("name", [*models.RUNNABLE, *models.UNRUNNABLE])
def test_bindings_are_consistent(name):
    s = structure(name)
    for width in s.widths:
        assert width.exact == (not width.reason)
        assert width.exact <= width.resizable
        assert not (width.averaged and width.exact)
        assert set(width.exponents) <= {*width.writers, *width.readers}
        assert not set(width.writers) & set(width.readers)
        assert {(r.tensor, r.axis) for r in width.reads} <= {*width.readers, *width.writers}
        for tensor, axis in (*width.writers, *width.readers):
            term = s.term(tensor, axis)
            assert width.dim in leaves(term)
            assert size(term) in (None, s.model.tensor(tensor).shape[axis])
        if width.resizable:
            assert width.writers
            assert width.readers or width.products
        for read in width.reads:
            assert size(s.value_term(read.value, read.value_axis)) == size(s.term(read.tensor, read.axis)) or (
                "group" in {a.name for a in s.constraints.size_attributes}
            )


def test_a_residual_is_one_width():
    width = structure("residual.training").width("0")
    assert ("0.weight", 0) in width.writers
    assert ("2.conv2.weight", 0) in width.writers
    assert ("2.bn2.running_var", 0) in width.writers
    assert {t for t, _ in width.readers} == {"2.conv1.weight", "3.conv1.weight", "3.short.weight"}


def test_a_flattened_width_knows_its_pixels():
    for name, position in (("flatten_view.legacy", 0), ("flatten_nhwc.legacy", -1)):
        s = structure(name)
        term = s.term("fc1.weight", 1)
        assert [d.size for d in leaves(term)] == ([5, 3, 3] if position == 0 else [3, 3, 5])
        assert list(leaves(term))[position] is s.width("conv").dim


def test_a_depthwise_convolution_writes_the_width_it_reads():
    s = structure("mobile.training")
    width = s.width("expand")
    assert ("depth.weight", 0) in width.writers
    assert ("up.weight", 0) in width.writers  # the gate of squeeze and excitation
    assert {t for t, _ in width.readers} == {"down.weight", "project.weight"}


@pytest.mark.parametrize(
    ("name", "width", "reason"),
    [
        ("mlp_relu.legacy", "5", "graph output 'logits'"),
        ("softmax.legacy", "3", "Softmax '/4/Softmax' runs along it"),
        ("shuffle.legacy", "b.inner", "do not line up at Conv '/c/Conv'"),
        ("unknown_operator", "second", "Normalizer that gives 'u': this operator of 'ai.onnx.ml' is not known"),
        ("custom_domain", "second", "Mystery that gives 'u': this operator of 'some.domain' is not known"),
        ("subgraph", "h", "'r' is used inside a subgraph"),
        ("subgraph", "j", "holds a subgraph"),
    ],
)
def test_what_cannot_be_resized_says_why(name, width, reason):
    found = structure(name).width(width)
    assert not found.resizable
    assert not found.exact
    assert reason in found.reason


@pytest.mark.parametrize("name", ["unknown_operator", "custom_domain"])
def test_an_unknown_operator_pins_its_neighbours_only(name):
    assert {w.name: w.resizable for w in structure(name).widths} == {
        "first": True,
        "second": False,
        "third": True,
        "fourth": False,
    }


def test_a_weight_that_is_an_input_too_is_a_weight():
    s = structure("overridable")
    assert "w1" in s.model.trainable()
    assert [p.name for p in s.model.inputs] == ["x"]
    assert any("w1" in {t for t, _ in w.writers} for w in s.widths if w.resizable)


def test_layers_that_share_a_bias_share_a_width():
    width = structure("shared_bias").width("a")
    assert {t for t, _ in width.writers} == {"w1", "w2", "b"}
    assert {t for t, _ in width.readers} == {"w2", "w3"}


def test_names_that_do_not_exist_are_refused_with_those_that_do():
    with pytest.raises(Refused, match="no width 'none'; this model has 1, 3, 5"):
        structure("mlp_relu.legacy").width("none")
    with pytest.raises(Refused, match="no layer 'none'; this model has 1, 3, 5"):
        structure("mlp_relu.legacy").layer("none")


# --- operators, one equation at a time ----------------------------------------------------------------------------------------

WEIGHTS = {"w1": (3, 6), "w2": (6, 6), "w3": (6, 2)}


def between(body: str, *, inputs: str = "float[N, 3] x", output: str = "float[N, 2] y", opset: int = 17, **more):
    """Two or three dense layers with something between them; `h` is written by `w1`, `t` is read by `w3`."""
    return Structure(
        from_proto(
            models.parsed(
                f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({output}) '
                f"<int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}> {{ h = MatMul (x, w1) {body} y = MatMul (t, w3) }}",
                **{**{k: s for k, s in WEIGHTS.items() if k in body or k != "w2"}, **more},
            )
        )
    )


@pytest.mark.parametrize(
    ("body", "resizable"),
    [
        ("t = Relu (h)", True),
        ("t = Clip (h)", True),
        ("t = Cast <to = 1> (h)", True),
        ("a = Tanh (h) t = Mul (a, h)", True),
        ("t = Dropout (h)", True),
        ("t = Where (c, h, h)", True),  # the choice is a tensor of the file, and moves along
        ("a = Unsqueeze (h, two) t = Squeeze (a, two)", True),
        ("a = Unsqueeze (h, one) b = Transpose <perm = [0, 2, 1]> (a) t = Squeeze (b, two)", True),
        ("t = Softmax <axis = 1> (h)", False),
        ("t = LogSoftmax (h)", False),
        ("a = ReduceSum (h, one) t = Div (h, a)", None),
        ("a = ReduceMean <axes = [0]> (h) t = Sub (h, a)", True),
        ("a = ReduceMax <axes = [-1], keepdims = 0> (h) b = Unsqueeze (a, one) t = Mul (h, b)", None),
        ("a = ReduceSum <noop_with_empty_axes = 1> (h) t = Relu (a)", True),
        ("t = CumSum (h, axis)", False),
        ("t = Gather <axis = 1> (h, picks)", False),
        ("t = LpNormalization (h)", None),
        ("a = Transpose (h) t = Transpose (a)", True),
        ("t = MatMul (h, w2)", True),
        ("a = Transpose (h) b = MatMul (a, h) t = MatMul (h, b)", None),
        ("a, i = TopK (h, six) t = Identity (a)", False),
    ],
)
def test_operators_between_two_layers(body, resizable):
    model = models.parsed(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 2] y) '
        f"<int64[1] one = {{1}}, int64[1] two = {{2}}, int64 axis = {{1}}, int64[6] picks = {{0, 1, 2, 3, 4, 5}}, int64[1] six = {{6}}> "
        f"{{ h = MatMul (x, w1) {body} y = MatMul (t, w3) }}",
        **WEIGHTS,
    )
    if "(c," in body:
        model.graph.initializer.append(numpy_helper.from_array(np.arange(6) % 2 == 0, "c"))
    width = Structure(from_proto(model)).widths[0]
    assert (width.resizable, width.exact) == ((True, False) if resizable is None else (resizable, resizable))


@pytest.mark.parametrize(("opset", "pinned"), [(11, True), (13, False)])
def test_softmax_flattened_before_opset_13(opset, pinned):
    """Before opset 13, Softmax along axis 1 of three ran over axes 1 and 2."""
    model = models.parsed(
        f"""<ir_version: 6, opset_import: ["" : {opset}]> g (float[N, 4, 3] x) => (float[N, 4, 2] y) {{
            h = MatMul (x, w1)
            t = Softmax <axis = 1> (h)
            y = MatMul (t, w3)
        }}""",
        w1=(3, 6),
        w3=(6, 2),
    )
    assert Structure(from_proto(model)).widths[0].resizable is not pinned


@pytest.mark.parametrize("back", ["z = Gemm <transB = 1> (r, w)", "v = Transpose (w) z = MatMul (r, v)"])
def test_a_tensor_that_writes_and_reads_a_width(back):
    """An autoencoder with tied weights: the units are w's columns where they are written and where they are read."""
    model = models.parsed(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 6] x) => (float[N, 6] z) {{
            h = MatMul (x, w)
            r = Relu (h)
            {back}
        }}""",
        w=(6, 5),
    )
    width = next(w for w in Structure(from_proto(model)).widths if w.size == 5)
    assert "it writes this width in one place and reads it in another" in width.reason
    assert width.resizable
    model = from_proto(model)
    with pytest.raises(Refused, match="cannot be widened without changing the function"):
        operate(model, Widen(width.name, 10))
    assert operate(model, Narrow(width.name, 3)).model.tensor("w").shape == (6, 3)


def test_a_tensor_that_is_read_and_passed_on_writes():
    """Behind one transposition, w is contracted by one user and multiplied elementwise by the other."""
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[5, 3] x) => (float[5, 2] y) {
            h = MatMul (x, w1)
            v = Transpose (w)
            a = MatMul (h, v)
            b = Mul (a, v)
            y = MatMul (b, w3)
        }""",
        w1=(3, 5),
        w=(5, 5),
        w3=(5, 2),
    )
    s = Structure(from_proto(model))
    assert ("w", 1) in s.width("h").writers
    assert not s.width("h").readers


def test_zero_in_a_reshape_copies_from_another_axis():
    """(4, 4, 2) -> (2, 4, 4) by [2, 0, -1]: the size of axis 1 is copied, its elements are others."""
    model = from_proto(
        models.parsed(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[4, 3] x) => (float[2, 4, 2] y)
                <int64[3] a = {4, 4, 2}, int64[3] b = {2, 0, -1}> {
                h = MatMul (x, w1)
                i = Reshape (h, a)
                j = Reshape (i, b)
                y = MatMul (j, w2)
            }""",
            w1=(3, 8),
            w2=(4, 2),
        )
    )
    widths = Structure(model).widths
    assert sum("copies its size from another axis" in w.reason for w in widths) == 2
    for width in widths:
        if width.resizable:
            operate(model, Widen(width.name, width.size + 3))


def test_zero_in_a_reshape_copies_the_batch():
    with pytest.raises(ModelError, match=r"Reshape 'a'"):  # a float shape is no shape
        between("a = Reshape (h, shape) b = Tanh (a) t = Reshape (b, back)", shape=(1,), back=(1,))
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 2] y)
            <int64[3] shape = {0, 2, 3}, int64[2] back = {0, -1}> {
            h = MatMul (x, w1)
            a = Reshape (h, shape)
            t = Reshape (a, back)
            y = MatMul (t, w3)
        }""",
        w1=(3, 6),
        w3=(6, 2),
    )
    s = Structure(from_proto(model))
    assert [(w.name, w.size, w.resizable) for w in s.widths] == [
        ("h", 2, True),
        ("h.inner", 3, True),
        ("y", 2, False),
    ]


def test_statistics_of_a_layer_norm_are_averages():
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, T, 3] x) => (float[N, T, 2] y) {
            h = MatMul (x, w1)
            n, mean, dev = LayerNormalization <axis = -1> (h, s, b)
            t = Mul (n, mean)
            y = MatMul (t, w3)
        }""",
        w1=(3, 6),
        s=(6,),
        b=(6,),
        w3=(6, 2),
    )
    s = Structure(from_proto(model))
    width = s.width("h")
    assert (width.resizable, width.exact, width.averaged) == (True, False, True)
    assert operate(s.model, Widen("h", 18)).record.measured_error <= 1e-5
    with pytest.raises(Refused, match="only whole multiples keep the function"):
        operate(s.model, Widen("h", 8))


def test_pixels_of_unknown_number_before_a_dense_layer():
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2, H, W] x) => (float[N, 4] y) {
            c = Conv (x, w1)
            r = Relu (c)
            f = Flatten (r)
            y = Gemm (f, w2)
        }""",
        w1=(5, 2, 1, 1),
        w2=(45, 4),
    )
    width = Structure(from_proto(model)).widths[0]
    assert not width.resizable
    assert "known size" in width.reason


def test_pixels_of_unknown_number_before_pooling():
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2, H, W] x) => (float[N, 4] y) {
            c = Conv (x, w1)
            r = GlobalAveragePool (c)
            f = Flatten (r)
            y = Gemm (f, w2)
        }""",
        w1=(5, 2, 1, 1),
        w2=(5, 4),
    )
    assert Structure(from_proto(model)).widths[0].resizable


def test_two_dynamic_axes_and_a_flattening():
    """Tokens of any number: (N, T, C) -> (N*T, C)."""
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, T, 3] x) => (float[M, 2] y) <int64[2] flat = {-1, 6}> {
            h = MatMul (x, w1)
            r = Relu (h)
            f = Reshape (r, flat)
            y = Gemm (f, w3)
        }""",
        w1=(3, 6),
        w3=(6, 2),
    )
    assert Structure(from_proto(model)).widths[0].resizable


def test_one_unit_that_is_stretched_keeps_its_size():
    """A gate of one unit for all others: two units would not be stretched."""
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 2] y) {
            h = MatMul (x, w1)
            g = MatMul (h, gate)
            s = Sigmoid (g)
            t = Mul (h, s)
            y = MatMul (t, w3)
        }""",
        w1=(3, 6),
        gate=(6, 1),
        w3=(6, 2),
    )
    s = Structure(from_proto(model))
    assert s.width("h").resizable
    assert "it is broadcast in" in s.width("g").reason


def test_a_product_with_a_vector_reads():
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N] y) {
            h = MatMul (x, w1)
            y = MatMul (h, v)
        }""",
        w1=(3, 6),
        v=(6,),
    )
    width = Structure(from_proto(model)).widths[0]
    assert width.readers == (("v", 0),)
    assert operate(from_proto(model), Widen(width.name, 8)).record.measured_error <= 1e-5


def test_unknown_operators_keep_their_shapes_for_what_follows():
    """After an edit, shapes are inferred anew, which cannot be done behind an operator that nobody knows."""
    proto = models.build("custom_domain")
    s = Structure(from_proto(proto))
    wider = apply_edit(Widen("first", 9).plan(s, Calibration(s.model)).edit)
    assert {w.name: w.resizable for w in Structure(wider).widths} == {w.name: w.resizable for w in s.widths}


def test_the_share_goes_into_what_weights_are_computed_from():
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Mul", ["g", "v"], ["w2"]),  # weight normalization
        helper.make_node("Conv", ["a", "w2"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w3"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    shapes = {"w1": (5, 2, 1, 1), "g": (6, 1, 1, 1), "v": (6, 5, 1, 1), "w3": (6, 3)}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "normed",
        [info("x", TensorProto.FLOAT, ["N", 2, 4, 4])],
        [info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), k) for k, s in shapes.items()],
    )
    model = from_proto(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]))
    s = Structure(model)
    assert onnx.checker.check_model(model.to_proto(), full_check=True) is None
    assert s.width("a").writers == (("w1", 0), ("v", 1))
    assert s.width("a").exponents == {("w1", 0): 0, ("v", 1): 1}
    for how in ("fresh", "split"):
        assert operate(model, Widen("a", 8, how=how)).record.measured_error <= 1e-5


@pytest.mark.parametrize("used", [True, False])
def test_places_of_a_pooling_are_counted_through_all_channels(used):
    """The place of a pixel is that in the whole array, so that it depends on how many channels there are."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2, 4, 4] x) => (float[N, 3, 2, 2] y) {{
        h = Conv (x, w1)
        p, places = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h)
        f = Cast <to = 1> (places)
        t = {"Add (p, f)" if used else "Relu (p)"}
        y = Conv (t, w2)
    }}"""
    (width, _) = Structure(from_proto(models.parsed(text, w1=(5, 2, 1, 1), w2=(3, 5, 1, 1)))).widths
    assert width.resizable is not used
    assert not used or "gives places that are counted through it" in width.reason


@pytest.mark.parametrize("more", ["strides = [2]", "pads = [0, 1]", "pads = [1, 0]"])
def test_a_convolution_of_one_tap_that_moves_is_no_dense_layer(more):
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4, 6] x) => (float[N, 4, 3] y) {{
        h = MatMul (x, w1)
        c = Conv <{more}> (h, k)
        y = MatMul (c, w2)
    }}"""
    inner = 3 if "strides" in more else 6
    width = Structure(from_proto(models.parsed(text, w1=(6, 5), k=(4, 4, 1), w2=(inner, 3)))).widths[0]
    assert not width.resizable
    assert "spatial axis" in width.reason


def test_a_shape_that_is_not_known_has_a_cause():
    """The nearest operator before it that nobody knows, and not the one that happens to come next."""
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17, "some.domain" : 1]> g (float[N, 3] x) => (float[N, 2] y) {
            h = MatMul (x, w1)
            u = some.domain.Mystery (h)
            v = Relu (u)
            t = MatMul (v, w2)
            y = Relu (t)
        }""",
        w1=(3, 6),
        w2=(6, 2),
    )
    s = Structure(from_proto(model))
    reasons = {w.name: w.reason for w in s.widths}
    assert "this operator of 'some.domain' is not known" in reasons["h"]
    assert "is not known, since the Mystery that gives 'u' of 'some.domain' is not" in reasons["t"]


@pytest.mark.parametrize("seen", ["z = Shape (h)", "s = Shape (r) z = Slice (s, one, two)", "z = Identity (both)"])
def test_a_size_that_somebody_sees_stays(seen):
    """Sizes that are outputs of the graph, measured or put together from what is written down, are part of what it computes."""
    model = from_proto(
        models.parsed(
            f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, T, 3] x) => (float[N, T, 2] y, int64[K] z)
                <int64 zero = {{0}}, int64[1] one = {{2}}, int64[1] two = {{3}}, int64[2] eight = {{4, 8}}> {{
                h = MatMul (x, w1)
                n = Shape <start = 0, end = 1> (h)
                t = Shape <start = 1, end = 2> (h)
                both = Concat <axis = 0> (t, n, eight)
                a = Reshape (h, both)
                r = Tanh (a)
                back = Shape <start = 0, end = 2> (x)
                all = Concat <axis = 0> (back, last)
                f = Reshape (r, all)
                y = MatMul (f, w2)
                {seen}
            }}""".replace("int64 zero = {0}", "int64[1] last = {32}"),
            w1=(3, 32),
            w2=(32, 2),
        )
    )
    assert {w.reason for w in Structure(model).widths if w.resizable} <= {""}
    feeds = {"x": np.ones((2, 5, 3), np.float32)}
    expected = Session(model).run(feeds)["z"]
    for width in Structure(model).widths:
        if width.resizable:
            assert np.array_equal(
                Session(operate(model, Widen(width.name, width.size + 2)).model).run(feeds)["z"], expected
            )
    assert any(
        "graph output" in w.reason or "somebody" in w.reason or "computed" in w.reason for w in Structure(model).widths
    )
