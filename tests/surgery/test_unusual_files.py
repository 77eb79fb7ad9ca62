"""Files that are valid and unusual: each stands for a kind that exporters write."""

from __future__ import annotations

import models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pysurgeon as ps
from pysurgeon.errors import Refused
from pysurgeon.graph.terms import Prod, Sum
from pysurgeon.graph.unification import Solver
from pysurgeon.model import Model, from_proto
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.widths.structure import Structure

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '


def model(text: str, **shapes: tuple[int, ...]) -> Model:
    return from_proto(models.parsed(text if text.startswith("<") else HEAD + text, **shapes))


# --- parts that overlap -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(2, 400), hop=st.integers(1, 5), shift=st.integers(1, 3))
def test_parts_that_overlap_end_in_pins(rows: int, hop: int, shift: int) -> None:
    """Frames of a signal: two slices of it, so many hops apart, whose rows are the same."""
    solver = Solver()
    signal = solver.fresh((rows + shift) * hop)
    parts = [solver.fresh(rows * hop) for _ in range(2)]
    edge = [solver.fresh(shift * hop) for _ in range(2)]
    solver.unify(signal, Sum((parts[0], edge[0])), "the first slice")
    solver.unify(signal, Sum((edge[1], parts[1])), "the second slice")
    frames = [solver.fresh(rows) for _ in parts]
    for part, frame in zip(parts, frames, strict=True):
        solver.unify(part, Prod((frame, solver.fresh(hop))), "its rows")
    solver.unify(frames[0], frames[1], "side by side")
    assert solver.resolve(signal) is not None


def test_frames_of_overlapping_slices_leave_the_layers_behind_them_free() -> None:
    m = model(
        """(float[N, 802] x) => (float[N, 3] y) <int64[1] s0 = {0}, int64[1] e0 = {800}, int64[1] s1 = {2},
        int64[1] e1 = {802}, int64[1] ax = {1}, int64[3] shape = {-1, 400, 2}> {
            a = Slice (x, s0, e0, ax) b = Slice (x, s1, e1, ax) ar = Reshape (a, shape) br = Reshape (b, shape)
            f = Concat <axis = 2> (ar, br) m = MatMul (f, w1) r = Relu (m) p = ReduceMean <axes = [1], keepdims = 0> (r)
            y = MatMul (p, w2) }""",
        w1=(4, 16),
        w2=(16, 3),
    )
    (free,) = [w for w in ps.inspect(m).widths if w.resizable]
    assert free.size == 16
    assert ps.apply(m, f"widen:{free.name}=17").operations[0].measured_error <= 1e-6


# --- batches ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("operation", ["narrow:h=4", "remove:h"])
def test_units_along_the_first_axis_of_a_model_with_a_fixed_batch(batch: int, operation: str) -> None:
    """What is fitted on several batches is what is fitted on all samples at once."""

    def made(size: str) -> Model:
        return model(
            f"""(float[{size}, 5] x) => (float[{size}, 3] y) {{
                h = Gemm <transB = 1> (x, w1) r = Relu (h) t = Transpose <perm = [1, 0]> (r)
                y = Gemm <transA = 1, transB = 1> (t, w2) }}""",
            w1=(6, 5),
            w2=(3, 6),
        )

    x = np.random.default_rng(0).standard_normal((60, 5), np.float32)
    y = np.arange(60) % 3
    data = {f"{name}_{part}": a for part in ("train", "val", "test") for name, a in (("x", x), ("y", y))}
    fixed, free = (ps.apply(made(size), operation, data=data) for size in (str(batch), "N"))
    for name, array in free.model.tensors().items():
        np.testing.assert_allclose(fixed.model.tensor(name), array, rtol=1e-3, atol=1e-5)


def test_a_value_that_mixes_the_samples_of_a_fixed_batch_is_refused() -> None:
    m = model(
        """(float[2, 5] x) => (float[2, 3] y) <int64[2] shape = {2, 6}> {
            h = MatMul (x, w1) t = Transpose <perm = [1, 0]> (h) mixed = Reshape (t, shape) r = Relu (mixed)
            y = MatMul (r, w2) }""",
        w1=(5, 6),
        w2=(6, 3),
    )
    for layer in ps.inspect(m).layers:
        for operation in (f"remove:{layer.name}", f"factorize:{layer.name}=1"):
            try:
                done = ps.apply(m, operation).operations[0]
            except Refused:
                continue
            assert np.isfinite(done.measured_error)


# --- activations --------------------------------------------------------------------------------------------------------------

WRITTEN_OUT = {
    "silu": "s = Sigmoid (h) r = Mul (h, s)",
    "gelu": "d = Div (h, root) e = Erf (d) a = Add (e, one) m = Mul (h, a) r = Mul (m, half)",
    "gelu, halved first": "d = Div (h, root) e = Erf (d) a = Add (e, one) m = Mul (h, half) r = Mul (m, a)",
    "gelu by tanh": "p = Pow (h, three) q = Mul (p, half) u = Add (h, q) t = Tanh (u) w = Add (t, one) m = Mul (h, w) r = Mul (m, half)",
    "hard swish": "a = Add (h, three) k = Clip (a, zero, six) m = Mul (h, k) r = Div (m, six)",
    "mish": "p = Softplus (h) t = Tanh (p) r = Mul (h, t)",
}


