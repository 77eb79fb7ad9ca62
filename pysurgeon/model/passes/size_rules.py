"""Sizes that operators compute from open ones, where ONNX's own inference hands on numbers and names only.

A rule gives the sizes of every output, `None` for one that it does not know. It assumes that the file runs: of two sizes that have to be the same, either
one will do. Nothing is assumed of where slices end or whether quotients come out even.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import reduce
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnx_ir as ir
import sympy

from pysurgeon.graph.tensors import Array
from pysurgeon.model.passes.symbolic_sizes import (
    Size,
    add,
    at_most,
    divide,
    larger,
    multiply,
    plain,
    round_up,
    smaller,
    subtract,
)

Dims: TypeAlias = "list[Size | None]"


class Walk(Protocol):
    """What is known so far."""

    shapes: dict[ir.Value, tuple[Size, ...]]
    data: dict[ir.Value, Array]

    def elements(self, value: ir.Value | None) -> Array | None:
        """The elements of a small tensor."""

    def unknown(self, key: Hashable = None, *, integer: bool = True, lowest: int | None = None) -> sympy.Expr:
        """A number that is not known, the same for the same key."""

    def is_size(self, number: Any) -> bool:
        """Whether a number is at least 1 wherever the file runs."""

    def opset(self, node: ir.Node) -> int:
        """The version of a node's opset."""


Rule: TypeAlias = Callable[[Any, ir.Node], "list[Dims] | None"]


def _operand(node: ir.Node, position: int) -> ir.Value | None:
    return node.inputs[position] if position < len(node.inputs) else None


def _shape(walk: Walk, node: ir.Node, position: int = 0) -> tuple[Size, ...] | None:
    value = _operand(node, position)
    return None if value is None else walk.shapes.get(value)


def _numbers(walk: Walk, node: ir.Node, position: int, attribute: str = "") -> list[Any] | None:
    """The elements of an operand, or of the attribute that older versions have in its place."""
    value = _operand(node, position)
    if value is None:
        given = node.attributes.get_ints(attribute, None) if attribute else None
        return None if given is None else list(given)
    elements = walk.elements(value)
    return None if elements is None else [e.item() if isinstance(e, np.generic) else e for e in elements.reshape(-1)]


def _product(sizes: Sequence[Size]) -> Size:
    return reduce(multiply, sizes, 1)


def _window(walk: Walk, node: ir.Node, size: Size, axis: int, count: int, kernel: int) -> Size | None:
    """How many windows of a convolution or a pool fit along the spatial axis `axis` of `count`."""

    def each(name: str) -> int:
        return int(node.attributes.get_ints(name, (1,) * count)[axis])

    pads = node.attributes.get_ints("pads", (0,) * (2 * count))
    covered = each("dilations") * (kernel - 1) + 1
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        return round_up(size, each("strides"))
    padded = size if mode == "VALID" else add(size, int(pads[axis] + pads[axis + count]))
    if node.attributes.get_int("ceil_mode", 0):
        # What of the last window counts has changed from one version of the engine to the next.
        key = ("windows", size, covered, each("strides"), int(pads[axis]), int(pads[axis + count]), mode)
        return walk.unknown(key, lowest=1)
    found = divide(subtract(padded, covered), each("strides"))
    return None if found is None else add(found, 1)


