"""Follow the integers that a graph computes from shapes (Shape, Gather, Concat, ...) as far as they are known.

An element is an int, a string (the name of a dynamic dimension) or `None` (not known).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from pysurgeon.graph.tensors import constant

Element = int | str | None
Elements = list[Element]

# What hands integers on, one by one and unchanged.
_LONGEST_SEARCH = 200  # values
_HANDING_ON = frozenset({"Squeeze", "Unsqueeze", "Cast", "Identity", "Reshape"})


@dataclass(frozen=True)
class Origin:
    """Where a number is written down: element `element` of the constant operand `position` of a node.

    Attributes:
        node: Name of an output of the node.
        position: The operand.
        element: Of the operand, flattened.
    """

    node: str
    position: int
    element: int


@dataclass(frozen=True)
class Number:
    """An element of a computed shape.

    Attributes:
        element: What it is (see the module).
        origin: Where it is written down, `None` if it is computed.
        axis: The (value, axis) whose size it is, `None` where it comes from elsewhere.
    """

    element: Element
    origin: Origin | None = None
    axis: tuple[ir.Value, int] | None = None


def numbers(node: ir.Node, position: int) -> list[Number] | None:
    """The elements of an integer operand with where they come from; `None` if it could not be followed."""
    value = node.inputs[position] if position < len(node.inputs) else None
    elements = element_list(value)
    if elements is None:
        return None
    sources = _sources(node, position, 0)
    if sources is None or len(sources) != len(elements):
        sources = [Number(None)] * len(elements)
    return [Number(e, s.origin, s.axis) for e, s in zip(elements, sources, strict=True)]


def _sources(node: ir.Node, position: int, depth: int) -> list[Number] | None:
    value = node.inputs[position]
    if value is None or depth > 64:
        return None
    array = constant(value)
    if array is not None:
        name = next((str(o.name) for o in node.outputs if o.name), "")
        return [Number(None, Origin(name, position, k)) for k in range(array.size)]
    producer = value.producer()
    if producer is None or producer.domain != "":
        return None
    if producer.op_type in _HANDING_ON:
        return _sources(producer, 0, depth + 1)
    if producer.op_type == "Concat":
        if any(True for _ in escapes(value, [], 1)):
            return None  # somebody sees the numbers themselves, so they stay
        parts = [_sources(producer, k, depth + 1) for k in range(len(producer.inputs))]
        return None if any(p is None for p in parts) else [n for p in parts for n in p or ()]
    if producer.op_type == "Shape":
        x = producer.inputs[0]
        if x is None or x.shape is None:
            return None
        axes = [Number(None, axis=(x, k)) for k in range(len(x.shape))]
        return axes[slice(producer.attributes.get_int("start", 0), producer.attributes.get_int("end", None))]
    if producer.op_type in ("Gather", "Slice"):
        source, operands = _sources(producer, 0, depth + 1), [element_list(v) for v in producer.inputs[1:]]
        if source is None or any(o is None for o in operands):
            return None
        places: Elements = list(range(len(source)))
        known = [o for o in operands if o is not None]
        picked = _pick(places, known[0]) if producer.op_type == "Gather" else _slice([places, *known])
        return None if picked is None else [source[k] for k in picked if isinstance(k, int)]
    length = element_list(value)
    return None if length is None else [Number(None)] * len(length)


# Where numbers that came from a shape are followed, or stated to be followed no further.
_FOLLOWED = frozenset(
    "Add Cast Concat ConstantOfShape Div Expand Gather Identity Mul Reshape Resize Slice Squeeze Sub Tile Unsqueeze".split()
)

_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)


def escapes(value: ir.Value, axes: list[int], depth: int = 0) -> Iterator[tuple[ir.Node | None, list[int]]]:
    """Where sizes leave the shape arithmetic that is followed.

    Args:
        value: A vector of sizes.
        axes: Whose sizes these are.
        depth: Zero where the elements of the vector are those of `axes`, one by one.

    Yields:
        Who uses them otherwise, `None` for whoever sees the graph's outputs, and which of the axes that concerns.
    """
    if value.is_graph_output():
        yield None, axes
    for user, position in value.uses():
        is_shape = user.op_type in ("Reshape", "Expand", "Tile", "Resize") and position > 0
        if is_shape or user.op_type == "ConstantOfShape":
            continue
        casts = user.op_type == "Cast" and user.attributes.get_int("to", 0) not in _INTEGERS
        index = user.op_type == "Gather" and position == 1
        if user.domain != "" or user.op_type not in _FOLLOWED or casts or index or depth > 16:
            yield user, axes
        else:
            array = constant(user.inputs[1]) if user.op_type == "Gather" and depth == 0 else None
            picked = axes if array is None else [axes[int(k)] for k in array.reshape(-1)]
            yield from escapes(user.outputs[0], picked, depth + 1)


def element_list(value: ir.Value | None, known: dict[ir.Value, Elements | None] | None = None) -> Elements | None:
    """The elements of an integer vector or scalar that is computed from constants and shapes; `None` if not followed.

    Args:
        value: The vector or scalar.
        known: What was followed before in the same search; a value is looked into once.
    """
    known = {} if known is None else known
    if value is None or len(known) > _LONGEST_SEARCH:
        return None
    if value not in known:
        known[value] = None
        known[value] = _follow(value, known)
    return known[value]


def _follow(value: ir.Value, known: dict[ir.Value, Elements | None]) -> Elements | None:
    array = constant(value)
    if array is not None:
        integers = array.dtype.kind in "iu" and array.ndim <= 1 and array.size <= 64
        return [int(k) for k in array.reshape(-1)] if integers else None
    node = value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type == "Shape":
        return _shape(node)
    if node.op_type == "Cast" and node.attributes.get_int("to", 0) not in (ir.DataType.INT64, ir.DataType.INT32):
        return None  # what is computed in floating point is not followed: rounding would be a guess
    if node.op_type in _HANDING_ON:
        return element_list(node.inputs[0], known)
    operands = [element_list(v, known) for v in node.inputs]
    if any(o is None for o in operands):
        return None
    followed = [o for o in operands if o is not None]
    if node.op_type == "Concat":
        return [e for o in followed for e in o]
    if node.op_type == "Gather":
        return _pick(followed[0], followed[1])
    if node.op_type == "Slice":
        return _slice(followed)
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        return _arithmetic(node.op_type, followed[0], followed[1])
    return None


def reshape_target(node: ir.Node, target: Elements) -> list[int] | None:
    """A constant shape for a Reshape whose shape is computed: 0 for dynamic dimensions that stay where they are, -1 for one other."""
    x = node.inputs[0]
    if x is None or x.shape is None or None in target or node.attributes.get_int("allowzero", 0) == 1:
        return None
    source = [_dim(x, k) for k in range(len(x.shape))]
    target = [_dim(x, k) if e == 0 else e for k, e in enumerate(target)]
    if None in target:
        return None
    dynamic = [e for e in target if isinstance(e, str)]
    written = [n for n in target if isinstance(n, int)]
    if -1 in written:
        # What -1 stands for, if all dynamic dimensions go over into the result.
        if sorted(e for e in source if isinstance(e, str)) == sorted(dynamic) and None not in source:
            rest = prod(n for n in written if n != -1)
            total = prod(e for e in source if isinstance(e, int))
            target = [total // rest if e == -1 and rest else e for e in target]
        elif dynamic and not all(
            isinstance(e, int) or (k < len(source) and e == source[k]) for k, e in enumerate(target)
        ):
            return None
    result: list[int] = []
    for k, e in enumerate(target):
        if isinstance(e, int):
            result.append(e)
        elif len(dynamic) == 1 and -1 not in target:
            result.append(-1)
        elif k < len(source) and source[k] == e:
            result.append(0)
        else:
            result.append(-1)
    return None if result.count(-1) > 1 or (0 in target) else result


def expand_target(node: ir.Node, target: Elements) -> list[int] | None:
    """A constant shape for an Expand whose shape is computed: 1 for dynamic dimensions that its operand has already."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    result = []
    for k, e in enumerate(target):
        axis = k - len(target) + len(x.shape)
        if not isinstance(e, int) and (e is None or axis < 0 or _dim(x, axis) != e):
            return None
        result.append(e if isinstance(e, int) else 1)
    return result


