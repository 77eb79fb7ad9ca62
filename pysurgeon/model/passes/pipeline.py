"""Normalization: the same function in a form with fewer ways to say the same thing. Names survive.

- A BatchNormalization or Dropout exported in training mode is put into inference mode, which is what the file will be used for.
- Arrays in Constant nodes become initializers: some exporters keep weights there.
- Equal tensors that an exporter merged through Identity nodes become tensors of their own again: they were equal by
  chance, and training or resizing one must not touch the other.
- What is computed from constants, weights left out, becomes a constant.
- Sizes that are known, wherever the graph computes them, become constants; so do shapes of which at most one dimension is unknown
  (written as -1) or that copy unknown dimensions from where they were (written as 0).
- A Split into equal parts says how large they are.
- Weights in few bits become float32 (see `pysurgeon.model.passes.quantization`).
- Half precision becomes single precision (see `pysurgeon.model.passes.precision`), and a Cast to the type that there is already goes.
- Branches, loops and sequences of which it is known how they run are written out (see `pysurgeon.model.passes.control_flow`).
- Operators of other domains that have a definition in standard ones are written so (see `pysurgeon.model.definitions`).
- Functions of the file are inlined, and initializers that older files list as inputs are inputs no longer (see `pysurgeon.model.ports`).
- The shapes of outputs are those that are computed, whatever a file declares.
- A pool behind a Pad says by `auto_pad` that it pads by nothing itself. Otherwise onnxruntime (1.19 to 1.23 at least) takes the Pad into it, now that
  its sizes are constants, although a pool leaves out what it pads or counts it as minus infinity.
- What nobody uses is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from pysurgeon.errors import ModelError
from pysurgeon.graph.builder import Builder
from pysurgeon.graph.names import Names, value_names
from pysurgeon.graph.shape_arithmetic import expand_target, reshape_target
from pysurgeon.graph.tensors import Array, constant, initializer, input_dimension
from pysurgeon.model.definitions import define
from pysurgeon.model.passes.constants import fold_constants
from pysurgeon.model.passes.control_flow import straighten
from pysurgeon.model.passes.precision import doubles_in_single_precision, halves_in_single_precision
from pysurgeon.model.passes.quantization import in_full
from pysurgeon.model.passes.shape_inference import contradiction, infer_shapes
from pysurgeon.model.passes.symbolic_shapes import Shapes, symbolic_shapes
from pysurgeon.model.ports import forget_outputs, only_inputs, settle_outputs
from pysurgeon.model.trial import doubt, is_odd, misfit
from pysurgeon.operators import lookup


def normalize(model: ir.Model) -> tuple[ir.Model, tuple[str, ...]]:
    """Normalize in place. Returns the model and the notes that a user should see.

    Raises:
        ModelError: The shapes in it contradict one another.
    """
    notes: list[str] = []
    graph = model.graph
    if "" not in graph.opset_imports and "ai.onnx" in graph.opset_imports:
        graph.opset_imports[""] = graph.opset_imports.pop("ai.onnx")  # two names of the standard domain
    _inline(model, notes)
    notes += only_inputs(model)
    common.TopologicalSortPass()(model)
    if halves_in_single_precision(model):
        notes.append("it is in half precision; it is read, trained and saved in float32, its inputs and outputs, too")
    if doubles_in_single_precision(model):
        notes.append("its weights are float64; it is read, trained and saved in float32, its inputs and outputs, too")
    notes += define(model)
    if quantized := in_full(graph):
        notes.append(f"weights stored in few bits are read, trained and saved in float32: {quantized} of them")
    _inference_mode(model, notes)
    _own_tensors(graph)
    # What a file says about the shapes inside it may be stale, or true for one choice of its open dimensions.
    inside, declared = _reset_shapes(graph), forget_outputs(graph)
    objections = infer_shapes(model, strict=True) is not None
    if objections:
        # Data propagation may have met something unusual but valid.
        error = infer_shapes(model, strict=False) or contradiction(model)
        if error is not None:
            message = f"the shapes in the model contradict one another: {str(error).splitlines()[0]}"
            raise ModelError(message) from error
    if wrong := misfit(graph):
        message = f"the shapes in the model contradict one another: {wrong}"
        raise ModelError(message)
    _leave_out_idle_casts(graph)
    _fold(model)
    written = 0
    while count := straighten(model):
        written += count
        _own_tensors(graph)
        forget_outputs(graph)  # what was inferred of a node that is gone
        infer_shapes(model, strict=False)
        _fold(model)
    if written:
        notes.append(f"{written} branches, loops and uses of sequences always run the same way; they were written out")
    _declare(inside)
    _sizes_of_parts(graph)
    _unpadded_pools(graph)
    common.RemoveUnusedNodesPass()(model)
    _in_order_of_use(graph)
    notes += settle_outputs(declared)
    if objections or any(
        is_odd(v) for node in graph for v in (*node.inputs, *node.outputs) if v is not None and v.name
    ):
        doubt(model)
    notes += _left_alone(graph)
    return model, tuple(notes)


def in_other_numbers(model: ir.Model) -> None:
    """Of all that normalization does, what changes numbers by more than rounding, in place: halves, weights of few bits, and training modes."""
    halves_in_single_precision(model)
    in_full(model.graph)
    _inference_mode(model, [])


def _left_alone(graph: ir.Graph) -> Iterator[str]:
    """Weights that nothing can be done with, whatever else is asked."""
    unknown = Counter(
        f"{n.op_type} of {n.domain!r}" if n.domain else n.op_type
        for n in graph
        if lookup(n) is None and any(v is not None and _is_matrix(v) for v in n.inputs)
    )
    if unknown:
        names = ", ".join(f"{count} {name}" for name, count in sorted(unknown.items()))
        yield f"weights of operators that are not known are left alone: {names}"


def _is_matrix(value: ir.Value) -> bool:
    return value.is_initializer() and len(value.shape or ()) > 1


def _leave_out_idle_casts(graph: ir.Graph) -> None:
    for node in graph:
        if node.domain != "" or node.op_type != "Cast":
            continue
        before, after = node.inputs[0], node.outputs[0]
        if before is None or before.dtype != node.attributes.get_int("to"):
            continue
        if after.is_graph_output():
            if before.is_graph_output() or before.is_graph_input() or before.is_initializer():
                continue  # both names are somebody's
            after.name, before.name = None, after.name
        after.replace_all_uses_with(before, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _fold(model: ir.Model) -> None:
    """Make constants of what is computed from constants and from shapes."""
    if fold_constants(model):
        infer_shapes(model, strict=False)
    if any(node.op_type == "Shape" for node in model.graph) or _lacks_shapes(model.graph):
        fold_shapes(model)
        fold_constants(model)


def _in_order_of_use(graph: ir.Graph) -> None:
    """One order of the initializers, whatever was added when: what is saved and loaded again is the same file."""
    used = (v for node in graph for v in node.inputs if v is not None and v.is_initializer())
    order = [str(v.name) for v in dict.fromkeys(used) if v.graph is graph]
    for name in order:
        graph.initializers[name] = graph.initializers.pop(name)


def renew(model: ir.Model) -> ir.Model:
    """Infer in place the shapes of what an edit has added to a normalized model, and drop what nobody uses any more.

    Raises:
        ModelError: The shapes contradict one another: the edit was wrong.
    """
    common.TopologicalSortPass()(model)
    common.RemoveUnusedNodesPass()(model)  # first: what an edit leads round may not fit any more
    error = infer_shapes(model, strict=True)
    if error is not None:
        message = f"the shapes in the edited model contradict one another: {str(error).splitlines()[0]}"
        raise ModelError(message) from error
    if _lacks_shapes(model.graph):
        _set_shapes(symbolic_shapes(model))
    _in_order_of_use(model.graph)
    return model


def settle_sizes(model: ir.Model, shapes: Mapping[str, Sequence[int | str]]) -> ir.Model:
    """Give the inputs of a normalized model these shapes, in place, and make constants of what follows from them.

    Raises:
        ModelError: They contradict one another.
    """
    graph = model.graph
    for value in graph.inputs:
        if str(value.name) in shapes:
            value.shape = ir.Shape(shapes[str(value.name)])
    _reset_shapes(graph)
    forget_outputs(graph)
    infer_shapes(model, strict=False)
    _fold(model)
    return renew(model)


def _lacks_shapes(graph: ir.Graph) -> bool:
    """Whether there is a size that is neither a number nor that of an input. Names that ONNX's inference makes up say nothing."""
    known = {input_dimension(v, k) for v in graph.inputs for k, d in enumerate(v.shape or ()) if not isinstance(d, int)}
    return any(
        o.shape is None or any(not isinstance(d, int) and d.value not in known for d in o.shape)
        for node in graph
        for o in node.outputs
        if o.uses()
    )


