"""Shapes with symbols, found by trying: the model's shapes are worked out for two choices of its dynamic dimensions.

What is the same for both is a constant; what differs is named after the dynamic dimensions that explain it (`N`, `12*N`, `N*T`), or
else after the two numbers. So whatever a graph computes from shapes, in whatever way an exporter writes it, is known as soon as it
can be evaluated, and no operator needs a symbolic rule. Shapes come from the ONNX project's own inference, small integers
from its reference implementation; nothing of the size of a weight is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from pysurgeon.graph._constants import GROWING, LARGEST_RESULT, is_small
from pysurgeon.graph._shape_inference import infer_node
from pysurgeon.graph._tensors import Array, constant

LARGEST = LARGEST_RESULT  # elements of a value that is worked out

# Two sizes for the k-th dynamic dimension, all primes and pairwise different. Positions of a text are few, pixels are many.
_SMALL = ((5, 7), (11, 13), (17, 19), (3, 2), (23, 29), (31, 37))
_LARGE = ((41, 43), (1009, 1013), (1019, 1021), (1031, 1033), (1039, 1049), (1051, 1061))

# Defined as functions, which inference for a single node does not look into.
_LIKE_FIRST = frozenset({"GroupNormalization", "MeanVarianceNormalization"})

Element = int | str | None


@dataclass(frozen=True)
class Shapes:
    """What was found.

    Attributes:
        dims: By value, its dimensions: a number, a name, or `None` where nothing is known.
        numbers: By value, the elements of small integer vectors and scalars that depend on shapes.
        constants: By value, arrays that depend on shapes and are the same for all choices.
    """

    dims: dict[ir.Value, tuple[Element, ...]]
    numbers: dict[ir.Value, list[Element]]
    constants: dict[ir.Value, Array]


def symbolic_shapes(model: ir.Model) -> Shapes:
    """Work out all shapes of a model. Nothing is changed."""
    inputs = [v for v in model.graph.inputs if v.shape is not None]
    symbols: dict[str, None] = {}
    for value in inputs:
        for axis, d in enumerate(value.shape or ()):
            if not isinstance(d, int):
                symbols[_symbol(value, axis)] = None
    best: tuple[int, tuple[_Instance, _Instance], list[tuple[int, int]]] | None = None
    for table in (_SMALL, _LARGE):
        pairs = [table[k % len(table)] for k in range(len(symbols))]
        instances = tuple(
            _Instance(model, {s: pair[choice] for s, pair in zip(symbols, pairs, strict=True)}) for choice in (0, 1)
        )
        failures = sum(i.failures for i in instances)
        if best is None or failures < best[0]:
            best = failures, (instances[0], instances[1]), pairs
        if not failures or not symbols:
            break
    assert best is not None
    return _compare(*best[1], _Namer(dict(zip(symbols, best[2], strict=True))))


def _symbol(value: ir.Value, axis: int) -> str:
    """The name that the file gives to a dynamic dimension of an input, or one made of the input's name."""
    assert value.shape is not None
    d = value.shape[axis]
    return (None if isinstance(d, int) else d.value) or f"{value.name}_{axis}"


