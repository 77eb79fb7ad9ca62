"""What rewrites are written with: a builder of the nodes that take another node's place, and the type of a rewrite."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import Array, constant, sizes


class CannotRewriteError(Exception):
    """A rewrite does not apply to this node; the message is the reason. It never leaves the training package."""


class Builder:
    """Writes nodes in front of the one that they will replace.

    Args:
        node: The node to replace; it lies in a graph.
        opset: Version of the standard operator set of the model.
        trainable: Names of the initializers that get a gradient.
    """

    def __init__(self, node: ir.Node, opset: int, trainable: Collection[str]) -> None:
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        self.node = node
        self.opset = opset
        self._trainable = trainable
        self._graph = graph
        self._taken = set(graph.initializers) | {str(v.name) for n in graph for v in n.outputs}
        self._taken |= {str(v.name) for v in graph.inputs}
        self.added: list[ir.Node] = []

    def input(self, position: int) -> ir.Value | None:
        """An input of the node, `None` where it is left out."""
        inputs = self.node.inputs
        return inputs[position] if position < len(inputs) else None

    def x(self) -> ir.Value:
        """The first input of the node."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    def trains(self, value: ir.Value | None) -> bool:
        """Whether a value is an initializer that gets a gradient."""
        return value is not None and value.name in self._trainable

    def constant(self, array: Array) -> ir.Value:
        """A new initializer."""
        name = self._fresh("constant")
        tensor = ir.Tensor(np.array(array, order="C"), name=name)  # ascontiguousarray would give a scalar an axis
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._graph.register_initializer(value)
        return value

    def scalar(self, number: float) -> ir.Value:
        """A new float32 initializer of rank 0."""
        return self.constant(np.array(number, dtype=np.float32))

    def integers(self, numbers: Sequence[int]) -> ir.Value:
        """A new int64 initializer of rank 1."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        return self.several(op_type, *inputs, outputs=1, **attributes)[0]

    def several(self, op_type: str, *inputs: ir.Value | None, outputs: int, **attributes: Any) -> Sequence[ir.Value]:
        """The outputs of a new node."""
        values = [ir.Value(name=self._fresh(op_type)) for _ in range(outputs)]
        node = ir.node(op_type, list(inputs), attributes, outputs=values, name=self._fresh(f"node_{op_type}"))
        self._graph.insert_before(self.node, node)
        self.added.append(node)
        return values

    def reduce(self, op_type: str, x: ir.Value, axes: Sequence[int], *, keepdims: bool) -> ir.Value:
        """A reduction, its axes given in the way of the model's operator set."""
        if self.opset >= 18 or op_type == "ReduceSum":
            return self.op(op_type, x, self.integers(axes), keepdims=int(keepdims))
        return self.op(op_type, x, axes=list(axes), keepdims=int(keepdims))

    def extent(self, value: ir.Value, axis: int) -> ir.Value:
        """The size of an axis as int64 ``(1,)``: a constant where it is known, else computed."""
        known = sizes(value)
        size = None if known is None else known[axis]
        if size is not None:
            return self.integers([size])
        return self.op("Gather", self.op("Shape", value), self.integers([axis]), axis=0)

    def rank(self, value: ir.Value | None) -> int:
        """The number of axes of a value.

        Raises:
            CannotRewriteError: It is not known.
        """
        if value is None or value.shape is None:
            name = None if value is None else value.name
            message = f"the rank of {name!r} is not known"
            raise CannotRewriteError(message)
        return len(value.shape)

    def size(self, value: ir.Value | None, axis: int) -> int:
        """The size of an axis.

        Raises:
            CannotRewriteError: It is not known.
        """
        self.rank(value)
        assert value is not None
        assert value.shape is not None
        size = value.shape[axis]

        if not isinstance(size, int):
            message = f"the size of axis {axis} of {value.name!r} is not known; export the model with fixed sizes"
            raise CannotRewriteError(message)
        return size

    def known(self, position: int, what: str) -> Array:
        """The values of an input that must be a constant.

        Raises:
            CannotRewriteError: They are computed.
        """
        values = constant(self.input(position))
        if values is None:
            message = f"its {what} are computed"
            raise CannotRewriteError(message)
        return values

    def _fresh(self, hint: str) -> str:
        base = f"{self.node.name or self.node.op_type}/training/{hint}"
        name, k = base, 1
        while name in self._taken:
            name, k = f"{base}_{k}", k + 1
        self._taken.add(name)
        return name


Needed = Callable[[ir.Node, Collection[ir.Value]], bool]


def needs_always(node: ir.Node, wanted: Collection[ir.Value]) -> bool:  # noqa: ARG001
    """The engine never has a right gradient for this operator."""
    return True


@dataclass(frozen=True)
class Rewrite:
    """The same function in operators that have a gradient.

    Attributes:
        how: What takes the operator's place, for the report.
        replace: Writes the nodes and returns what stands for each output of the node, as far as it is used.
        needed: Whether this node has to be rewritten, given the values that a gradient arrives at; others of the operator
            train as they are.
    """

    how: str
    replace: Callable[[Builder], ir.Value | Sequence[ir.Value]]
    needed: Needed = needs_always


def integers(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """An attribute that is a list of integers, `None` where it is left out."""
    attribute = node.attributes.get(name)
    return None if attribute is None else tuple(attribute.as_ints())
