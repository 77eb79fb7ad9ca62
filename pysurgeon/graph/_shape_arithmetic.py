"""Follow the integers that a graph computes from shapes (Shape, Gather, Concat, ...) as far as they are known.

An element is an int, a string (the name of a dynamic dimension) or `None` (not known).
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from pysurgeon.graph._tensors import constant

Element = int | str | None
Elements = list[Element]


def element_list(value: ir.Value | None, depth: int = 0) -> Elements | None:
    """The elements of an integer vector or scalar that is computed from constants and shapes; `None` if not followed."""
    if value is None or depth > 64:
        return None
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
    if node.op_type in ("Squeeze", "Unsqueeze", "Cast", "Identity", "Reshape"):
        return element_list(node.inputs[0], depth + 1)
    operands = [element_list(v, depth + 1) for v in node.inputs]
    if any(o is None for o in operands):
        return None
    known = [o for o in operands if o is not None]
    if node.op_type == "Concat":
        return [e for o in known for e in o]
    if node.op_type == "Gather":
        return _pick(known[0], known[1])
    if node.op_type == "Slice":
        return _slice(known)
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        return _arithmetic(node.op_type, known[0], known[1])
    return None


def reshape_target(node: ir.Node) -> list[int] | None:
    """A constant shape for a Reshape whose shape is computed: -1 for the only dynamic dimension, if there is one."""
    x = node.inputs[0]
    target = element_list(node.inputs[1])
    if target is None or x is None or x.shape is None or None in target:
        return None
    if node.attributes.get_int("allowzero", 0) == 0:
        target = [_dim(x, k) if e == 0 else e for k, e in enumerate(target)]
    dynamic = [e for e in target if isinstance(e, str)]
    numbers = [e for e in target if isinstance(e, int)]
    if None in target or 0 in numbers or len(dynamic) > 1:
        return None
    if not dynamic:
        return numbers
    if -1 in numbers:
        source = [_dim(x, k) for k in range(len(x.shape))]
        known = [e for e in source if isinstance(e, int)]
        if [e for e in source if not isinstance(e, int)] != dynamic:
            return None
        rest = prod(known) // prod(n for n in numbers if n != -1)
        target = [rest if e == -1 else e for e in target]
    return [e if isinstance(e, int) else -1 for e in target]


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
