"""Control flow whose course is known: the branch that is taken, the rounds of a loop, the elements of a sequence.

Exporters write `If`, `Loop` and sequences where the source had them, although for one model most of them always run the same way.
Written out, what is inside them has shapes, widths and gradients like everything else.

- An `If` whose condition is constant becomes the branch that is taken.
- A `Loop` with a constant number of rounds, which nothing ends earlier, becomes so many copies of its body. Tensors stay what they
  were, one each.
- A sequence of which every element is known is no more than a list: what is taken out of it is the element itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.builder import Builder, CannotWriteError
from pysurgeon.graph.names import Names, value_names
from pysurgeon.graph.tensors import constant, sizes

# Nodes that a loop may become; more rounds stay a loop.
LARGEST_LOOP = 5000


def straighten(model: ir.Model) -> int:
    """Write out in place what is known; more may be known once shapes are inferred and constants folded again.

    Returns:
        How many nodes were written out.
    """
    graph = model.graph
    if not any(node.domain == "" and node.op_type in _WRITERS and node.op_type != "Identity" for node in graph):
        return 0
    writer = _Writer(model)
    count = sum(writer.write(node) for node in list(graph))
    if count:
        forget_left_nodes(graph)
    return count


def forget_left_nodes(graph: ir.Graph) -> None:
    """Let nodes that are in no graph any more, those of a branch that is never taken, use nothing."""
    there = set(graph.all_nodes())
    values = [*graph.inputs, *graph.initializers.values(), *(o for node in there for o in node.outputs)]
    for value in values:
        for node, position in list(value.uses()):
            if node not in there:
                node.replace_input_with(position, None)


class _Writer:
    """Writes out one model's nodes, in topological order."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.opset = model.graph.opset_imports.get("", 0)
        self._scopes = Counter(value_names(model.graph))
        for inner in model.graph.subgraphs():
            self._scopes.update(value_names(inner))
        self.names = Names(self._scopes)
        self.sequences: dict[ir.Value, list[ir.Value]] = {}

    def write(self, node: ir.Node) -> bool:
        """Write one node out, if it is known how it runs."""
        writer = _WRITERS.get(node.op_type) if node.domain == "" else None
        if writer is None or node.graph is not self.graph:
            return False
        build = Builder(node, self.opset, self.names)
        try:
            found = build.applied(lambda b: writer(self, b))
        except CannotWriteError:
            return False  # what it may have written by then is dropped with all that nobody uses
        if isinstance(found, list):
            # The sequence's own node goes when nobody asks for the sequence any more.
            self.sequences[node.outputs[0]] = found
            return False
        self.replace(build, found)
        return True

    def replace(self, build: Builder, values: Sequence[ir.Value]) -> None:
        """Let values stand for the outputs of a node; those of the graph keep their names."""
        for old, new in zip(build.node.outputs, values, strict=True):
            if old.is_graph_output():
                name = old.name
                new = build.op("Identity", new)
                new.shape, new.type = old.shape, old.type
                old.replace_all_uses_with(new, replace_graph_outputs=True)
                old.name, new.name = None, name
            else:
                old.replace_all_uses_with(new)
        self.graph.remove(build.node, safe=True)

    def sequence(self, value: ir.Value | None) -> list[ir.Value]:
        """The elements of a sequence.

        Raises:
            CannotWriteError: They are not known.
        """
        if value is None or value not in self.sequences:
            message = "the elements are not known"
            raise CannotWriteError(message)
        return self.sequences[value]

    def own(self, node: ir.Node) -> None:
        """Names inside a node become free: it is going to be written out. Scopes inside its own stay what they are."""
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                self._scopes.subtract(value_names(attribute.value))

    def inline(self, body: ir.Graph, before: ir.Node, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        """Put the nodes of a subgraph in front of a node. Returns its outputs."""
        actual = dict(zip(body.inputs, inputs, strict=True))
        outputs = [actual.get(o, o) for o in body.outputs]
        body.outputs.clear()
        for formal, value in actual.items():
            formal.replace_all_uses_with(value)
        self._lift(body, before, [n for n in body if n.op_type != "Constant"])
        return outputs

    def lift_constants(self, body: ir.Graph, before: ir.Node) -> None:
        """Take tensors out of a subgraph, so that its copies share them."""
        self._lift(body, before, [])

    def _lift(self, body: ir.Graph, before: ir.Node, nodes: Sequence[ir.Node]) -> None:
        for name in list(body.initializers):
            value = body.initializers.pop(name)
            value.name = self._free(name)
            self.graph.register_initializer(value)
        for node in [*(n for n in body if n.op_type == "Constant" and n.domain == ""), *nodes]:
            body.remove(node)
            for output in node.outputs:
                output.name = self._free(str(output.name))
            node.name = self._free(node.name) if node.name else None
            self.graph.insert_before(before, node)

    def _free(self, name: str) -> str:
        """The name itself, the first time; no other scope may have it, as inner ones must not hide outer ones."""
        if self._scopes[name] <= 0:
            self._scopes[name] = 1
            return name
        return self.names.unique(name)


def _subgraph(node: ir.Node, name: str) -> ir.Graph:
    graph = node.attributes[name].value
    assert isinstance(graph, ir.Graph)
    return graph


def _if(writer: _Writer, build: Builder) -> tuple[ir.Value, ...]:
    taken = bool(build.known(0, "conditions").reshape(-1)[0])
    body = _subgraph(build.node, "then_branch" if taken else "else_branch")
    writer.own(build.node)
    return tuple(writer.inline(body, build.node, ()))


def _loop(writer: _Writer, build: Builder) -> tuple[ir.Value, ...]:
    node, body = build.node, _subgraph(build.node, "body")
    rounds = int(build.known(0, "rounds").reshape(-1)[0])
    goes_on = build.input(1)
    stops = goes_on is not None and not bool(build.known(1, "conditions").reshape(-1)[0])
    if stops or rounds < 1 or not _always_goes_on(body) or rounds * len(list(body.all_nodes())) > LARGEST_LOOP:
        message = "it may end earlier, or is too long"
        raise CannotWriteError(message)
    writer.own(node)
    writer.lift_constants(body, node)
    _own_outputs(body)
    carried: list[ir.Value] = []
    for value in node.inputs[2:]:
        assert value is not None
        carried.append(value)
    count = len(carried)
    stacked: list[list[ir.Value]] = [[] for _ in body.outputs[1 + count :]]
    true = build.constant(np.array(True))
    for k in range(rounds):
        copy = body.clone(allow_outer_scope_values=True)
        _, *outputs = writer.inline(copy, node, [build.constant(np.array(k, np.int64)), true, *carried])
        carried = outputs[:count]
        for values, value in zip(stacked, outputs[count:], strict=True):
            values.append(build.unsqueeze(value, [0]))
    return (*carried, *(build.op("Concat", *values, axis=0) for values in stacked))


def _own_outputs(body: ir.Graph) -> None:
    """Let what a body gives be its own: a copy of it must not give what lies outside. Its condition is known."""
    body.outputs[0] = body.inputs[1]
    for k, value in enumerate(body.outputs):
        producer = value.producer()
        if not (value.is_graph_input() and value in body.inputs) and (producer is None or producer.graph is not body):
            body.append(handed_on := ir.node("Identity", [value]))
            body.outputs[k] = handed_on.outputs[0]


def _always_goes_on(body: ir.Graph) -> bool:
    """Whether the condition that a body gives is the one that it got, or true."""
    value: ir.Value | None = body.outputs[0]
    while value is not None and (producer := value.producer()) is not None and producer.op_type in ("Identity", "Cast"):
        value = producer.inputs[0]
    if value is body.inputs[1]:
        return True
    known = constant(value)
    return known is not None and bool(known.reshape(-1)[0])


def _split(writer: _Writer, build: Builder) -> list[ir.Value]:  # noqa: ARG001
    x, node = build.x(), build.node
    axis = node.attributes.get_int("axis", 0) % build.rank(x)
    known = np.array(1) if build.input(1) is None else build.known(1, "sizes")
    # The standard heeds it only where no sizes are given; onnxruntime does for a single one, too, and exporters count on that.
    drops_axis = node.attributes.get_int("keepdims", 1) == 0 and known.ndim == 0
    if drops_axis and known != 1:
        message = "an axis that is larger than 1 cannot be dropped"
        raise CannotWriteError(message)
    if known.ndim == 0:
        whole, size = build.size(x, axis), int(known)
        parts = [min(size, whole - k) for k in range(0, whole, size)]
    else:
        parts = [int(p) for p in known]
    if build.opset >= 13:
        found = build.several("Split", x, build.integers(parts), outputs=len(parts), axis=axis)
    else:
        found = build.several("Split", x, outputs=len(parts), axis=axis, split=parts)
    known_sizes = sizes(x)
    for value, part in zip(found, parts, strict=True):
        value.type = x.type
        if known_sizes is not None:
            value.shape = ir.Shape([*known_sizes[:axis], part, *known_sizes[axis + 1 :]])
    return [build.squeeze(v, [axis]) for v in found] if drops_axis else list(found)


def _position(build: Builder, count: int, *, end: int = 0) -> int:
    """Where in a sequence a node points to; at its end if it does not say."""
    if build.input(end) is None:
        return count
    at = int(build.known(end, "positions").reshape(-1)[0])
    return at + count if at < 0 else at


def _at(writer: _Writer, build: Builder) -> tuple[ir.Value, ...]:
    elements = writer.sequence(build.input(0))
    at = _position(build, len(elements), end=1)
    if not 0 <= at < len(elements):
        message = "there is no such element"
        raise CannotWriteError(message)
    return (elements[at],)


def _insert(writer: _Writer, build: Builder) -> list[ir.Value]:
    elements, new = writer.sequence(build.input(0)), build.input(1)
    assert new is not None
    at = _position(build, len(elements), end=2)
    return [*elements[:at], new, *elements[at:]]


def _erase(writer: _Writer, build: Builder) -> list[ir.Value]:
    elements = writer.sequence(build.input(0))
    at = len(elements) - 1 if build.input(1) is None else _position(build, len(elements), end=1)
    return [*elements[:at], *elements[at + 1 :]]


def _construct(writer: _Writer, build: Builder) -> list[ir.Value]:  # noqa: ARG001
    return [v for v in build.node.inputs if v is not None]


def _length(writer: _Writer, build: Builder) -> tuple[ir.Value, ...]:
    return (build.constant(np.array(len(writer.sequence(build.input(0))), np.int64)),)


def _concat(writer: _Writer, build: Builder) -> tuple[ir.Value, ...]:
    elements, node = writer.sequence(build.input(0)), build.node
    axis = node.attributes.get_int("axis", 0)
    if not elements:
        message = "there is nothing to concatenate"
        raise CannotWriteError(message)
    if node.attributes.get_int("new_axis", 0) == 1:
        elements = [build.unsqueeze(v, [axis]) for v in elements]
    return (build.op("Concat", *elements, axis=axis),)


def _same(writer: _Writer, build: Builder) -> list[ir.Value]:
    return writer.sequence(build.input(0))


_WRITERS = {
    "If": _if,
    "Loop": _loop,
    "SplitToSequence": _split,
    "SequenceEmpty": _construct,
    "SequenceConstruct": _construct,
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceAt": _at,
    "SequenceLength": _length,
    "ConcatFromSequence": _concat,
    "Identity": _same,
}
