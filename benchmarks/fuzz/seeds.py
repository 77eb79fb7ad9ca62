"""The models that are changed: small, and together with most of what files are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _text(
    body: str, opset: int = 17, ir_version: int = 8, more: str = "", **shapes: tuple[int, ...]
) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        model = onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}{more}]> {body}')
        rng = np.random.default_rng(0)
        for name, shape in shapes.items():
            array = (
                np.abs(0.5 * rng.standard_normal(shape) + 1).astype(np.float32)
                if name == "v"
                else (0.5 * rng.standard_normal(shape)).astype(np.float32)
            )
            tensor = numpy_helper.from_array(array, name)
            if name.endswith("t"):  # in the field of its type, as some exporters write it
                tensor = helper.make_tensor(name, TensorProto.FLOAT, shape, array.ravel().tolist())
            model.graph.initializer.append(tensor)
        return model

    return make


def _branches() -> onnx.ModelProto:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        port = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8])
        return helper.make_graph([helper.make_node(operator, ["h"], [name])], name, [], [port])

    model = _text(
        "g (float[N, 4] x) => (float[N, 3] y) <bool yes = {1}> { h = MatMul (x, w1) r = Relu (h) y = MatMul (r, w2) }",
        w1=(4, 8),
        w2=(8, 3),
    )()
    model.graph.node[1].CopyFrom(
        helper.make_node("If", ["yes"], ["r"], then_branch=branch("a", "Relu"), else_branch=branch("b", "Neg"))
    )
    return model


SEEDS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mlp": _text(
        "g (float[N, 6] x) => (float[N, 3] y) { h = Gemm <transB = 1> (x, w1, b1) r = Relu (h) y = Gemm <transB = 1> (r, w2t, b2) }",
        w1=(8, 6),
        b1=(8,),
        w2t=(3, 8),
        b2=(3,),
    ),
    "images": _text(
        """g (float[N, 2, 8, 8] x) => (float[N, 3] y) {
            a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, k1) n = BatchNormalization <epsilon = 0.001> (a, s, b, m, v) r = Relu (n)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r) d = Conv <kernel_shape = [3, 3], group = 2, strides = [2, 2], dilations = [1, 1]> (p, k2)
            q = GlobalAveragePool (d) f = Flatten <axis = 1> (q) y = Gemm (f, w) }""",
        k1=(4, 2, 3, 3),
        s=(4,),
        b=(4,),
        m=(4,),
        v=(4,),
        k2=(6, 2, 3, 3),
        w=(6, 3),
    ),
    "open images": _text(
        """g (float[N, 2, H, W] x) => (float[N, 3, P] y) <int64[2] hw = {2, 3}, int64[1] one = {-1}, int64[1] three = {3}> {
            a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (x, k1) r = Relu (a) o = Conv <kernel_shape = [1, 1]> (r, k2)
            s = Shape (o) t = Gather (s, hw) p = ReduceProd <axes = [0], keepdims = 1> (t) z = Slice (s, start, end)
            g = Concat <axis = 0> (z, three, p) y = Reshape (o, g) } """.replace(
            "int64[1] three = {3}", "int64[1] three = {3}, int64[1] start = {0}, int64[1] end = {1}"
        ),
        k1=(4, 2, 3, 3),
        k2=(3, 4, 1, 1),
    ),
    "shapes": _text(
        """g (float[N, T, 6] x) => (float[N, T, 6] y) <int64 zero = {0}, int64 one = {1}, int64[1] ax = {0}, int64[1] two = {2}, int64[1] four = {4}, float root = {2.0}> {
            q = MatMul (x, wq) k = MatMul (x, wk) s = Shape (x) n = Gather (s, zero) t = Gather (s, one) n1 = Unsqueeze (n, ax) t1 = Unsqueeze (t, ax)
            shape = Concat <axis = 0> (n1, t1, two, four) qh = Reshape (q, shape) kh = Reshape (k, shape)
            qt = Transpose <perm = [0, 2, 1, 3]> (qh) kt = Transpose <perm = [0, 2, 3, 1]> (kh) e = MatMul (qt, kt) d = Div (e, root)
            w = Softmax <axis = -1> (d) c = MatMul (w, qt) b = Transpose <perm = [0, 2, 1, 3]> (c) eight = Mul (two, four) back = Concat <axis = 0> (n1, t1, eight)
            f = Reshape (b, back) o = MatMul (f, wo) r = Add (o, x) y = LayerNormalization <axis = -1> (r, g1, b1) }""",
        wq=(6, 8),
        wk=(6, 8),
        wo=(8, 6),
        g1=(6,),
        b1=(6,),
    ),
    "parts": _text(
        """g (float[N, 8] x) => (float[N, 3] y) <int64[1] s0 = {0}, int64[1] e0 = {6}, int64[1] s1 = {2}, int64[1] e1 = {8}, int64[1] ax = {1}, int64[2] parts = {2, 4},
            int64[2] pick = {1, 2}, int64[2] shape = {0, -1}, int64[4] pads = {0, 1, 0, 1}, int64[2] reps = {1, 2}, int64[2] wide = {1, 6}> {
            h = MatMul (x, w1) a = Slice (h, s0, e0, ax) b = Slice (h, s1, e1, ax) c, d = Split <axis = 1> (a, parts) e = Gather <axis = 1> (b, pick)
            f = Concat <axis = 1> (c, d, e) p = Pad <mode = "constant"> (f, pads) t = Tile (p, reps) u = Reshape (t, shape) v = Expand (a, wide) i = Concat <axis = 1> (u, v)
            y = MatMul (i, w2) }""",
        w1=(8, 8),
        w2=(26, 3),
    ),
    "recurrent": _text(
        """g (float[5, batch, 4] x, float[1, batch, 3] h0) => (float[batch, 3] y) <int64[1] z = {0}> {
            a, hn, cn = LSTM <hidden_size = 3, direction = "forward"> (x, W, R, B, , h0) s = Squeeze (hn, z) r = Relu (s) y = Gemm (r, w, b) }""",
        W=(1, 12, 4),
        R=(1, 12, 3),
        B=(1, 24),
        w=(3, 3),
        b=(3,),
    ),
    "up": _text(
        """g (float[N, 4, 4, 4] x) => (float[N, 2, 8, 8] y) <float[4] scales = {1.0, 1.0, 2.0, 2.0}> {
            a = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2], group = 1> (x, k1) g = GroupNormalization <num_groups = 2> (a, s, b) h = HardSwish (g)
            p = AveragePool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 0, count_include_pad = 1> (h) d = DepthToSpace <blocksize = 2, mode = "CRD"> (p)
            q = SpaceToDepth <blocksize = 2> (d) u = Resize <mode = "nearest"> (q, , scales) y = Conv <kernel_shape = [1, 1]> (u, k2) }""",
        opset=21,
        ir_version=10,
        k1=(4, 8, 2, 2),
        s=(8,),
        b=(8,),
        k2=(2, 8, 1, 1),
    ),
    "functions": _text(
        """g (float[N, 4] x) => (float[N, 3] y) { h = MatMul (x, w1) r = own.f (h) q = own.g <alpha = 0.5> (r) y = MatMul (q, w2) }
        <opset_import: ["" : 17], domain: "own"> f (a) => (b) { c = Relu (a) b = Add (c, c) }
        <opset_import: ["" : 17, "own" : 1], domain: "own"> g <alpha> (a) => (b) { c = LeakyRelu <alpha: float = @alpha> (a) b = own.f (c) }""",
        more=', "own" : 1',
        w1=(4, 8),
        w2=(8, 3),
    ),
    "steps": _text(
        """g (float[N, 4] x) => (float[N, 3] y) <float s = {0.1}, uint8 z = {128}, int8[8, 3] q = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6}, float t = {0.05}, int8 zz = {0}> {
            h = MatMul (x, w1) a = QuantizeLinear (h, s, z) d = DequantizeLinear (a, s, z) r = Relu (d) w = DequantizeLinear <axis = 1> (q, t, zz) y = MatMul (r, w) }""",
        w1=(4, 8),
    ),
    "letters": _text(
        """g (float[N, 3, 4] x) => (float[N, 2] y) <int64[1] ax = {1}, int64[1] k = {2}, float lo = {0.0}, float hi = {6.0}> {
            h = Einsum <equation = "nti,io->nto"> (x, w1) c = Clip (h, lo, hi) v, i = TopK <axis = 1, largest = 1> (c, k) m = ReduceMean <axes = [1], keepdims = 0> (v)
            u = CumSum (c, axis) l = ReduceMax <axes = [1], keepdims = 0> (u) s = Add (m, l) g = InstanceNormalization (x, is, ib) z = Where (cond, s, s) y = MatMul (z, w2) }""".replace(
            "float hi", "int64 axis = {1}, bool cond = {1}, float hi"
        ),
        w1=(4, 6),
        w2=(6, 2),
        **{"is": (3,)},
        ib=(3,),
    ),
    "table": _text(
        """g (int64[N, 5] x) => (float[N, 3] y) <int64[1] ax = {1}> { e = Gather (table, x) t = Tanh (e) m = ReduceMean <axes = [1], keepdims = 0> (t)
            s = Sigmoid (m) p = Mul (m, s) y = Gemm (p, w, b) }""",
        table=(20, 6),
        w=(6, 3),
        b=(3,),
    ),
    "old": _text(
        """g (float[N, 3, 4, 4] x, float[5, 3, 3, 3] k, float[5, 2] w, float[2] b) => (float[N, 2] y) { c = Conv <kernel_shape = [3, 3], auto_pad = "SAME_UPPER"> (x, k) r = Relu (c)
            u = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]> (r) p = GlobalAveragePool (u) f = Flatten (p) d = Dropout <ratio = 0.5> (f) y = Gemm <alpha = 1.0> (d, w, b) }""",
        opset=7,
        ir_version=3,
        k=(5, 3, 3, 3),
        w=(5, 2),
        b=(2,),
    ),
    "constants": _text(
        """g (float[N, 4] x) => (float[N, 3] y) <int64[1] four = {4}, int64 zero = {0}, int64 eight = {8}, int64 one = {1}, int64[1] ax = {0}> {
            z = ConstantOfShape <value = float[1] {0.5}> (four) n = Range (zero, eight, one) f = Cast <to = 1> (n) a = Add (x, z) h = MatMul (a, w1) p = Add (h, f)
            o = OneHot <axis = -1> (ax, eight, two) s = Mul (p, o) y = MatMul (s, w2) }""".replace(
            "int64[1] ax", "float[2] two = {0.0, 1.0}, int64[1] ax"
        ),
        w1=(4, 8),
        w2=(8, 3),
    ),
    "branches": _branches,
}
