"""A loss joined to a training graph: one graph, from the inputs and the targets to one number, which an engine differentiates as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError, TrainingError
from pysurgeon.graph import initializer
from pysurgeon.graph.names import Names, value_names
from pysurgeon.model import Model, from_proto, lowered
from pysurgeon.training.losses.graphs import BATCH
from pysurgeon.training.losses.loss import LOSS, WEIGHT, Loss, Term, fed_name

if TYPE_CHECKING:
    from pysurgeon.training.derived_graph.derive import TrainingGraph


def joined(view: TrainingGraph, loss: Loss) -> tuple[ir.Model, list[ir.Node]]:
    """The view with a loss behind it, and the nodes that were added.

    The graph's only output is `LOSS`. Its inputs are those of the view and the arrays of `Loss.arrays`.

    Args:
        view: Not modified.
        loss: Made for the same model.

    Raises:
        TrainingError: The loss is in an opset that cannot be translated to that of the view.
    """
    model = view.ir.clone()
    graph = model.graph
    join = _Join(graph, view.outputs)
    totals = [join.term(k, term) for k, term in enumerate(loss.terms)]
    total = totals[0]
    for other in totals[1:]:
        total = join.op("Add", total, other)
    total.name, total.shape, total.type = LOSS, ir.Shape([]), ir.TensorType(ir.DataType.FLOAT)
    del graph.outputs[:]
    graph.outputs.append(total)
    return model, join.nodes


class _Join:
    def __init__(self, graph: ir.Graph, outputs: tuple[str, ...]) -> None:
        self._graph = graph
        values = {v.name: v for node in graph for v in node.outputs}
        values |= {v.name: v for v in (*graph.inputs, *graph.initializers.values())}
        self._ends = [values[name] for name in outputs]
        # As the model calls the batch, so that the engine knows it by one name.
        self._batch = next((end.shape[0] for end in self._ends if end.shape is not None and len(end.shape)), BATCH)
        self._names = Names(value_names(graph))
        self.nodes: list[ir.Node] = []

    def op(self, op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        name = self._names.unique(f"{LOSS}.{op_type}")
        node = ir.node(op_type, list(inputs), attributes, outputs=[ir.Value(name=name)], name=name)
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        self._append(node)
        return node.outputs[0]

    def term(self, k: int, term: Term) -> ir.Value:
        """The weighted sum of a term's losses."""
        losses = self._inlined(k, term)
        places = () if term.scalar else term.targets.places
        weight = self._input(fed_name(k, WEIGHT), np.dtype(np.float32), ir.Shape([self._batch, *places]))
        if term.scalar:
            return self.op("Mul", losses, self.op("ReduceSum", weight, keepdims=0))
        return self.op("ReduceSum", self.op("Mul", losses, weight), keepdims=0)

    def _inlined(self, k: int, term: Term) -> ir.Value:
        """A term's own nodes, moved in."""
        model = _in_opset(term.graph, self._graph.opset_imports.get("", 0)).ir.clone()
        inner = model.graph
        output = inner.outputs[0]
        for value in list(inner.inputs):
            name = str(value.name)
            if name in term.values:
                new = self._ends[term.values[name]]
            else:
                assert value.dtype is not None
                shape = ir.Shape([self._batch, *(value.shape or ())[1:]])
                new = self._input(fed_name(k, name), value.dtype.numpy(), shape)
            value.replace_all_uses_with(new)
            output = new if output is value else output
        for name, value in list(inner.initializers.items()):
            held = value.const_value
            assert held is not None
            new = initializer(self._names.unique(f"{LOSS}.{k}.{name}"), held.numpy())
            self._graph.register_initializer(new)
            value.replace_all_uses_with(new, replace_graph_outputs=True)
        nodes = list(inner)
        del inner.outputs[:]
        inner.remove(nodes)
        for node in nodes:
            node.name = self._names.unique(f"{LOSS}.{k}.{node.name or node.op_type}")
            for made in node.outputs:
                made.name = self._names.unique(f"{LOSS}.{k}.{made.name}")
                if made.shape is not None and len(made.shape) and made.shape[0] == BATCH:
                    made.shape = ir.Shape([self._batch, *made.shape[1:]])
            self._append(node)
        return output

    def _input(self, name: str, dtype: np.dtype[np.generic], shape: ir.Shape) -> ir.Value:
        value = ir.Value(name=name, shape=shape, type=ir.TensorType(ir.DataType.from_numpy(dtype)))
        self._graph.inputs.append(value)
        return value

    def _append(self, node: ir.Node) -> None:
        self._graph.append(node)
        self.nodes.append(node)


def _in_opset(model: Model, opset: int) -> Model:
    """The same graph in another opset."""
    if model.opset == opset:
        return model
    import onnx

    try:
        proto = model.to_proto()
        if model.opset > opset:
            return from_proto(lowered(proto, opset), origin="the loss, in an older opset,")
        return from_proto(onnx.version_converter.convert_version(proto, opset), origin="the loss, in a newer opset,")
    except (ModelError, RuntimeError, onnx.version_converter.ConvertError) as error:
        message = (
            f"the loss is in opset {model.opset} and the model in {opset}, and the loss cannot be translated "
            f"({str(error).strip().splitlines()[0][:160]}); write it in opset {opset}"
        )
        raise TrainingError(message) from error