def _dim(value: ir.Value, axis: int) -> Element:
    shape = value.shape
    if shape is None or axis >= len(shape):
        return None
    d = shape[axis]
    return d if isinstance(d, int) else d.value


def _shape(node: ir.Node) -> Elements | None:
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    elements = [_dim(x, k) for k in range(len(x.shape))]
    return elements[slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", None))]


def _pick(source: Elements, indices: Elements) -> Elements | None:
    picked: Elements = []
    for k in indices:
        if not isinstance(k, int) or not -len(source) <= k < len(source):
            return None
        picked.append(source[k])
    return picked


def _slice(operands: list[Elements]) -> Elements | None:
    if len(operands) < 3:
        return None  # before opset 10, the bounds are attributes
    source, start, end = operands[:3]
    step = operands[4] if len(operands) > 4 else [1]
    first, last, stride = start[0], end[0], step[0]
    if len(start) != 1 or not isinstance(first, int) or not isinstance(last, int) or not isinstance(stride, int):
        return None
    return source[first:last:stride]


def _arithmetic(op_type: str, a: Elements, b: Elements) -> Elements | None:
    if len(a) != len(b):
        if 1 not in (len(a), len(b)):
            return None
        a, b = (a * len(b), b) if len(a) == 1 else (a, b * len(a))
    result: Elements = []
    for x, y in zip(a, b, strict=True):
        if not isinstance(x, int) or not isinstance(y, int) or (op_type == "Div" and y == 0):
            result.append(None)
        elif op_type == "Add":
            result.append(x + y)
        elif op_type == "Sub":
            result.append(x - y)
        elif op_type == "Mul":
            result.append(x * y)
        else:
            result.append(int(x / y))  # ONNX divides integers towards zero
    return result