def _reset_shapes(graph: ir.Graph) -> dict[ir.Value, ir.Shape]:
    """Forget the shapes that follow from others. Returns them."""
    declared = {}
    for node in graph:
        for output in node.outputs:
            # What is not known keeps its shapes: all of its axes are pinned, and inference could not find them again.
            if not output.is_graph_output() and lookup(node) is not None and output.shape is not None:
                declared[output] = output.shape
                output.shape = None
    return declared


def _declare(declared: dict[ir.Value, ir.Shape]) -> None:
    """Take the file's word where nothing was found."""
    for value, shape in declared.items():
        if value.shape is None:
            value.shape = shape


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
        own = initializer(output.name, np.array(held))
        output.replace_all_uses_with(own)
        graph.remove(node, safe=True)
        graph.register_initializer(own)


def _add(graph: ir.Graph, names: Names, name: str, array: Array) -> ir.Value:
    """A new initializer of this name or, if it is taken, with a number behind it."""
    value = initializer(names.unique(name), array)
    graph.register_initializer(value)
    return value


def fold_shapes(model: ir.Model) -> None:
    """Give every value its shape, with names for dynamic dimensions, and make constants of what is computed from shapes."""
    graph = model.graph
    shapes = symbolic_shapes(model)
    _set_shapes(shapes, outputs=True)
    names, opset = Names(value_names(graph)), graph.opset_imports.get("", 0)
    for value, array in shapes.constants.items():
        needed = any(not all(o in shapes.constants for o in user.outputs) for user, _ in value.uses())
        if needed and not value.is_graph_output():
            value.replace_all_uses_with(_add(graph, names, f"{value.name}_sizes", array))
    for node in list(graph):
        position = _SHAPE_OPERAND.get(node.op_type)
        operand = None if position is None or len(node.inputs) <= position else node.inputs[position]
        target = None if operand is None or node.domain != "" else shapes.numbers.get(operand)
        if position is None or target is None:
            continue
        if node.op_type == "Reshape" and -1 in target:
            target = list(shapes.dims.get(node.outputs[0], target))  # what is left of the elements may be known
        folded = _TARGETS[node.op_type](node, target) if node.op_type in _TARGETS else None
        if folded is not None:
            name = f"{node.outputs[0].name}_shape"
            node.replace_input_with(position, _add(graph, names, name, np.array(folded, dtype=np.int64)))
        else:
            _spell_out(Builder(node, opset, names, "target"), position, target, graph)


