"""The part of a model that an edit touches, run by itself before and after: seconds become milliseconds for one width of many.

What lies outside is the same graph with the same tensors before and after. If everything that leaves the part is the same, given the
same values that enter it, then so are the outputs of the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.session import Session, output_error


class InseparableError(Exception):
    """The two graphs do not correspond node by node, or the part cannot stand alone."""


@dataclass(frozen=True)
class Excerpt:
    """The touched part, before and after.

    Attributes:
        before: Its nodes as they were.
        after: As they are.
        inputs: Names of the values that enter.
        outputs: Names of the values that leave.
    """

    before: Model
    after: Model
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def error(self, values: Mapping[str, Array]) -> float:
        """Largest relative difference of a value that leaves the part.

        Args:
            values: What the model before computes, at least for `inputs`.
        """
        feeds = {name: values[name] for name in self.inputs}
        reference = Session(self.before).run(feeds)
        other = Session(self.after).run(feeds)
        return max(output_error({name: reference[name]}, {name: other[name]}) for name in self.outputs)


def all_values(model: Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What a forward pass computes: every value by name, the inputs included."""
    names = [str(o.name) for node in model.nodes for o in node.outputs if o.name and o.uses()]
    return {**feeds, **Session(model, names).run(feeds)}


def excerpt(before: Model, after: Model) -> Excerpt:
    """The nodes of which a tensor, an attribute or the shape of a value has changed.

    A size of the part that is used outside of it leaves it like any other value, and shows as a difference.

    Raises:
        InseparableError: The graphs do not correspond, or nothing has changed.
    """
    old, new = list(before.nodes), list(after.nodes)
    if [_outputs(n) for n in old] != [_outputs(n) for n in new]:
        message = "nodes were added or removed"
        raise InseparableError(message)
    if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for n in old for a in n.attributes.values()):
        message = "a graph inside the graph may use any value"
        raise InseparableError(message)
    changed = {k for k, (a, b) in enumerate(zip(old, new, strict=True)) if _differ(a, b)}
    if not changed:
        message = "nothing has changed"
        raise InseparableError(message)
    outputs = _leaving(old, changed, before)
    first, inputs = _part(before, [old[k] for k in sorted(changed)], outputs)
    second, others = _part(after, [new[k] for k in sorted(changed)], outputs)
    if inputs != others:
        message = "other values enter the part than before"
        raise InseparableError(message)
    return Excerpt(first, second, inputs, outputs)


def _outputs(node: ir.Node) -> tuple[str, ...]:
    return tuple(str(o.name) for o in node.outputs)


def _differ(a: ir.Node, b: ir.Node) -> bool:
    if {k: v.value for k, v in a.attributes.items()} != {k: v.value for k, v in b.attributes.items()}:
        return True
    return any(_value_differs(x, y) for x, y in zip((*a.inputs, *a.outputs), (*b.inputs, *b.outputs), strict=True))


def _value_differs(a: ir.Value | None, b: ir.Value | None) -> bool:
    if a is None or b is None:
        return a is not b
    return a.name != b.name or a.shape != b.shape or a.const_value is not b.const_value


def _leaving(nodes: list[ir.Node], part: set[int], model: Model) -> tuple[str, ...]:
    made = {str(o.name) for k in part for o in nodes[k].outputs}
    used = {str(v.name) for k, node in enumerate(nodes) if k not in part for v in node.inputs if v is not None}
    return tuple(sorted(made & (used | {p.name for p in model.outputs})))


def _part(model: Model, nodes: list[ir.Node], outputs: tuple[str, ...]) -> tuple[Model, tuple[str, ...]]:
    made = {o for node in nodes for o in node.outputs}
    values: dict[ir.Value, ir.Value] = {}
    entering: list[ir.Value] = []
    constants: list[ir.Value] = []
    copies = []
    for node in nodes:
        for v in node.inputs:
            if v is None or v in values or v in made:
                continue
            values[v] = ir.Value(name=v.name, shape=v.shape, type=v.type, const_value=v.const_value)
            (constants if v.const_value is not None and v.is_initializer() else entering).append(values[v])
        copy = ir.Node(
            node.domain,
            node.op_type,
            [None if v is None else values[v] for v in node.inputs],
            [ir.Attr(a.name, a.type, a.value) for a in node.attributes.values()],
            num_outputs=len(node.outputs),
            name=node.name,
        )
        for v, w in zip(node.outputs, copy.outputs, strict=True):
            w.name, w.shape, w.type = v.name, v.shape, v.type
            values[v] = w
        copies.append(copy)
    ends = {str(v.name): v for v in values.values()}
    graph = ir.Graph(
        entering,
        [ends[name] for name in outputs],
        nodes=copies,
        initializers=constants,
        opset_imports=model.ir.graph.opset_imports,
        name="part",
    )
    part = Model(ir.Model(graph, ir_version=model.ir.ir_version))
    return part, tuple(sorted(str(v.name) for v in entering))
