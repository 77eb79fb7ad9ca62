"""What a rewrite is, and a builder that knows what is trained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pysurgeon import graph
from pysurgeon.graph.names import Names


class Builder(graph.Builder):
    """Writes nodes in front of the one that they will replace.

    Args:
        node: The node to replace; it lies in a graph.
        opset: Version of the standard opset of the model.
        names: Those that are free in the graph.
        trainable: Names of the initializers that get a gradient.
    """

    def __init__(self, node: ir.Node, opset: int, names: Names, trainable: Collection[str]) -> None:
        super().__init__(node, opset, names, "training")
        self._trainable = trainable

    def trains(self, value: ir.Value | None) -> bool:
        """Whether a value is an initializer that gets a gradient."""
        return value is not None and value.name in self._trainable


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
