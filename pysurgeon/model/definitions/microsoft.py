"""com.microsoft: what onnxruntime's optimizers fuse. Source: ContribOperators.md of onnxruntime 1.19."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.builder import Builder, CannotWriteError
from pysurgeon.graph.tensors import Array

if TYPE_CHECKING:
    import onnx

# What stands in a place where nothing may be looked at; ten orders of magnitude above any score.
_NEVER = -1e30

# Of the fused normalizations; those of one input have 1e-5, like the standard operator.
_SKIP_EPSILON = 1e-12


def gelu(build: Builder, x: ir.Value | None = None) -> ir.Value:
    """`x / 2 * (1 + erf(x / sqrt(2)))`."""
    x = build.x() if x is None else x
    erf = build.op("Erf", build.op("Div", x, build.scalar(math.sqrt(2))))
    return build.op("Mul", build.op("Mul", x, build.op("Add", erf, build.scalar(1))), build.scalar(0.5))


def bias_gelu(build: Builder) -> ir.Value:
    """Gelu of `x + bias`."""
    return gelu(build, build.op("Add", build.x(), build.input(1)))


def fast_gelu(build: Builder) -> ir.Value:
    """`x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`, of `x + bias` where there is one."""
    x, bias = build.x(), build.input(1)
    x = x if bias is None else build.op("Add", x, bias)
    cube = build.op("Mul", build.op("Mul", x, x), x)
    inner = build.op("Add", x, build.op("Mul", cube, build.scalar(0.044715)))
    tanh = build.op("Tanh", build.op("Mul", inner, build.scalar(math.sqrt(2 / math.pi))))
    return build.op("Mul", build.op("Mul", x, build.op("Add", tanh, build.scalar(1))), build.scalar(0.5))


def quick_gelu(build: Builder) -> ir.Value:
    """`x * sigmoid(alpha x)`."""
    alpha = build.node.attributes.get_float("alpha", 1.702)
    return build.op("Mul", build.x(), build.op("Sigmoid", build.op("Mul", build.x(), build.scalar(alpha))))


def layer_norm(
    build: Builder, x: ir.Value, scale: ir.Value | None, bias: ir.Value | None, default: float = _SKIP_EPSILON
) -> ir.Value:
    """Along the last axis; with an operator of its own where the opset has one."""
    epsilon = build.node.attributes.get_float("epsilon", default)
    if build.opset >= 17:
        return build.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)
    centred = build.op("Sub", x, build.reduce("ReduceMean", x, [-1], keepdims=True))
    y = build.op("Mul", _over_root_mean_square(build, centred, epsilon), scale)
    return y if bias is None else build.op("Add", y, bias)


def rms_norm(build: Builder, x: ir.Value, scale: ir.Value | None, default: float = _SKIP_EPSILON) -> ir.Value:
    """LayerNormalization without the mean (Zhang and Sennrich 2019), along the last axis."""
    return build.op("Mul", _over_root_mean_square(build, x, build.node.attributes.get_float("epsilon", default)), scale)


def _over_root_mean_square(build: Builder, x: ir.Value, epsilon: float) -> ir.Value:
    mean = build.reduce("ReduceMean", build.op("Mul", x, x), [-1], keepdims=True)
    return build.op("Div", x, build.op("Sqrt", build.op("Add", mean, build.scalar(epsilon))))


def own_layer_norm(build: Builder) -> ir.Value:
    """LayerNormalization before opset 17."""
    _last_axis(build)
    _unused(build, 1, 2)
    return layer_norm(build, build.x(), build.input(1), build.input(2), 1e-5)


def simplified(build: Builder) -> ir.Value:
    """SimplifiedLayerNormalization: RMSNorm along the last axis."""
    _last_axis(build)
    _unused(build, 1)
    return rms_norm(build, build.x(), build.input(1), 1e-5)


def skip_layer_norm(build: Builder) -> Sequence[ir.Value | None]:
    """LayerNormalization of `x + skip + bias`, with the sum as the fourth output."""
    _unused(build, 1, 2)
    total = _sum(build, build.x(), build.input(1), build.input(4))
    return [layer_norm(build, total, build.input(2), build.input(3)), None, None, total]


def skip_simplified(build: Builder) -> Sequence[ir.Value | None]:
    """RMSNorm of `x + skip`, with the sum as the fourth output."""
    _unused(build, 1, 2)
    if build.input(3) is not None:
        message = "onnxruntime adds its bias on a GPU and does not on a CPU"
        raise CannotWriteError(message)
    total = _sum(build, build.x(), build.input(1))
    return [rms_norm(build, total, build.input(2)), None, None, total]


def embed_layer_norm(build: Builder) -> Sequence[ir.Value | None]:
    """LayerNormalization of the embeddings of words, positions and segments; the lengths of the texts; the sum before."""
    ids, words, positions = build.x(), build.input(2), build.input(3)
    if build.input(8) is not None:
        position = build.op("Gather", positions, build.input(8))
    else:
        position = build.op("Slice", positions, build.integers([0]), build.extent(ids, 1), build.integers([0]))
    segment = build.op("Gather", build.input(4), build.input(1)) if build.input(4) is not None else None
    total = _sum(build, build.op("Gather", words, ids), position, segment)
    y, mask = layer_norm(build, total, build.input(5), build.input(6)), build.input(7)
    if mask is None:
        _unused(build, 1)
        return [y, None, total]
    lengths = build.reduce("ReduceSum", mask, [1], keepdims=False)
    lengths.shape = ir.Shape([None])
    return [y, lengths, total]


def fused_mat_mul(build: Builder) -> ir.Value:
    """`alpha A B`, the last two axes of either exchanged before on demand."""
    attributes = build.node.attributes
    if attributes.get_int("transBatchA", 0) or attributes.get_int("transBatchB", 0):
        message = "it exchanges axes of the batch"
        raise CannotWriteError(message)
    operands = []
    for k, name in enumerate(("transA", "transB")):
        value = build.input(k)
        if attributes.get_int(name, 0):
            rank = build.rank(value)
            order = [*range(rank - 2), rank - 1, rank - 2] if rank > 1 else [0]
            value = build.op("Transpose", value, perm=order)
        operands.append(value)
    y, alpha = build.op("MatMul", *operands), attributes.get_float("alpha", 1.0)
    return y if alpha == 1 else build.op("Mul", y, build.scalar(alpha))


def fused_conv(build: Builder) -> ir.Value:
    """A convolution, plus what is added, through an activation."""
    own = ("activation", "activation_params")
    y = build.op("Conv", build.x(), build.input(1), build.input(2), **_others(build, own))
    parameters = build.node.attributes.get_floats("activation_params", ())
    return _activation(build, _sum(build, y, build.input(3)), parameters)


def fused_gemm(build: Builder) -> ir.Value:
    """A Gemm through an activation."""
    own = ("activation", "activation_alpha", "activation_beta", "activation_gamma")
    y = build.op("Gemm", build.x(), build.input(1), build.input(2), **_others(build, own))
    parameters = [build.node.attributes.get_float(a, 0.0) for a in own[1:]]
    return _activation(build, y, parameters)


def _others(build: Builder, own: Sequence[str]) -> dict[str, ir.Attr]:
    return {name: a for name, a in build.node.attributes.items() if name not in own}


def _activation(build: Builder, y: ir.Value, parameters: Sequence[float]) -> ir.Value:
    kind = build.node.attributes.get_string("activation", "")
    if kind in ("Relu", "Tanh", "Sigmoid"):
        return build.op(kind, y)
    if len(parameters) < {"LeakyRelu": 1, "HardSigmoid": 2, "Clip": 2}.get(kind, 0):
        message = f"its activation {kind} lacks parameters"
        raise CannotWriteError(message)
    if kind == "LeakyRelu":
        return build.op(kind, y, alpha=parameters[0])
    if kind == "HardSigmoid":
        return build.op(kind, y, alpha=parameters[0], beta=parameters[1])
    if kind == "Clip" and build.opset >= 11:
        return build.op(kind, y, build.scalar(parameters[0]), build.scalar(parameters[1]))
    if kind:
        message = f"its activation is {kind!r}"
        raise CannotWriteError(message)
    return y


def attention(build: Builder) -> ir.Value:
    """x (N, T, D) through weights (D, Q + Q + V) and biases (Q + Q + V) for queries, keys and values in heads."""
    attributes = build.node.attributes
    _unused(build, 1)
    if build.input(4) is not None or attributes.get_int("do_rotary", 0) != 0:
        message = "it keeps keys and values or rotates them"
        raise CannotWriteError(message)
    weight = build.known(1, "weights")
    bias = None if build.input(2) is None else build.known(2, "biases")
    _own(build, 1, 2)
    sizes = [int(s) for s in attributes.get_ints("qkv_hidden_sizes", [weight.shape[1] // 3] * 3)]
    if len(sizes) != 3 or sum(sizes) != weight.shape[1]:
        message = f"its {weight.shape[1]} weights are not those of queries, keys and values of {sizes} units"
        raise CannotWriteError(message)
    _heads(build, sizes)
    parts = []
    for k, kind in enumerate(("query", "key", "value")):
        columns = slice(sum(sizes[:k]), sum(sizes[: k + 1]))
        part = build.op("MatMul", build.x(), build.constant(weight[:, columns], f"{kind}.weight"))
        parts.append(_biased(build, part, bias, columns, kind))
    return _attend(build, parts, sizes, build.x(), mask=build.input(3), added=build.input(5))


def multi_head_attention(build: Builder) -> ir.Value:
    """Queries (N, T, Q), keys (N, S, Q) and values (N, S, V) in heads, with biases (Q + Q + V) where there are some."""
    _unused(build, 1, 2)
    parts = [build.input(k) for k in range(3)]
    if any(p is None or build.rank(p) != 3 for p in parts) or any(build.input(k) is not None for k in (6, 7, 8, 9)):
        message = "queries, keys and values are packed, or are kept"
        raise CannotWriteError(message)
    sizes = [build.size(p, 2) for p in parts]
    bias = None if build.input(3) is None else build.known(3, "biases")
    _own(build, 3)
    _heads(build, sizes)
    biased = [
        _biased(build, p, bias, slice(sum(sizes[:k]), sum(sizes[: k + 1])), kind)
        for k, (kind, p) in enumerate(zip(("query", "key", "value"), parts, strict=True))
        if p is not None
    ]
    return _attend(build, biased, sizes, biased[1], mask=build.input(4), added=build.input(5))


def _biased(build: Builder, x: ir.Value, bias: Array | None, columns: slice, kind: str) -> ir.Value:
    if bias is None or not np.any(bias[columns]):
        return x
    return build.op("Add", x, build.constant(bias[columns], f"{kind}.bias"))


def _attend(
    build: Builder,
    parts: Sequence[ir.Value],
    sizes: Sequence[int],
    source: ir.Value,
    *,
    mask: ir.Value | None,
    added: ir.Value | None,
) -> ir.Value:
    """Softmax of the scores of queries and keys, times the values. `source` is as long as the keys."""
    attributes = build.node.attributes
    heads = _heads(build, sizes)
    q, k, v = (
        build.op("Transpose", build.op("Reshape", p, build.integers([0, 0, heads, s // heads])), perm=perm)
        for p, s, perm in zip(parts, sizes, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    scale = attributes.get_float("scale", 0.0) or 1 / math.sqrt(sizes[0] // heads)
    scores = build.op("Mul", build.op("MatMul", q, k), build.scalar(scale))
    if attributes.get_int("unidirectional", 0):
        scores = build.op("Add", scores, _causal(build, parts[0], source))
    if mask is not None:
        kept = build.op("Sub", build.scalar(1), _kept(build, mask, source))
        filtered = build.op("Mul", kept, build.scalar(attributes.get_float("mask_filter_value", -10000.0)))
        scores = build.op("Add", scores, build.unsqueeze(filtered, [1, 2] if build.rank(mask) < 3 else [1]))
    if added is not None:
        scores = build.op("Add", scores, added)
    mixed = build.op("MatMul", build.op("Softmax", scores, axis=-1), v)
    flat = build.integers([0, 0, sizes[2]])
    return build.op("Reshape", build.op("Transpose", mixed, perm=[0, 2, 1, 3]), flat)


def _kept(build: Builder, mask: ir.Value, source: ir.Value) -> ir.Value:
    """1 where something may be looked at, else 0: from (N, S) or (N, T, S), or from lengths (N)."""
    rank = build.rank(mask)
    if rank in (2, 3):
        return build.op("Cast", mask, to=ir.DataType.FLOAT)
    if rank != 1:
        message = f"its mask has {rank} axes"
        raise CannotWriteError(message)
    if isinstance(mask.shape[0] if mask.shape else None, int):
        message = "its mask may hold beginnings, too"
        raise CannotWriteError(message)
    zero, one = (build.constant(np.array(n, np.int64)) for n in (0, 1))
    places = build.op("Range", zero, build.op("Squeeze", build.extent(source, 1)), one)
    lengths = build.unsqueeze(build.op("Cast", mask, to=ir.DataType.INT64), [1])
    return build.op("Cast", build.op("Less", places, lengths), to=ir.DataType.FLOAT)


def _causal(build: Builder, q: ir.Value, source: ir.Value) -> ir.Value:
    """(T, S): nothing up to the diagonal, and behind it what lets nothing through."""
    if build.opset < 14:
        message = "opsets before 14 have no triangles"
        raise CannotWriteError(message)
    shape = build.op("Concat", build.extent(q, 1), build.extent(source, 1), axis=0)
    full = build.op("ConstantOfShape", shape, value=ir.tensor(np.array([_NEVER], np.float32)))
    return build.op("Trilu", full, build.constant(np.array(1, np.int64)), upper=1)


def _last_axis(build: Builder) -> None:
    axis = build.node.attributes.get_int("axis", -1)
    if axis != -1 and axis != build.rank(build.x()) - 1:
        message = "its axis is not the last one"
        raise CannotWriteError(message)


def _sum(build: Builder, first: ir.Value, *others: ir.Value | None) -> ir.Value:
    for other in others:
        first = first if other is None else build.op("Add", first, other)
    return first


def _heads(build: Builder, sizes: Sequence[int]) -> int:
    heads = int(build.node.attributes.get_int("num_heads", 0))
    if heads < 1 or any(s % heads for s in sizes):
        message = f"{list(sizes)} units cannot be shared out among {heads} heads"
        raise CannotWriteError(message)
    return heads


def _own(build: Builder, *positions: int) -> None:
    """Refuse tensors that are to be cut into parts and belong to others, too: parts for each would no longer be one tensor."""
    for k in positions:
        value = build.input(k)
        if value is not None and len(value.uses()) > 1:
            message = f"its tensor {value.name!r} is shared with another node"
            raise CannotWriteError(message)


def _unused(build: Builder, *positions: int) -> None:
    outputs = build.node.outputs
    for k in positions:
        if k < len(outputs) and (outputs[k].uses() or outputs[k].is_graph_output()):
            message = f"its output {k} is used"
            raise CannotWriteError(message)


Definition = Callable[[Builder], "ir.Value | Sequence[ir.Value | None]"]

_DEFINITIONS: dict[str, Definition] = {
    "Attention": attention,
    "BiasGelu": bias_gelu,
    "EmbedLayerNormalization": embed_layer_norm,
    "FastGelu": fast_gelu,
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_mat_mul,
    "Gelu": gelu,
    "LayerNormalization": own_layer_norm,
    "MultiHeadAttention": multi_head_attention,
    "QuickGelu": quick_gelu,
    "SimplifiedLayerNormalization": simplified,
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_simplified,
}
DOMAIN = "com.microsoft"
DEFINITIONS = {(DOMAIN, name): d for name, d in _DEFINITIONS.items()}

# onnxruntime puts these into the standard domain, where the first came with opset 17, and the other never did.
_STRAY = {"LayerNormalization": 17, "SimplifiedLayerNormalization": sys.maxsize}


@contextlib.contextmanager
def strays_apart(proto: onnx.ModelProto, version: int) -> Iterator[bool]:
    """Lets operators that do not belong to the standard domain be of this one, as long as the context lasts.

    Args:
        proto: Not modified in the end.
        version: Its standard opset.

    Yields:
        Whether there are any.
    """
    strays = [n for n in proto.graph.node if n.domain in ("", "ai.onnx") and version < _STRAY.get(n.op_type, 0)]
    domains = [n.domain for n in strays]
    imported = any(o.domain == DOMAIN for o in proto.opset_import)
    try:
        for node in strays:
            node.domain = DOMAIN
        if strays and not imported:
            proto.opset_import.add(domain=DOMAIN, version=1)
        yield bool(strays)
    finally:
        for node, domain in zip(strays, domains, strict=True):
            node.domain = domain
        if strays and not imported:
            del proto.opset_import[-1]