@pytest.mark.parametrize("activation", WRITTEN_OUT)
def test_an_activation_that_is_written_out_belongs_to_its_layer(activation: str) -> None:
    m = activated(WRITTEN_OUT[activation])
    bypassed = ps.apply(m, "bypass:h")
    assert bypassed.operations[0].measured_error <= 1e-6
    (added,) = [n for n in bypassed.model.nodes if n.op_type == "Add" and n.name not in {x.name for x in m.nodes}]
    assert [v for v in added.inputs if v is not None and v.name == "r"], "the sum stands behind the activation"
    assert ps.apply(m, "insert:h").operations[0].measured_error <= 1e-6


@pytest.mark.parametrize("between", ["a = Mul (h, half) r = Add (h, a)", "n = Neg (h) r = Sub (h, n)"])
def test_sums_of_multiples_are_no_activation(between: str) -> None:
    with pytest.raises(Refused, match="is linear"):
        ps.apply(activated(between), "bypass:h")


def activated(body: str) -> Model:
    return model(
        f"""(float[N, 6] x) => (float[N, 3] y) <float half = {{0.5}}, float one = {{1.0}}, float root = {{1.4142}},
        float three = {{3.0}}, float six = {{6.0}}, float zero = {{0.0}}> {{
            h = MatMul (x, w1) {body} y = MatMul (r, w2) }}""",
        w1=(6, 16),
        w2=(16, 3),
    )


# --- older forms, and nothing -------------------------------------------------------------------------------------------------


def test_upsample_with_scales_as_an_attribute() -> None:
    m = model(
        """<ir_version: 4, opset_import: ["" : 7]> g (float[N, 3, 4, 4] x) => (float[N, 2] y) {
            c = Conv <kernel_shape = [1, 1]> (x, k) r = Relu (c) u = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]> (r)
            p = GlobalAveragePool (u) f = Flatten (p) y = MatMul (f, w) }""",
        k=(5, 3, 1, 1),
        w=(5, 2),
    )
    feeds = random_feeds(m)
    wide = ps.apply(m, "widen:c=7").model
    narrow = ps.apply(m, "narrow:c=4").model
    assert output_error(Session(m).run(feeds), Session(wide).run(feeds)) <= 1e-6
    assert narrow.tensor("k").shape == (4, 3, 1, 1)


def test_a_of_size_zero() -> None:
    m = model(
        """(float[N, 4] x) => (float[N, 3] y) {
            h = MatMul (x, w1) z = MatMul (x, w0) c = Concat <axis = 1> (h, z) y = MatMul (c, w2) }""",
        w1=(4, 8),
        w0=(4, 0),
        w2=(8, 3),
    )
    assert {x.name for x in ps.inspect(m).layers} >= {"h", "z"}
    for width in Structure(m).widths:
        if width.resizable and width.size:
            assert ps.apply(m, f"widen:{width.name}={width.size + 1}").operations[0].measured_error <= 1e-6


def test_a_width_that_is_read_by_a_tensor_of_size_zero() -> None:
    """Every operation beside a layer without units, on maps of arrays that hold nothing."""
    m = model(
        """(float[N, 4] x) => (float[N, 3] y) {
            g = MatMul (x, w1) h = Relu (g) z = MatMul (h, w0) a = MatMul (h, w3) c = Concat <axis = 1> (h, z, a) y = MatMul (c, w2) }""",
        w1=(4, 8),
        w0=(8, 0),
        w3=(8, 8),
        w2=(16, 3),
    )
    found = ps.inspect(m)
    reasons = next(x.reason for x in found.layers if x.name == "z")
    assert all(said in reasons for said in ("insert: layer 'z' gives nothing", "factorize: the weight of layer 'z'"))
    assert "no units" in next(w.reason for w in found.widths if not w.size)
    feeds = random_feeds(m)
    expected = Session(m).run(feeds)
    for width in found.widths:
        if width.resizable:
            wide = ps.apply(m, f"widen:{width.name}={width.size + 1}").model
            assert output_error(expected, Session(wide).run(feeds)) <= 1e-6
            ps.apply(m, f"narrow:{width.name}={width.size - 1}")
    for layer in found.layers:
        if layer.insertable:
            assert output_error(expected, Session(ps.apply(m, f"insert:{layer.name}").model).run(feeds)) <= 1e-6
        if layer.removable:
            ps.apply(m, f"remove:{layer.name}")
        if layer.factorizable:
            ps.apply(m, f"factorize:{layer.name}=1")


@pytest.mark.parametrize("batch", ["N", "2"])
def test_a_weight_that_is_computed_counts_no_samples(batch: str) -> None:
    """Weight normalization: what the columns are divided by is the same for every batch, of whatever size that was exported."""
    m = model(
        f"""(float[{batch}, 4] x) => (float[{batch}, 3] y) <int64[1] zero = {{0}}> {{
            h = MatMul (x, w1) r = Relu (h) s = Mul (v, v) t = ReduceSum <keepdims = 1> (s, zero) l = Sqrt (t) d = Div (v, l)
            w = Mul (d, g) m = MatMul (r, w) u = Relu (m) y = MatMul (u, w2) }}""",
        w1=(4, 8),
        v=(8, 5),
        g=(1, 5),
        w2=(5, 3),
    )
    for width in ps.inspect(m).widths:
        if width.resizable:
            done = ps.apply(m, f"narrow:{width.name}={width.size - 1}").operations[0]
            assert done.site_error is None or done.site_error < 4 * done.predicted_error + 0.05
