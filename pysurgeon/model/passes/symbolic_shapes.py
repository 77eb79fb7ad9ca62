"""Shapes with symbols: every size that depends on an open dimension is an expression of it, or unknown and open. No number is tried out.

What ONNX's own inference hands on from an input is taken from there, names of open dimensions included. For operators that compute sizes there are
rules (`pysurgeon.model.passes.size_rules`); small integers that a graph computes from sizes are followed element by element
(`pysurgeon.model.passes.symbolic_elements`). So a number that comes out is the same for all choices of the open dimensions, and so is a name: equal names are equal sizes.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import sympy

from pysurgeon.graph.tensors import Array, constant, input_dimension
from pysurgeon.model.passes import size_rules, symbolic_elements
from pysurgeon.model.passes.constants import GROWING, LARGEST_RESULT, is_small
from pysurgeon.model.passes.shape_inference import infer_node
from pysurgeon.model.passes.symbolic_sizes import Size, at_most, dimension, multiply, plain

LARGEST = LARGEST_RESULT  # elements of a value that is worked out

# Defined as functions, which inference for a single node does not look into.
_LIKE_FIRST = frozenset({"GroupNormalization", "MeanVarianceNormalization"})

Element = int | str | None


@dataclass(frozen=True)
class Shapes:
    """What was found.

    Attributes:
        dims: By value, its dimensions: a number, or an expression of open dimensions as text.
        numbers: By value, the elements of small integer vectors and scalars that depend on shapes; `None` where one is not known.
        constants: By value, arrays that depend on shapes and are the same whatever the open dimensions are.
    """

    dims: dict[ir.Value, tuple[Element, ...]]
    numbers: dict[ir.Value, list[Element]]
    constants: dict[ir.Value, Array]


def symbolic_shapes(model: ir.Model) -> Shapes:
    """Work out all shapes of a model. Nothing is changed, but that values without a type get one."""
    found = _Walk(model)
    numbers = {}
    for value in found.derived:
        elements = found.elements(value)
        kind = found.kinds.get(value)
        if elements is not None and elements.ndim <= 1 and kind is not None and kind.kind == "i":
            numbers[value] = [_named(e) for e in elements.reshape(-1)]
    return Shapes(
        {value: tuple(_named(d) for d in shape) for value, shape in found.shapes.items()},
        numbers,
        {value: found.data[value] for value in found.derived if value in found.data},
    )


def _named(element: Any) -> Element:
    if element is None:
        return None
    return str(element) if isinstance(element, sympy.Expr) else int(element)


class _Walk:
    """All nodes of a graph, once, in order.

    Attributes:
        shapes: Sizes of all values whose rank is known.
        data: Values of small tensors that are known.
        partly: Elements of small tensors, some of which are expressions or `None` (not known). Those in `data` are not here.
        kinds: The dtype of what is in `data` or `partly`.
        derived: Values of which the data depends on a shape.
    """

    def __init__(self, model: ir.Model) -> None:
        self.shapes: dict[ir.Value, tuple[Size, ...]] = {}
        self.data: dict[ir.Value, Array] = {}
        self.partly: dict[ir.Value, Array] = {}
        self.kinds: dict[ir.Value, np.dtype[Any]] = {}
        self.derived: set[ir.Value] = set()
        self._opsets = dict(model.graph.opset_imports)
        self._schemas: dict[tuple[str, str], Any] = {}
        self._named: dict[str, sympy.Expr] = {}
        self._known: dict[Hashable, sympy.Expr] = {}
        self._sizes: set[Size] = set()
        self._taken: set[str] = set()
        for value in model.graph.inputs:
            self._input(value)
        for value in model.graph.initializers.values():
            self._initializer(value)
        for node in model.graph:
            self._visit(node)

    def elements(self, value: ir.Value | None) -> Array | None:
        """The elements of a small tensor as objects, `None` where there is nothing to say."""
        if value is None:
            return None
        return self.data[value].astype(object) if value in self.data else self.partly.get(value)

    def unknown(self, key: Hashable = None, *, integer: bool = True, lowest: int | None = None) -> sympy.Expr:
        """A number that is not known, with a key the same one for the same key; sizes are never below 0 (what there may be none of) or 1."""
        known = None if key is None else self._known.get(key)
        if known is None:
            name = next(n for k in itertools.count(len(self._taken)) if (n := f"unknown_{k}") not in self._taken)
            self._taken.add(name)
            kind = {"integer": True} if integer else {"real": True}
            sign = {} if lowest is None else {"positive": True} if lowest else {"nonnegative": True}
            known = sympy.Symbol(name, **kind, **sign)
            if key is not None:
                self._known[key] = known
        return known

    def is_size(self, number: Any) -> bool:
        """Whether a number is at least 1 wherever the file runs: what is the size of something is, unless there may be none of it."""
        if not isinstance(number, sympy.Expr):
            return number is not None and number >= 1
        if number in self._sizes and all(s.is_positive for s in number.free_symbols):
            return True
        return at_most(1, number) or (number.is_Mul and all(self.is_size(plain(f)) for f in number.args))

    def put(self, value: ir.Value, dims: Sequence[Size]) -> None:
        """Note the shape of a value."""
        self.shapes[value] = tuple(dims)
        self._sizes.update(dims)

    def opset(self, node: ir.Node) -> int:
        """The version of a node's opset."""
        return self._opsets.get(node.domain, 1)

    def _input(self, value: ir.Value) -> None:
        if value.shape is None:
            return
        dims: list[Size] = []
        for axis, d in enumerate(value.shape):
            name = "" if isinstance(d, int) else input_dimension(value, axis)
            self._taken.add(name)
            dims.append(d if isinstance(d, int) else dimension(name))
        self.put(value, dims)

    def _initializer(self, value: ir.Value) -> None:
        if value.shape is None:
            return
        self.put(value, [d if isinstance(d, int) else self.unknown(lowest=0) for d in value.shape])
        if value.const_value is not None and _is_small(value.const_value):
            array = constant(value)
            if array is not None:
                self._set(value, array)

    def _visit(self, node: ir.Node) -> None:
        operands = [v for v in node.inputs if v is not None]
        if node.domain == "":
            if node.op_type == "Constant":
                array = constant(node.outputs[0])
                if array is not None and array.size <= LARGEST:
                    self._set(node.outputs[0], array)
                return
            if node.op_type in ("Shape", "Size"):
                self._shape(node)
                return
            if operands and all(v in self.data for v in operands):
                if self._evaluate(node, operands):
                    return
            elif operands and all(v in self.data or v in self.partly for v in operands) and self._follow(node):
                return
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            return
        self._infer(node)

    def _shape(self, node: ir.Node) -> None:
        known = self.shapes.get(node.inputs[0]) if node.inputs[0] is not None else None
        if known is None:
            return
        part: Any = known[slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", None))]
        if node.op_type == "Size":
            part = 1
            for d in known:
                part = multiply(part, d)
        self._set_elements(node.outputs[0], symbolic_elements.array(part), np.dtype(np.int64))

    def _set(self, value: ir.Value, array: Array) -> None:
        self.data[value], self.kinds[value] = array, array.dtype
        self.put(value, array.shape)

    def _set_elements(self, value: ir.Value, elements: Array, kind: np.dtype[Any]) -> None:
        self.derived.add(value)
        if all(isinstance(e, int | float | np.generic) for e in elements.reshape(-1)):
            self._set(value, elements.astype(kind))
        else:
            self.partly[value], self.kinds[value] = elements, kind
            self.put(value, elements.shape)

    def _evaluate(self, node: ir.Node, operands: list[ir.Value]) -> bool:
        """Compute the outputs with the reference implementation, if they are small."""
        if node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial"):
            return False
        if sum(self.data[v].size for v in operands) > LARGEST:
            return False
        if not self._stays_small(node):
            return False
        results = self.compute(node, [None if v is None else self.data[v] for v in node.inputs])
        if results is None or not all(r.size <= LARGEST for r in results):
            return False
        derived = any(v in self.derived for v in operands)
        for output, result in zip(node.outputs, results, strict=False):
            self._set(output, result)
            if derived:
                self.derived.add(output)
        return True

    def _stays_small(self, node: ir.Node) -> bool:
        """Whether what a node gives may be worked out, as far as its operands do not tell."""
        if node.op_type not in GROWING:
            return True
        self._infer(node)
        return all(is_small(self.shapes.get(output)) for output in node.outputs)

    def compute(self, node: ir.Node, arrays: Sequence[Array | None]) -> list[Array] | None:
        """What the reference implementation of an operator gives, `None` where it cannot be told."""
        from onnx.reference.ops._op_list import load_op

        attributes = {name: _plain(a) for name, a in node.attributes.items()}
        with (
            contextlib.suppress(Exception),
            np.errstate(all="ignore"),
        ):  # whatever an implementation raises, the value is not known then
            operator = load_op("", node.op_type, self._schema(node).since_version)
            results = operator.eval(*arrays, n_outputs=len(node.outputs), **attributes)
            results = results if isinstance(results, tuple) else (results,)
            if all(isinstance(r, np.ndarray | np.generic) for r in results):
                return [np.asarray(r) for r in results]
        return None

    def _follow(self, node: ir.Node) -> bool:
        """Work out elements that are not all known."""
        if sum(int(np.prod(self.shapes[v])) for v in node.inputs if v is not None) > LARGEST or not self._stays_small(
            node
        ):
            return False
        found = symbolic_elements.follow(self, node)
        if found is None or any(f.size > LARGEST for f, _ in found):
            return False
        for output, (elements, kind) in zip(node.outputs, found, strict=False):
            self._set_elements(output, elements, kind)
        return True

    def _schema(self, node: ir.Node) -> Any:
        key = (node.domain, node.op_type)
        if key not in self._schemas:
            try:
                self._schemas[key] = onnx.defs.get_schema(node.op_type, self.opset(node), node.domain)
            except onnx.defs.SchemaError:
                self._schemas[key] = None
        return self._schemas[key]

    def _infer(self, node: ir.Node) -> None:
        schema = self._schema(node)
        if schema is None:
            return
        types, data = {}, {}
        for value in node.inputs:
            if value is None:
                continue
            if value.dtype is None:
                return
            known = self.shapes.get(value)
            dims = None if known is None else [self._text(d) for d in known]
            types[str(value.name)] = onnx.helper.make_tensor_type_proto(value.dtype.value, dims)
            if value in self.data:
                data[str(value.name)] = onnx.numpy_helper.from_array(np.asarray(self.data[value]))
        found: Any = {}
        # onnx raises several classes; the shapes are not known then.
        with contextlib.suppress(Exception):
            opsets = [onnx.helper.make_opsetid(d, v) for d, v in self._opsets.items()]
            found = infer_node(schema, ir.to_proto(node), types, data, opsets)
        x = node.inputs[0] if node.op_type in _LIKE_FIRST else None
        if x is not None and x in self.shapes:
            self.put(node.outputs[0], self.shapes[x])
            if x.dtype is not None:
                node.outputs[0].dtype = x.dtype
        rule = size_rules.RULES.get(node.op_type) if node.domain == "" else None
        by_rule = None
        for k, output in enumerate(node.outputs):
            kind = found.get(str(output.name))
            if kind is not None and output.dtype is None and kind.tensor_type.elem_type:
                output.dtype = ir.DataType(kind.tensor_type.elem_type)
            given = kind is not None and kind.tensor_type.HasField("shape")
            sizes = [self._read(d) for d in kind.tensor_type.shape.dim] if given else None
            if rule is not None and (sizes is None or None in sizes):
                by_rule = rule(self, node) if by_rule is None else by_rule
                ruled = by_rule[k] if by_rule is not None and k < len(by_rule) else None
                sizes = _merged(sizes, ruled)
            if sizes is not None:
                self.put(output, [self.unknown(lowest=0) if d is None else d for d in sizes])

    def _text(self, size: Size) -> int | str:
        if isinstance(size, int):
            return size
        text = str(size)
        self._named[text] = size
        return text

    def _read(self, dim: Any) -> Size | None:
        """A dimension as ONNX gives it back. A name that it makes up is nothing that is known."""
        if dim.HasField("dim_value"):
            return int(dim.dim_value)
        return self._named.get(dim.dim_param) if dim.HasField("dim_param") else None


def _merged(first: list[Size | None] | None, second: Sequence[Size | None] | None) -> list[Size | None] | None:
    """Dimensions by two ways, the first of which is preferred."""
    if first is None or second is None or len(first) != len(second):
        return list(second) if first is None and second is not None else first
    return [b if a is None else a for a, b in zip(first, second, strict=True)]


def _is_small(tensor: ir.TensorProtocol) -> bool:
    """Whether a tensor may be part of shape arithmetic: integers, or a scale for each axis. Weights are not."""
    return tensor.size <= LARGEST and (tensor.size <= 8 or not tensor.dtype.is_floating_point())


def _plain(attribute: ir.Attr) -> Any:
    if attribute.type == ir.AttributeType.TENSOR:
        return onnx.numpy_helper.from_array(np.asarray(attribute.as_tensor().numpy()))
    return list(attribute.value) if isinstance(attribute.value, tuple) else attribute.value