def _set_shapes(shapes: Shapes, *, outputs: bool = False) -> None:
    for value, dims in shapes.dims.items():
        if not ((value.is_graph_output() and not outputs) or value.is_graph_input() or value.is_initializer()):
            value.shape = ir.Shape(dims)


def _spell_out(build: Builder, position: int, target: list[int | str | None], graph: ir.Graph) -> None:
    """Write a shape as a row of constants and sizes of inputs, however it was computed, if it is one."""
    inputs = {
        input_dimension(v, k): (v, k)
        for v in graph.inputs
        for k, d in enumerate(v.shape or ())
        if not isinstance(d, int)
    }
    if not all(isinstance(e, int) or e in inputs for e in target):
        return
    parts = []
    for e in target:
        if isinstance(e, int):
            parts.append(build.integers([e]))
            continue
        source, axis = inputs[str(e)]
        sizes = _numbers(build.op("Shape", source), len(source.shape or ()))
        parts.append(_numbers(build.op("Gather", sizes, build.integers([axis])), 1))
    build.node.replace_input_with(position, _numbers(build.op("Concat", *parts, axis=0), len(parts)))


def _numbers(value: ir.Value, count: int) -> ir.Value:
    """Say that a value is a row of so many sizes."""
    value.shape, value.type = ir.Shape([count]), ir.TensorType(ir.DataType.INT64)
    return value


_SHAPE_OPERAND = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}
_TARGETS = {"Reshape": reshape_target, "Expand": expand_target}


def _sizes_of_parts(graph: ir.Graph) -> None:
    """Write down the sizes of a Split into equal parts: they need not stay equal."""
    names = Names(value_names(graph))
    for node in graph:
        if node.op_type != "Split" or node.domain != "" or "split" in node.attributes or len(node.inputs) > 1:
            continue
        axis = node.attributes.get_int("axis", 0)
        parts = [None if o.shape is None else o.shape[axis] for o in node.outputs]
        if not all(isinstance(p, int) for p in parts):
            continue
        node.attributes.pop("num_outputs", None)
        if graph.opset_imports.get("", 0) < 13:
            node.attributes["split"] = ir.AttrInt64s("split", [int(p) for p in parts])  # type: ignore[arg-type]
        else:
            node.resize_inputs(2)
            name = f"{node.outputs[0].name}_split"
            node.replace_input_with(1, _add(graph, names, name, np.array(parts, dtype=np.int64)))


def _unpadded_pools(graph: ir.Graph) -> None:
    """Pools behind a Pad that pad by nothing say so in the way that keeps the two apart. Rounded up, sizes would not be the same."""
    for node in graph:
        if node.domain != "" or node.op_type not in ("MaxPool", "AveragePool"):
            continue
        before = None if node.inputs[0] is None else node.inputs[0].producer()
        padded = (
            any(node.attributes.get_ints("pads", ())) or node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
        )
        if (
            before is not None
            and before.op_type == "Pad"
            and not padded
            and not node.attributes.get_int("ceil_mode", 0)
        ):
            node.attributes.pop("pads", None)
            node.attributes["auto_pad"] = ir.AttrString("auto_pad", "VALID")


def _inline(model: ir.Model, notes: list[str]) -> None:
    if model.functions:
        count = len(model.functions)
        common.InlinePass()(model)
        notes.append(f"{count} functions of the file were inlined, so that what is inside them can be operated on")