def _convolution(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, weight = _shape(walk, node), _shape(walk, node, 3 if node.op_type == "QLinearConv" else 1)
    if x is None or weight is None or len(x) != len(weight):
        return None
    kernel = node.attributes.get_ints("kernel_shape", weight[2:])
    if not all(isinstance(k, int) for k in kernel):
        return None
    return [[x[0], weight[0], *(_window(walk, node, d, k, len(kernel), kernel[k]) for k, d in enumerate(x[2:]))]]


def _pool(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, kernel = _shape(walk, node), node.attributes.get_ints("kernel_shape", ())
    if x is None or len(x) != len(kernel) + 2:
        return None
    dims: Dims = [*x[:2], *(_window(walk, node, d, k, len(kernel), kernel[k]) for k, d in enumerate(x[2:]))]
    return [dims] * len(node.outputs)


def _transposed(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, weight = _shape(walk, node), _shape(walk, node, 1)
    if x is None or weight is None or len(x) != len(weight) or "output_shape" in node.attributes:
        return None
    count = len(x) - 2
    kernel = node.attributes.get_ints("kernel_shape", weight[2:])
    strides, dilations = (node.attributes.get_ints(n, (1,) * count) for n in ("strides", "dilations"))
    more, pads = (
        node.attributes.get_ints("output_padding", (0,) * count),
        node.attributes.get_ints("pads", (0,) * 2 * count),
    )
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode.startswith("SAME") or not all(isinstance(k, int) for k in kernel):
        return None
    dims: Dims = [x[0], multiply(weight[1], node.attributes.get_int("group", 1))]
    for k, d in enumerate(x[2:]):
        cut = 0 if mode == "VALID" else int(pads[k] + pads[k + count])
        ends = int(more[k] + dilations[k] * (kernel[k] - 1) + 1 - cut)
        dims.append(add(multiply(int(strides[k]), subtract(d, 1)), ends))
    return [dims]


def _concat(walk: Walk, node: ir.Node) -> list[Dims] | None:
    parts = [_shape(walk, node, k) for k in range(len(node.inputs))]
    known = [p for p in parts if p is not None]
    if len(known) < len(parts) or len({len(p) for p in known}) != 1:
        return None
    axis = node.attributes.get_int("axis", 0) % len(known[0])
    return [[reduce(add, [p[k] for p in known]) if k == axis else d for k, d in enumerate(known[0])]]


def _end(bound: Any, size: Size) -> Size | None:
    """Where a slice that goes forward begins or ends, for a bound as it is written."""
    if isinstance(bound, int) and abs(bound) >= 2**31 - 1:
        return size if bound > 0 else 0
    if bound is None:
        return None
    if at_most(0, bound):
        return smaller(bound, size)
    return larger(0, add(size, bound)) if at_most(bound, -1) else None


def _slice(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x = _shape(walk, node)
    starts, ends = _numbers(walk, node, 1, "starts"), _numbers(walk, node, 2, "ends")
    if x is None or starts is None or ends is None or len(starts) != len(ends):
        return None
    axes = _numbers(walk, node, 3, "axes") if _operand(node, 3) is not None or len(node.inputs) < 2 else None
    axes = list(range(len(starts))) if axes is None else axes
    steps = _numbers(walk, node, 4) if _operand(node, 4) is not None else [1] * len(starts)
    if steps is None or not all(isinstance(a, int) for a in (*axes, *steps)):
        return None
    dims: Dims = list(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x[axis]
        if step < 0:
            whole = (
                isinstance(start, int)
                and isinstance(end, int)
                and (start == -1 or start >= 2**31 - 1)
                and end <= -(2**31)
            )
            dims[axis] = round_up(size, -step) if whole else None
            continue
        first, last = _end(start, size), _end(end, size)
        count = None if first is None or last is None else round_up(subtract(last, first), step)
        dims[axis] = None if count is None else larger(0, count)
    return [dims]


def _pad(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, pads = _shape(walk, node), _numbers(walk, node, 1, "pads")
    if x is None or pads is None:
        return None
    axes = _numbers(walk, node, 3) if _operand(node, 3) is not None else list(range(len(x)))
    if axes is None or len(pads) != 2 * len(axes) or not all(isinstance(a, int) for a in axes):
        return None
    dims: Dims = list(x)
    for k, axis in enumerate(axes):
        ends = pads[k], pads[k + len(axes)]
        dims[axis] = None if None in ends else add(add(x[axis], ends[0]), ends[1])
    return [dims]


def _scaled(walk: Walk, size: Size, scale: Any) -> Size | None:
    """A size times a scale, rounded down."""
    if isinstance(scale, sympy.Expr) or scale is None:
        return None
    numerator, denominator = float(scale).as_integer_ratio()
    if numerator <= 64 and denominator <= 64:
        return divide(multiply(size, numerator), denominator)
    return walk.unknown(("scaled", size, float(scale)), lowest=0)  # as the engine rounds it


def _resize(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x = _shape(walk, node)
    if x is None or node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return None
    axes = [a % len(x) for a in node.attributes.get_ints("axes", tuple(range(len(x))))]
    upsample = node.op_type == "Upsample" or len(node.inputs) == 2
    sizes = None if _operand(node, 3) is None else _numbers(walk, node, 3)
    scales: list[Any] | None
    if node.op_type == "Upsample" and len(node.inputs) < 2:
        scales = list(node.attributes.get_floats("scales", ()))
    else:
        scales = _numbers(walk, node, 1 if upsample else 2)
    dims: Dims = list(x)
    if _operand(node, 3) is not None:
        if (
            sizes is None
            or len(sizes) != len(axes)
            or node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"
        ):
            return [[None if k in axes else d for k, d in enumerate(x)]]
        for axis, size in zip(axes, sizes, strict=True):
            dims[axis] = size
    elif scales is None or len(scales) != len(axes):
        return [[None if k in axes else d for k, d in enumerate(x)]]
    else:
        for axis, scale in zip(axes, scales, strict=True):
            dims[axis] = _scaled(walk, x[axis], scale)
    return [dims]


def _reshape(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, target = _shape(walk, node), _numbers(walk, node, 1, "shape")
    if target is None:
        rank = _shape(walk, node, 1)
        return [[None] * rank[0]] if rank is not None and isinstance(rank[0], int) else None
    dims: Dims = []
    for k, e in enumerate(target):
        if e == 0 and not node.attributes.get_int("allowzero", 0):
            dims.append(x[k] if x is not None and k < len(x) else None)
        elif e is None or not (isinstance(e, int) or walk.is_size(e)):
            dims.append(None)  # it may come out as -1 or 0, which stand for something else
        else:
            dims.append(e)
    rest = [k for k, d in enumerate(dims) if isinstance(d, int) and d == -1]
    if len(rest) == 1:
        others = [d for k, d in enumerate(dims) if k != rest[0]]
        dims[rest[0]] = None
        if x is not None and None not in others and all(walk.is_size(d) for d in others):
            dims[rest[0]] = _quotient(_product(x), _product(others))
    return [dims]


def _quotient(a: Size, b: Size) -> Size | None:
    """A quotient that comes out even, of sizes that are at least 1."""
    found = sympy.cancel(sympy.sympify(a) / b)
    numerator, denominator = sympy.fraction(found)
    return divide(plain(sympy.expand(numerator)), int(denominator)) if denominator.is_Integer else None


def _flatten(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, axis = _shape(walk, node), node.attributes.get_int("axis", 1)
    return None if x is None else [[_product(x[:axis]), _product(x[axis:])]]


def _together(walk: Walk, dims: Sequence[Size]) -> Size:
    """The size of an axis that several sizes are stretched to: those that are not 1 are the same."""
    others = list(dict.fromkeys(d for d in dims if d != 1))
    surely = [d for d in others if at_most(2, d)]
    if len(others) < 2 or surely:
        return (surely or others or [1])[0]
    return walk.unknown(("stretched", frozenset(others)), lowest=0)


def _stretched(walk: Walk, shapes: Sequence[Sequence[Size | None]]) -> list[Dims]:
    dims: Dims = []
    for k in range(max(map(len, shapes))):
        found = [s[-1 - k] for s in shapes if k < len(s)]
        dims.append(None if None in found else _together(walk, found))
    return [dims[::-1]]


def _elementwise(walk: Walk, node: ir.Node) -> list[Dims] | None:
    shapes = [walk.shapes.get(v) for v in node.inputs if v is not None]
    return None if not shapes or None in shapes else _stretched(walk, shapes)  # type: ignore[arg-type]


def _expand(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, target = _shape(walk, node), _numbers(walk, node, 1)
    if x is None or target is None:
        return None
    return _stretched(
        walk, [x, [e if e is not None and (isinstance(e, int) or at_most(0, e)) else None for e in target]]
    )


def _matmul(walk: Walk, node: ir.Node) -> list[Dims] | None:
    a, b = _shape(walk, node), _shape(walk, node, 1)
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return None
    leading = _stretched(walk, [a[:-2], b[:-2]])[0] if len(a) > 2 or len(b) > 2 else []
    return [[*leading, a[-2], b[-1]]]


def _filled(walk: Walk, node: ir.Node) -> list[Dims] | None:
    target = _numbers(walk, node, 0)
    return None if target is None else [list(target)]


def _tile(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, repeats = _shape(walk, node), _numbers(walk, node, 1)
    if x is None:
        return None
    if repeats is None or len(repeats) != len(x):
        return [[None] * len(x)]
    return [[None if r is None else multiply(d, r) for d, r in zip(x, repeats, strict=True)]]


def _split(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, given = _shape(walk, node), _numbers(walk, node, 1, "split")
    if x is None or (given is None and _operand(node, 1) is not None):
        return None
    axis, count = node.attributes.get_int("axis", 0) % len(x), len(node.outputs)
    if given is None:
        # All are alike; the last one may be smaller where there is something left over.
        each = divide(x[axis], count)
        whole = each is not None and subtract(multiply(each, count), x[axis]) == 0
        given = [each if whole else None] * count
    return [[*x[:axis], part, *x[axis + 1 :]] for part in given]


def _to_space(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, block = _shape(walk, node), node.attributes.get_int("blocksize", 1)
    return None if x is None else [[x[0], divide(x[1], block * block), *(multiply(d, block) for d in x[2:])]]


def _to_depth(walk: Walk, node: ir.Node) -> list[Dims] | None:
    x, block = _shape(walk, node), node.attributes.get_int("blocksize", 1)
    return None if x is None else [[x[0], multiply(x[1], block * block), *(divide(d, block) for d in x[2:])]]


def _range(walk: Walk, node: ir.Node) -> list[Dims] | None:
    ends = [_numbers(walk, node, k) for k in range(3)]
    if any(e is None or len(e) != 1 for e in ends):
        return [[None]]
    start, limit, step = (e[0] for e in ends if e is not None)
    exact = all(isinstance(e, int) or (isinstance(e, sympy.Expr) and e.is_integer) for e in (start, limit, step))
    if not exact or not isinstance(step, int) or step == 0:
        return [[None]]
    count = round_up(subtract(limit, start) if step > 0 else subtract(start, limit), abs(step))
    return [[None if count is None else larger(0, count)]]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv"), _convolution),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    "ConvTranspose": _transposed,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Expand": _expand,
    "MatMul": _matmul,
    "ConstantOfShape": _filled,
    "Tile": _tile,
    "Split": _split,
    "DepthToSpace": _to_space,
    "SpaceToDepth": _to_depth,
    "Range": _range,
    **dict.fromkeys("Add Sub Mul Div Mod Pow PRelu Where Min Max Sum Mean And Or Xor".split(), _elementwise),
    **dict.fromkeys("Equal Less LessOrEqual Greater GreaterOrEqual BitwiseAnd BitwiseOr".split(), _elementwise),
}
