"""The one place where an edit is performed, on the graph and on the optimizer's moments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import Array, constant, initializer
from pysurgeon.graph.names import Names, value_names
from pysurgeon.graph.terms import Dim, Term, leaves, size
from pysurgeon.model import Model, refresh
from pysurgeon.operators.constraints import SizeAttribute
from pysurgeon.surgery.edits.edit import Edit, NodeSpec
from pysurgeon.widths.axis_layout import term_size


def apply_edit(edit: Edit) -> Model:
    """Perform an edit on a copy of the model that it was planned for. That model is not modified."""
    old = edit.structure.model
    clone = old.ir.clone()
    _set_tensors(clone.graph, old, edit)
    _set_sizes(clone, edit)
    _set_shapes(clone.graph, edit)
    _set_nodes(clone.graph, edit)
    return Model(refresh(clone).ir, old.notes)


AGE = "age"  # beside the moments: the steps that every element has taken, a scalar where that is the same for all


def carry(edit: Edit, moments: Mapping[str, Mapping[str, Array]]) -> dict[str, dict[str, Array]]:
    """The optimizer's moments and ages after an edit: through the same maps as the tensors that they belong to.

    Args:
        edit: The edit.
        moments: By name of the moment, then by tensor, each of the tensor's shape; ages may be scalars.

    Returns:
        The same, resized. Second moments stay non-negative. A tensor that is new has no entry: its moments and its age start at
        zero, as do those of new units of an old tensor. What an earlier edit removed has none any more: its name may come again.
    """
    there = edit.structure.model.ir.graph.initializers
    carried: dict[str, dict[str, Array]] = {}
    for kind, arrays in moments.items():
        of = "second moments" if kind == "v" else "first moments"
        carried[kind] = {
            t: _ages(edit, t, a) if kind == AGE else edit.mapped(t, a, of)  # type: ignore[arg-type]
            for t, a in arrays.items()
            if t in there
        }
    return carried


def _ages(edit: Edit, tensor: str, age: Array) -> Array:
    """Ages through the maps of a tensor: what is combined is as old as its parts on the average, what is new has none."""
    maps = [m for m in edit.maps if m.tensor == tensor]
    if not maps or (age.ndim == 0 and all(m.history is None for m in maps)):
        return age
    every = np.broadcast_to(age, edit.structure.model.tensor(tensor).shape).astype(np.float32)
    total = edit.mapped(tensor, every, "second moments")
    weight = edit.mapped(tensor, np.ones_like(every), "second moments")
    return np.rint(np.divide(total, weight, out=np.zeros_like(total), where=weight > 0))


def _set_tensors(graph: ir.Graph, old: Model, edit: Edit) -> None:
    for tensor in dict.fromkeys([m.tensor for m in edit.maps] + list(edit.values)):
        array = edit.values.get(tensor)
        if array is None:
            array = edit.mapped(tensor, old.tensor(tensor))
        _set_initializer(graph.initializers[tensor], array)
    for name, array in edit.added.items():
        graph.register_initializer(initializer(name, array))


def _set_initializer(value: ir.Value, array: Array) -> None:
    array = np.asarray(array, order="C")  # unlike np.ascontiguousarray, it leaves a scalar a scalar
    value.const_value = ir.Tensor(array, name=value.name)
    value.shape = ir.Shape(array.shape)


def _set_sizes(model: ir.Model, edit: Edit) -> None:
    """Rewrite what the graph says about sizes: shape operands and attributes."""
    resized, solver = edit.resized, edit.structure.constraints.solver
    if not resized:
        return
    nodes = {str(o.name): node for node in model.graph for o in node.outputs}
    for attribute in edit.structure.constraints.size_attributes:
        term = solver.resolve(attribute.term)
        if _holds(term, resized):
            _set_attribute(nodes[attribute.node], attribute, attribute.sign * term_size(term, resized))
    changed: dict[tuple[str, int], dict[int, int]] = {}
    for literal in edit.structure.constraints.shape_constants:
        term = solver.resolve(literal.term)
        if _holds(term, resized):
            place = literal.place
            changed.setdefault((place.node, place.position), {})[place.element] = literal.sign * term_size(
                term, resized
            )
    names = Names(value_names(model.graph)) if changed else None
    for (output, position), elements in changed.items():
        node = nodes[output]
        array = np.array(constant(node.inputs[position]))
        for k, new in elements.items():
            array.reshape(-1)[k] = new
        assert names is not None
        # A constant of its own: exporters let several nodes share one.
        value = initializer(names.unique(f"{output}_shape"), array)
        model.graph.register_initializer(value)
        node.replace_input_with(position, value)


def _set_shapes(graph: ir.Graph, edit: Edit) -> None:
    """The shapes of all values follow their terms. A name for a size that is not known would be that of another size."""
    resized, inference = edit.resized, edit.structure.constraints
    if not resized:
        return
    for old, new in zip(edit.structure.model.ir.graph, graph, strict=True):
        for before, after in zip(old.outputs, new.outputs, strict=True):
            if before.shape is None or before.is_graph_output():
                continue
            terms = inference.resolved(before)
            if any(_holds(t, resized) for t in terms):
                known = [d if isinstance(d, int) else d.value for d in before.shape]
                after.shape = ir.Shape(
                    [_size_after(t, resized) if _holds(t, resized) else d for t, d in zip(terms, known, strict=True)]
                )


def _size_after(term: Term, resized: Mapping[Dim, int]) -> int | None:
    return None if size(term) is None else term_size(term, resized)


def _set_attribute(node: ir.Node, attribute: SizeAttribute, new: int) -> None:
    if attribute.element is None:
        node.attributes[attribute.name] = ir.AttrInt64(attribute.name, new)
        return
    elements = list(node.attributes[attribute.name].as_ints())
    elements[attribute.element] = new
    node.attributes[attribute.name] = ir.AttrInt64s(attribute.name, elements)


def _holds(term: object, resized: Mapping[Dim, int]) -> bool:
    return any(dim in resized for dim in leaves(term))  # type: ignore[arg-type]


def _set_nodes(graph: ir.Graph, edit: Edit) -> None:
    values: dict[str, ir.Value] = {str(v.name): v for v in graph.inputs} | dict(graph.initializers)
    for node in graph:
        values |= {str(o.name): o for o in node.outputs}
    rewired = [(values[r.value], r.replacement) for r in edit.rewires]
    users = [(list(value.uses()), value) for value, _ in rewired]
    waiting = list(edit.nodes)
    while waiting:
        ready = [spec for spec in waiting if all(not name or name in values for name in spec.inputs)]
        assert ready, f"an edit uses values that do not exist: {waiting}"
        for spec in ready:
            values |= _node(graph, spec, values)
            waiting.remove(spec)
    for (uses, value), (_, replacement) in zip(users, rewired, strict=True):
        for user, position in uses:
            user.replace_input_with(position, values[replacement])
        if value.is_graph_output():
            _take_over_output(graph, value, values[replacement])


def _take_over_output(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let `new` be the graph's output under the name that the user's file gave it."""
    name = old.name
    old.name = f"{name}/before"
    new.name, new.shape, new.type, new.doc_string = name, old.shape, old.type, old.doc_string
    new.metadata_props.update(old.metadata_props)
    for k, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[k] = new


def _node(graph: ir.Graph, spec: NodeSpec, values: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
    node = ir.node(
        spec.operator,
        [values[name] if name else None for name in spec.inputs],
        attributes=dict(spec.attributes),
        num_outputs=1 + len(spec.further),
        name=f"{next(n for n in (spec.output, *spec.further) if n)}/node",
    )
    for output, name in zip(node.outputs, (spec.output, *spec.further), strict=True):
        output.name = name
    graph.append(node)
    return {str(o.name): o for o in node.outputs if o.name}
