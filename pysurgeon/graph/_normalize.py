"""Normalization: the same function in a form with fewer ways to say the same thing. Names survive.

- A BatchNormalization exported in training mode is put into inference mode, which is what the file will be used for.
- Equal tensors that an exporter merged through Identity nodes become tensors of their own again: they were equal by
  chance, and training or resizing one must not touch the other.
- Shape arithmetic becomes a constant where at most one dimension of the result is unknown (that one is written as -1).
- What nobody uses is dropped.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from pysurgeon.graph._shape_arithmetic import reshape_target


def normalize(model: ir.Model, *, reset_shapes: bool = False) -> tuple[ir.Model, tuple[str, ...]]:
    """Normalize in place. Returns the model and the notes that a user should see."""
    notes: list[str] = []
    graph = model.graph
    common.TopologicalSortPass()(model)
    _inference_mode(graph, notes)
    _unshare_identities(graph)
    if reset_shapes:
        for node in graph:
            for output in node.outputs:
                if not output.is_graph_output():
                    output.shape = None
    while True:
        # strict_mode would raise on contradictions that data propagation meets in unusual but valid files.
        common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
        if not _fold_shape_arithmetic(graph):
            break  # nothing new is known, so another inference would find nothing new, either
    common.RemoveUnusedNodesPass()(model)
    return model, tuple(notes)


def _inference_mode(graph: ir.Graph, notes: list[str]) -> None:
    changed = 0
    for node in graph:
        if node.op_type == "BatchNormalization" and node.attributes.get_int("training_mode", 0) == 1:
            if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
                continue
            node.attributes["training_mode"] = ir.AttrInt64("training_mode", 0)
            node.resize_outputs(1)
            changed += 1
    if changed:
        notes.append(
            f"{changed} BatchNormalization nodes were exported in training mode; they now use their statistics"
        )


def _unshare_identities(graph: ir.Graph) -> None:
    for node in list(graph):
        if node.op_type != "Identity" or node.domain != "":
            continue
        source, output = node.inputs[0], node.outputs[0]
        if source is None or not source.is_initializer() or source.is_graph_input() or output.is_graph_output():
            continue
        if source.const_value is None or output.name is None:
            continue
        own = ir.Value(
            name=output.name, shape=source.shape, type=source.type, const_value=_copy(source.const_value, output.name)
        )
        output.replace_all_uses_with(own)
        graph.remove(node, safe=True)
        graph.register_initializer(own)


def _copy(tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    return ir.Tensor(np.array(tensor.numpy()), name=name)


def _fold_shape_arithmetic(graph: ir.Graph) -> bool:
    folded_any = False
    for node in list(graph):
        if node.op_type != "Reshape" or node.domain != "":
            continue
        shape, output = node.inputs[1], node.outputs[0]
        if shape is None or ir.convenience.get_const_tensor(shape) is not None:
            continue
        dims = reshape_target(node)
        if dims is None:
            continue
        name = _fresh(graph, f"{output.name}_shape")
        values = ir.Tensor(np.array(dims, dtype=np.int64), name=name)
        folded = ir.Value(
            name=name, shape=ir.Shape([len(dims)]), type=ir.TensorType(ir.DataType.INT64), const_value=values
        )
        graph.register_initializer(folded)
        node.replace_input_with(1, folded)
        if not output.is_graph_output():
            output.shape = None
        folded_any = True
    return folded_any


def _fresh(graph: ir.Graph, name: str) -> str:
    taken = set(graph.initializers) | {o.name for node in graph for o in node.outputs}
    candidate, k = name, 1
    while candidate in taken:
        candidate, k = f"{name}_{k}", k + 1
    return candidate
