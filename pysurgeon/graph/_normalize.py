"""Normalization: the same function in a form with fewer ways to say the same thing. Names survive.

- A BatchNormalization or Dropout exported in training mode is put into inference mode, which is what the file will be used for.
- Arrays in Constant nodes become initializers: some exporters keep weights there.
- Equal tensors that an exporter merged through Identity nodes become tensors of their own again: they were equal by
  chance, and training or resizing one must not touch the other.
- What is computed from constants, weights left out, becomes a constant.
- Shape arithmetic becomes a constant where at most one dimension of the result is unknown (that one is written as -1).
- What nobody uses is dropped.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from pysurgeon.errors import ModelError
from pysurgeon.graph._constants import fold_constants
from pysurgeon.graph._shape_arithmetic import reshape_target
from pysurgeon.graph._tensors import Array, constant
from pysurgeon.graph.registry import lookup


def normalize(model: ir.Model, *, reset_shapes: bool = False) -> tuple[ir.Model, tuple[str, ...]]:
    """Normalize in place. Returns the model and the notes that a user should see.

    Raises:
        ModelError: The shapes in it contradict one another.
    """
    notes: list[str] = []
    graph = model.graph
    if "" not in graph.opset_imports and "ai.onnx" in graph.opset_imports:
        graph.opset_imports[""] = graph.opset_imports.pop("ai.onnx")  # two names of the standard domain
    common.TopologicalSortPass()(model)
    _inference_mode(model, notes)
    _own_tensors(graph)
    if reset_shapes:
        _reset_shapes(graph)
    if _inference_error(model, strict=True) is not None:
        # What a file says about the shapes inside it may be stale. Or data propagation met something unusual but valid.
        _reset_shapes(graph)
        error = _inference_error(model)
        if error is not None:
            message = f"the shapes in the model contradict one another: {str(error).splitlines()[0]}"
            raise ModelError(message) from error
    if fold_constants(model):
        _inference_error(model)
    while _fold_shape_arithmetic(graph):
        _inference_error(model)  # what was folded may tell more shapes
    common.RemoveUnusedNodesPass()(model)
    return model, tuple(notes)


def _reset_shapes(graph: ir.Graph) -> None:
    for node in graph:
        for output in node.outputs:
            # What is not known keeps its shapes: all of its axes are pinned, and inference could not find them again.
            if not output.is_graph_output() and lookup(node) is not None:
                output.shape = None


def _inference_error(model: ir.Model, *, strict: bool = False) -> BaseException | None:
    """Infer all shapes in place. Returns what went wrong, in which case nothing was changed."""
    errors: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            errors.append(record.exc_info[1])
        return False

    # The pass tells of errors in no other way than by logging them.
    logger = logging.getLogger(common.ShapeInferencePass.__module__)
    logger.addFilter(keep)
    try:
        common.ShapeInferencePass(check_type=False, strict_mode=strict, data_prop=True)(model)
    finally:
        logger.removeFilter(keep)
    return errors[0] if errors else None


def _inference_mode(model: ir.Model, notes: list[str]) -> None:
    norms = dropouts = 0
    for node in model.graph:
        if node.domain != "" or any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
            continue
        if node.op_type == "BatchNormalization" and _trains(node, model):
            if "training_mode" in node.attributes:
                node.attributes["training_mode"] = ir.AttrInt64("training_mode", 0)
            node.resize_outputs(1)
            norms += 1
        elif node.op_type == "Dropout" and len(node.inputs) > 2 and np.any(constant(node.inputs[2])):
            node.resize_inputs(2)
            dropouts += 1
    if norms:
        notes.append(f"{norms} BatchNormalization nodes were exported in training mode; they now use their statistics")
    if dropouts:
        notes.append(f"{dropouts} Dropout nodes were exported in training mode; they now pass on what they get")


def _trains(node: ir.Node, model: ir.Model) -> bool:
    """Whether a BatchNormalization is in training mode. Before opset 14, having more than one output says so."""
    if model.graph.opset_imports.get("", 0) < 14:
        return len(node.outputs) > 1
    return node.attributes.get_int("training_mode", 0) == 1


def _own_tensors(graph: ir.Graph) -> None:
    """Give every Identity of an initializer, and every Constant node that holds an array, an initializer of its own."""
    for node in list(graph):
        if node.domain != "" or node.op_type not in ("Identity", "Constant"):
            continue
        source, output = node.inputs[0] if node.inputs else None, node.outputs[0]
        held = constant(
            output if node.op_type == "Constant" else source if source and source.is_initializer() else None
        )
        if held is None or held.dtype.kind not in "fiub" or output.name is None or output.is_graph_output():
            continue
        if node.op_type == "Constant" and held.size < 2:
            continue  # a scalar is part of a formula
        own = _initializer(output.name, np.array(held))
        output.replace_all_uses_with(own)
        graph.remove(node, safe=True)
        graph.register_initializer(own)


def _initializer(name: str, array: Array) -> ir.Value:
    tensor = ir.Tensor(array, name=name)
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)


def _fold_shape_arithmetic(graph: ir.Graph) -> bool:
    folded_any = False
    for node in list(graph):
        if node.op_type != "Reshape" or node.domain != "" or len(node.inputs) < 2:
            continue
        shape, output = node.inputs[1], node.outputs[0]
        if shape is None or constant(shape) is not None:
            continue
        dims = reshape_target(node)
        if dims is None:
            continue
        name = _fresh(graph, f"{output.name}_shape")
        folded = _initializer(name, np.array(dims, dtype=np.int64))
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