class _Instance:
    """One choice of the dynamic dimensions.

    Attributes:
        shapes: Sizes of all values that are known.
        data: Values of small tensors that are known.
        derived: Values of which the data depends on a shape.
        failures: Nodes whose shapes could not be inferred from known ones.
    """

    def __init__(self, model: ir.Model, sizes: Mapping[str, int]) -> None:
        self.shapes: dict[ir.Value, tuple[int | None, ...]] = {}
        self.data: dict[ir.Value, Array] = {}
        self.derived: set[ir.Value] = set()
        self.failures = 0
        self._opsets = dict(model.graph.opset_imports)
        self._schemas: dict[tuple[str, str], Any] = {}
        for value in model.graph.inputs:
            if value.shape is not None:
                self.shapes[value] = tuple(
                    d if isinstance(d, int) else sizes[_symbol(value, k)] for k, d in enumerate(value.shape)
                )
        for value in model.graph.initializers.values():
            if value.shape is not None:
                self.shapes[value] = tuple(d if isinstance(d, int) else None for d in value.shape)
                if value.const_value is not None and _is_small(value.const_value):
                    array = constant(value)
                    if array is not None:
                        self.data[value] = array
        for node in model.graph:
            self._visit(node)

    def _visit(self, node: ir.Node) -> None:
        operands = [v for v in node.inputs if v is not None]
        if node.op_type == "Constant" and node.domain == "":
            array = constant(node.outputs[0])
            if array is not None and array.size <= LARGEST:
                self._set(node.outputs[0], array)
            return
        if node.op_type == "Shape" and node.domain == "":
            self._shape(node)
            return
        if operands and all(v in self.data for v in operands) and self._evaluate(node, operands):
            return
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            return
        self._infer(node)

    def _shape(self, node: ir.Node) -> None:
        known = self.shapes.get(node.inputs[0]) if node.inputs[0] is not None else None
        if known is None:
            return
        bounds = slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", None))
        part = known[bounds]
        self.shapes[node.outputs[0]] = (len(part),)
        if all(d is not None for d in part):
            self._set(node.outputs[0], np.array(part, dtype=np.int64))
            self.derived.add(node.outputs[0])

    def _set(self, value: ir.Value, array: Array) -> None:
        self.data[value] = array
        self.shapes[value] = array.shape

    def _evaluate(self, node: ir.Node, operands: list[ir.Value]) -> bool:
        """Compute the outputs with the reference implementation, if they are small."""
        if node.domain != "" or node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial"):
            return False
        if sum(self.data[v].size for v in operands) > LARGEST:
            return False
        if node.op_type in GROWING:
            self._infer(node)
            if not all(is_small(self.shapes.get(output)) for output in node.outputs):
                return False
        from onnx.reference.ops._op_list import load_op

        arrays = [None if v is None else self.data[v] for v in node.inputs]
        attributes = {name: _plain(a) for name, a in node.attributes.items()}
        with (
            contextlib.suppress(Exception),
            np.errstate(all="ignore"),
        ):  # whatever an implementation raises, the value is not known then
            operator = load_op("", node.op_type, self._schema(node).since_version)
            results = operator.eval(*arrays, n_outputs=len(node.outputs), **attributes)
            results = results if isinstance(results, tuple) else (results,)
            if all(isinstance(r, (np.ndarray, np.generic)) and r.size <= LARGEST for r in results):
                derived = any(v in self.derived for v in operands)
                for output, result in zip(node.outputs, results, strict=False):
                    self._set(output, np.asarray(result))
                    if derived:
                        self.derived.add(output)
                return True
        return False

    def _schema(self, node: ir.Node) -> Any:
        key = (node.domain, node.op_type)
        if key not in self._schemas:
            version = self._opsets.get(node.domain, 1)
            try:
                self._schemas[key] = onnx.defs.get_schema(node.op_type, version, node.domain)
            except onnx.defs.SchemaError:
                self._schemas[key] = None
        return self._schemas[key]

    def _infer(self, node: ir.Node) -> None:
        schema = self._schema(node)
        if schema is None:
            return
        types, data = {}, {}
        complete = True
        for value in node.inputs:
            if value is None:
                continue
            if value.dtype is None:
                return
            known = self.shapes.get(value)
            complete = complete and known is not None and None not in known
            types[str(value.name)] = onnx.helper.make_tensor_type_proto(value.dtype.value, known)
            if value in self.data:
                data[str(value.name)] = onnx.numpy_helper.from_array(np.asarray(self.data[value]))
        try:
            opsets = [onnx.helper.make_opsetid(d, v) for d, v in self._opsets.items()]
            found = infer_node(schema, ir.to_proto(node), types, data, opsets)
        except Exception:  # noqa: BLE001 (onnx raises several classes; the shapes are not known then)
            self.failures += complete
            return
        x = node.inputs[0] if node.op_type in _LIKE_FIRST else None
        if x is not None and x in self.shapes:
            self.shapes[node.outputs[0]] = self.shapes[x]
            if x.dtype is not None:
                node.outputs[0].dtype = x.dtype
        for output in node.outputs:
            kind = found.get(str(output.name))
            if kind is not None and kind.tensor_type.HasField("shape"):
                self.shapes[output] = tuple(
                    d.dim_value if d.HasField("dim_value") else None for d in kind.tensor_type.shape.dim
                )
                if output.dtype is None and kind.tensor_type.elem_type:
                    output.dtype = ir.DataType(kind.tensor_type.elem_type)


def _is_small(tensor: ir.TensorProtocol) -> bool:
    """Whether a tensor may be part of shape arithmetic: integers, or a scale for each axis. Weights are not."""
    return tensor.size <= LARGEST and (tensor.size <= 8 or not tensor.dtype.is_floating_point())


def _plain(attribute: ir.Attr) -> Any:
    if attribute.type == ir.AttributeType.TENSOR:
        return onnx.numpy_helper.from_array(np.asarray(attribute.as_tensor().numpy()))
    return list(attribute.value) if isinstance(attribute.value, tuple) else attribute.value


class _Namer:
    """Names for what differs between the two choices."""

    def __init__(self, symbols: Mapping[str, tuple[int, int]]) -> None:
        self._symbols = symbols
        self._known: dict[tuple[int, int], str] = {pair: name for name, pair in symbols.items()}

    def element(self, a: int, b: int) -> Element:
        """The number, if both are the same, else its name."""
        if a == b:
            return a
        if (a, b) not in self._known:
            self._known[a, b] = self._monomial(a, b) or f"unknown_{a}_{b}"
        return self._known[a, b]

    def _monomial(self, a: int, b: int) -> str | None:
        found: list[tuple[int, str]] = []
        for powers in product(range(3), repeat=min(len(self._symbols), 3)):
            chosen = list(zip(self._symbols.items(), powers, strict=False))
            first = second = 1
            for (_, (x, y)), power in chosen:
                first, second = first * x**power, second * y**power
            factor = Fraction(a, first)
            if sum(powers) and factor == Fraction(b, second) and factor > 0:
                parts = [name for (name, _), power in chosen for _ in range(power)]
                found.append((sum(powers), "*".join([*([] if factor == 1 else [str(factor)]), *parts])))
        return min(found)[1] if found else None


def _compare(first: _Instance, second: _Instance, namer: _Namer) -> Shapes:
    dims: dict[ir.Value, tuple[Element, ...]] = {}
    for value, a in first.shapes.items():
        b = second.shapes.get(value)
        if b is not None and len(a) == len(b):
            dims[value] = tuple(
                None if x is None or y is None else namer.element(x, y) for x, y in zip(a, b, strict=True)
            )
    numbers: dict[ir.Value, list[Element]] = {}
    constants: dict[ir.Value, Array] = {}
    for value in first.derived & second.derived:
        x, y = first.data[value], second.data[value]
        if x.shape != y.shape:
            continue
        if np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
            constants[value] = x
        if x.dtype.kind == "i" and x.ndim <= 1:
            numbers[value] = [namer.element(int(p), int(q)) for p, q in zip(x.reshape(-1), y.reshape(-1), strict=True)]
    return Shapes(dims, numbers, constants)
