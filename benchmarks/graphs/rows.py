"""Blocks on features along the last axis: of vectors (batch, features) and of sequences (batch, length, features)."""

from __future__ import annotations

from benchmarks.graphs.maker import Maker, Size

Rows = tuple[str, list[Size]]


def activation(m: Maker, x: str, units: int) -> str:
    """One that people use, as an operator or written out."""
    plain = ["Relu", "Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid"]
    plain += ["ThresholdedRelu"] * (m.opset >= 10) + ["Celu"] * (m.opset >= 12) + ["HardSwish"] * (m.opset >= 14)
    plain += ["Mish"] * (m.opset >= 18) + ["Gelu"] * (m.opset >= 20)
    kind = m.rng.choice([*plain, "silu", "relu6", "prelu", "tanh gelu", "none", *["gelu"] * (m.opset >= 9)])
    if kind == "silu":
        return m.op("Mul", x, m.op("Sigmoid", x))
    if kind == "relu6":
        return m.clip(x, 0.0, m.rng.choice([6.0, None]))
    if kind == "prelu":
        return m.op("PRelu", x, m.weight(m.rng.choice([1, units]), around=0.2))
    if kind == "gelu":
        one = m.op("Add", m.op("Erf", m.op("Div", x, m.scalar(2**0.5))), m.scalar(1.0))
        return m.op("Mul", m.op("Mul", x, one), m.scalar(0.5))
    if kind == "tanh gelu":
        cube = m.op("Mul", m.op("Mul", m.op("Mul", x, x), x), m.scalar(0.044715))
        inner = m.op("Tanh", m.op("Mul", m.op("Add", x, cube), m.scalar(0.79788)))
        return m.op("Mul", m.op("Mul", x, m.scalar(0.5)), m.op("Add", inner, m.scalar(1.0)))
    return x if kind == "none" else m.op(kind, x)


def project(m: Maker, x: str, shape: list[Size], units: int, *, bias: bool | None = None) -> str:
    """A dense layer in one of the ways in which it is written."""
    given = int(shape[-1])
    bias = m.chance(0.7) if bias is None else bias
    ways = ["matmul", "matmul"] + ["gemm", "gemm"] * (len(shape) == 2) + ["turned"]
    ways += ["einsum"] * (m.opset >= 12) + ["normed"] * (m.opset >= 9)
    way = m.rng.choice(ways)
    if way == "gemm":
        transposed = m.chance(0.5)
        weight = m.weight(*((units, given) if transposed else (given, units)), fan=given)
        biases = [m.weight(*m.rng.choice([(units,), (1, units), (1,)]))] if bias else []
        if not bias and m.opset < 11:
            biases = [m.array([0.0] * units, "float32")]
        scale = m.rng.choice([None, 0.5, 1.0])
        return m.op("Gemm", x, weight, *biases, transB=int(transposed), alpha=scale, beta=m.rng.choice([None, 2.0]))
    if way == "turned":
        out = m.op("MatMul", x, m.op("Transpose", m.weight(units, given, fan=given), perm=[1, 0]))
    elif way == "einsum":
        letters = "nt"[: len(shape) - 1]
        out = m.op("Einsum", x, m.weight(given, units, fan=given), equation=f"{letters}i,io->{letters}o")
    elif way == "normed":
        # Direction and length of every column apart, as in weight normalization.
        raw = m.weight(given, units)
        length = m.op("ReduceL2", raw, axes=[0], keepdims=1) if m.opset < 18 else m.reduce("L2", raw, 0, keep=True)
        out = m.op("MatMul", x, m.op("Mul", m.op("Div", raw, length), m.weight(1, units, around=1.0)))
    else:
        out = m.op("MatMul", x, m.weight(given, units, fan=given))
    return m.op("Add", *m.rng.sample([out, m.weight(units)], 2)) if bias else out


def dense(m: Maker, x: str, shape: list[Size]) -> Rows:
    """A layer and its activation."""
    units = m.rng.randint(2, 9)
    return activation(m, project(m, x, shape, units), units), [*shape[:-1], units]


