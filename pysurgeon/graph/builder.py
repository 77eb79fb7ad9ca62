"""Writing nodes that take the place of another one: for definitions of operators, and for forms that have a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.names import Names
from pysurgeon.graph.nodes import STUMBLED
from pysurgeon.graph.tensors import Array, constant, initializer, sizes

T = TypeVar("T")
B = TypeVar("B", bound="Builder")


class CannotWriteError(Exception):
    """A node cannot be written in other operators; the message is the reason. Whoever asked for it handles it."""


class Builder:
    """Writes nodes in front of the one that they will replace.

    Args:
        node: The node to replace; it lies in a graph.
        opset: Version of the standard opset of the model.
        names: Those that are free in the graph.
        kind: What the new names say behind that of the node.
    """

    def __init__(self, node: ir.Node, opset: int, names: Names, kind: str = "") -> None:
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        self.node = node
        self.opset = opset
        self._graph = graph
        self._names = names
        self._prefix = "/".join(filter(None, (str(node.name or node.outputs[0].name or node.op_type), kind)))

    def input(self, position: int) -> ir.Value | None:
        """An input of the node, `None` where it is left out."""
        inputs = self.node.inputs
        return inputs[position] if position < len(inputs) else None

    def x(self) -> ir.Value:
        """The first input of the node."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    def constant(self, array: Array, name: str = "constant") -> ir.Value:
        """A new initializer."""
        value = initializer(self._unique(name), np.array(array))
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
        values = [ir.Value(name=self._unique(op_type)) for _ in range(outputs)]
        node = ir.node(op_type, list(inputs), attributes, outputs=values, name=self._unique(f"node_{op_type}"))
        self._graph.insert_before(self.node, node)
        return values

    def reduce(self, op_type: str, x: ir.Value, axes: Sequence[int], *, keepdims: bool) -> ir.Value:
        """A reduction, its axes given in the way of the model's opset."""
        if self.opset >= (13 if op_type == "ReduceSum" else 18):
            return self.op(op_type, x, self.integers(axes), keepdims=int(keepdims))
        return self.op(op_type, x, axes=list(axes), keepdims=int(keepdims))

    def unsqueeze(self, x: ir.Value, axes: Sequence[int]) -> ir.Value:
        """New axes of size 1, given in the way of the model's opset."""
        if self.opset >= 13:
            return self.op("Unsqueeze", x, self.integers(axes))
        return self.op("Unsqueeze", x, axes=list(axes))

    def squeeze(self, x: ir.Value, axes: Sequence[int]) -> ir.Value:
        """Without axes of size 1, given in the way of the model's opset."""
        if self.opset >= 13:
            return self.op("Squeeze", x, self.integers(axes))
        return self.op("Squeeze", x, axes=list(axes))

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
            CannotWriteError: It is not known.
        """
        if value is None or value.shape is None:
            name = None if value is None else value.name
            message = f"the rank of {name!r} is not known"
            raise CannotWriteError(message)
        return len(value.shape)

    def size(self, value: ir.Value | None, axis: int) -> int:
        """The size of an axis.

        Raises:
            CannotWriteError: It is not known.
        """
        self.rank(value)
        assert value is not None
        assert value.shape is not None
        size = value.shape[axis]

        if not isinstance(size, int):
            message = f"the size of axis {axis} of {value.name!r} is not known; export the model with fixed sizes"
            raise CannotWriteError(message)
        return size

    def known(self, position: int, what: str) -> Array:
        """The values of an input that must be a constant.

        Raises:
            CannotWriteError: They are computed.
        """
        values = constant(self.input(position))
        if values is None:
            message = f"its {what} are computed"
            raise CannotWriteError(message)
        return values

    def applied(self, rule: Callable[[Self], T]) -> T:
        """What a rule writes for the node.

        Args:
            rule: Written for nodes that are formed as their operator is.

        Raises:
            CannotWriteError: The rule does not cover this node, or it is formed otherwise.
        """
        try:
            return rule(self)
        except STUMBLED as error:
            message = f"it is not formed as {self.node.op_type} is ({type(error).__name__})"
            raise CannotWriteError(message) from error

    def replace(self, values: ir.Value | Sequence[ir.Value | None]) -> Sequence[tuple[str, ir.Value]]:
        """Let new values stand for the outputs of the node, and take it out of the graph.

        Args:
            values: As many as there are, in the order of the outputs; `None` for one that nobody uses.

        Returns:
            What they stand for by name, and the values.
        """
        values = [values] if isinstance(values, ir.Value) else values
        pairs = [(old, new) for old, new in zip(self.node.outputs, values, strict=False) if new is not None]
        for old, new in pairs:
            new.shape, new.type = old.shape or new.shape, old.type or new.type
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        self._graph.remove(self.node, safe=True)
        return [(str(old.name), new) for old, new in pairs]

    def _unique(self, hint: str) -> str:
        return self._names.unique(f"{self._prefix}/{hint}")
