"""What a function of torch is made from: a node without its graph, and what is known about its operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir


class CannotRunError(Exception):
    """A node is in a form of its operator that has no function here; the message is the reason."""


@dataclass(frozen=True)
class Node:
    """An operator with its attributes and the names of its values.

    Attributes:
        op_type: Name of the operator.
        inputs: Names, empty for what is left out.
        outputs: Names, empty for what is left out.
        attributes: Numbers, tuples of them, texts and NumPy arrays by name.
        opset: Version of the standard opset.
    """

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    @staticmethod
    def of(node: ir.Node, opset: int) -> Node:
        """Of a node of a graph."""
        return Node(
            node.op_type,
            tuple("" if value is None else str(value.name) for value in node.inputs),
            # An output that nobody reads is as good as left out, and some functions cannot give all of them.
            tuple(str(v.name) if v.uses() or v.is_graph_output() else "" for v in node.outputs),
            {name: _plain(attribute) for name, attribute in node.attributes.items()},
            opset,
        )

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a number without fraction."""
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        return float(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        return str(self.attributes.get(name, default))

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of integers, `None` where it is left out."""
        given = self.attributes.get(name)
        return None if given is None else tuple(int(number) for number in given)

    def has(self, position: int) -> bool:
        """Whether an input is given."""
        return position < len(self.inputs) and self.inputs[position] != ""

    def wants(self, position: int) -> bool:
        """Whether an output is used."""
        return position < len(self.outputs) and self.outputs[position] != ""

    def only_first(self) -> None:
        """Refuse if another output than the first is used.

        Raises:
            CannotRunError: One is.
        """
        if any(self.outputs[1:]):
            message = f"only the first output of {self.op_type} is known, and another one is used"
            raise CannotRunError(message)


# From the inputs, in order, to the output or a tuple of outputs.
Function = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """How an operator is computed.

    Attributes:
        make: The function of a node; attributes are read here, once. An input that is left out comes as `None`.
        numbers: Positions of the inputs that come as Python numbers or lists of them: shapes, axes, bounds.
    """

    make: Callable[[Node], Function]
    numbers: tuple[int, ...] = ()


def simple(function: Function, numbers: Sequence[int] = ()) -> Operator:
    """An operator without attributes."""
    return Operator(lambda _: function, tuple(numbers))


def _plain(attribute: ir.Attr) -> Any:
    if attribute.type == ir.AttributeType.TENSOR:
        return attribute.as_tensor().numpy()
    if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        message = "it has graphs inside"
        raise CannotRunError(message)
    return attribute.value