def residual(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Two layers beside nothing, a norm before or behind them."""
    hidden, units = m.rng.randint(2, 10), int(shape[-1])
    first = m.chance(0.5)
    given = norm(m, x, shape)[0] if first else x
    inner = activation(m, project(m, given, shape, hidden), hidden)
    out = project(m, inner, [*shape[:-1], hidden], units)
    if m.chance(0.2):
        out = m.op("Mul", out, m.weight(units, around=0.5))
    out = m.op("Add", *m.rng.sample([x, out], 2))
    return (out, shape) if first else norm(m, out, shape)


def norm(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Over the features: as one operator or written out, with a mean taken off or without."""
    units, last = int(shape[-1]), len(shape) - 1
    scale, bias = m.weight(units, around=1.0), m.weight(units)
    if m.opset >= 17 and m.chance(0.5):
        given = [scale] if m.chance(0.3) else [scale, bias]
        return m.op("LayerNormalization", x, *given, axis=-1, epsilon=0.1), shape
    if m.chance(0.3):
        square = m.op("Mul", x, x)
        size = m.op("Sqrt", m.op("Add", m.reduce("Mean", square, last, keep=True), m.scalar(0.1)))
        return m.op("Mul", scale, m.op("Div", x, size)), shape
    centered = m.op("Sub", x, m.reduce("Mean", x, last, keep=True))
    square = m.op("Pow", centered, m.array(2.0, "float32"))
    size = m.op("Sqrt", m.op("Add", m.reduce("Mean", square, last, keep=True), m.scalar(0.1)))
    return m.op("Add", m.op("Mul", m.op("Div", centered, size), scale), bias), shape


def gate(m: Maker, x: str, shape: list[Size]) -> Rows:
    """One half says how much of the other passes."""
    units = m.rng.randint(2, 6)
    if m.chance(0.5):
        a, b = m.split(project(m, x, shape, 2 * units), len(shape) - 1, units, units)
    else:
        a, b = project(m, x, shape, units), project(m, x, shape, units)
    return m.op("Mul", a, activation(m, b, units)), [*shape[:-1], units]


def tied(m: Maker, x: str, shape: list[Size]) -> Rows:
    """A weight that is used twice: in a row, side by side, or there and back again."""
    units = int(shape[-1])
    way = m.rng.choice(["row", "side", "back"])
    if way == "back":
        hidden = m.rng.randint(2, 8)
        weight = m.weight(units, hidden, fan=units)
        code = activation(m, m.op("MatMul", x, weight), hidden)
        return m.op("MatMul", code, m.op("Transpose", weight, perm=[1, 0])), shape
    weight = m.weight(units, units, fan=units)
    first = activation(m, m.op("MatMul", x, weight), units)
    if way == "row":
        return activation(m, m.op("MatMul", first, weight), units), shape
    other = m.op("MatMul", m.op("Tanh", x), weight)
    return m.op("Concat", first, other, axis=-1 if m.opset >= 11 else len(shape) - 1), [*shape[:-1], 2 * units]


def parts(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Features taken apart, turned round and joined again."""
    units, last = int(shape[-1]), len(shape) - 1
    if units < 3:
        return dense(m, x, shape)
    way = m.rng.choice(["split", "overlap", "gather", "pad", "reverse", "shuffle", "tile"])
    if way == "split":
        cut = m.rng.randint(1, units - 1)
        a, b = m.split(x, last, cut, units - cut)
        return m.op("Concat", b, m.op("Tanh", a), axis=last), shape
    if way == "overlap":
        a, b = m.slice(x, last, 0, units - 1), m.slice(x, last, 1, units)
        return m.op("Add", a, m.op("Sigmoid", b)), [*shape[:-1], units - 1]
    if way == "gather":
        chosen = [m.rng.randrange(units) for _ in range(m.rng.randint(2, units))]
        return m.op("Gather", x, m.ints(*chosen), axis=last), [*shape[:-1], len(chosen)]
    if way == "pad":
        pads = [0] * last + [1] + [0] * last + [2]
        return m.pad(x, *pads), [*shape[:-1], units + 3]
    if way == "reverse" and m.opset >= 10:
        return m.slice(x, last, -1, -(2**31), -1), shape
    if way == "tile":
        return m.op("Tile", x, m.ints(*[1] * last, 2)), [*shape[:-1], 2 * units]
    if units % 2 == 0:
        apart = m.reshape(x, [0] * last + [2, units // 2])
        turned = m.op("Transpose", apart, perm=[*range(last), last + 1, last])
        return m.reshape(turned, [0] * last + [-1]), shape
    return m.op("Concat", x, x, axis=last), [*shape[:-1], 2 * units]


def scaled(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Elementwise: with numbers of the features' own, with one number, with its own mean or length."""
    units, last = int(shape[-1]), len(shape) - 1
    way = m.rng.choice(["layer", "number", "mean", "length", "softmax", "double", "product", "where", "reciprocal"])
    if way == "layer":
        return m.op("Mul", m.op("Sub", x, m.weight(units)), m.weight(units, around=1.0)), shape
    if way == "number":
        return m.op(m.rng.choice(["Mul", "Div", "Add", "Sub"]), x, m.scalar(1.7)), shape
    if way == "mean":
        return m.op("Sub", x, m.reduce(m.rng.choice(["Mean", "Max", "Sum"]), x, last, keep=True)), shape
    if way == "length":
        length = m.op("Sqrt", m.op("Add", m.reduce("SumSquare", x, last, keep=True), m.scalar(0.5)))
        return m.op("Div", x, length), shape
    if way == "softmax":
        return m.op("Mul", x, m.op("Softmax", x, axis=last)), shape
    if way == "double":
        wide = m.op("Cast", x, to=11)
        return m.op("Cast", m.op("Mul", wide, m.array(0.5, "float64")), to=1), shape
    if way == "where" and m.opset >= 9:
        return m.op("Where", m.op("Greater", x, m.scalar(-0.2)), x, m.op("Mul", x, m.scalar(0.1))), shape
    if way == "reciprocal":
        return m.op("Reciprocal", m.op("Add", m.op("Exp", m.op("Neg", m.op("Abs", x))), m.scalar(1.0))), shape
    return m.op("Mul", x, m.op("Tanh", project(m, x, shape, units))), shape


def experts(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Several layers, mixed as a softmax says."""
    count, units, last = m.rng.randint(2, 3), m.rng.randint(2, 5), len(shape) - 1
    shares = m.op("Softmax", project(m, x, shape, count), axis=last)
    mixed = []
    for k, share in enumerate(m.split(shares, last, *[1] * count)):
        given = activation(m, project(m, x, shape, units), units) if k else project(m, x, shape, units)
        mixed.append(m.op("Mul", given, share))
    return m.op("Sum", *mixed), [*shape[:-1], units]


def merged(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Two layers side by side, joined or combined."""
    last, a, b = len(shape) - 1, m.rng.randint(2, 5), m.rng.randint(2, 5)
    way = m.rng.choice(["Concat", "Concat", "Max", "Mean", "Mul"])
    left = activation(m, project(m, x, shape, a), a)
    if way == "Concat":
        right, size = (x, int(shape[-1])) if m.chance(0.3) else (project(m, x, shape, b), b)
        return m.op("Concat", left, right, axis=last), [*shape[:-1], a + size]
    return m.op(way, left, project(m, x, shape, a)), [*shape[:-1], a]


def empty(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Nothing of no size, put beside it."""
    last = len(shape) - 1
    nothing = m.slice(x, last, 0, 0) if m.chance(0.5) else m.op("MatMul", x, m.array([[]] * int(shape[-1]), "float32"))
    return m.op("Concat", x, nothing, axis=last), shape


BLOCKS = (
    dense,
    dense,
    dense,
    residual,
    residual,
    norm,
    gate,
    tied,
    parts,
    parts,
    scaled,
    scaled,
    experts,
    merged,
    empty,
)
