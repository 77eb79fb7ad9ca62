"""Models exported for one batch size: their first dimension is made free, where the graph permits."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError, TrainingError
from pysurgeon.graph import Array, Model, constant, refresh, sizes
from pysurgeon.graph.session import Session


def fixed_batch(model: Model) -> int | None:
    """The batch size that a model was exported for, `None` if any will do."""
    return model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else None


def free_batch(model: Model) -> Model:
    """The same network for any batch size; the model itself if it is one already.

    The first dimension of the input and of the outputs becomes symbolic, and so does that of every Reshape that repeats
    it. The result is run at another batch size and compared with the original, sample by sample.

    Raises:
        TrainingError: The network then no longer computes the same, or cannot be run.
    """
    batch = fixed_batch(model)
    if batch is None:
        return model
    with contextlib.suppress(ModelError, TrainingError):
        return _freed(model, batch, only_repeated=True)
    # A dimension may hold the batch times something, and the shape in front of a Reshape may not be known.
    try:
        return _freed(model, batch, only_repeated=False)
    except (ModelError, TrainingError) as error:
        message = (
            f"the model was exported for a batch of {batch} and cannot be freed from it ({error}); export it again with "
            "a dynamic batch dimension (dynamic_axes or dynamic_shapes of torch.onnx.export)"
        )
        raise TrainingError(message) from error


def _freed(model: Model, batch: int, *, only_repeated: bool) -> Model:
    clone = model.ir.clone()
    graph = clone.graph
    for node in graph:
        if node.op_type == "Reshape" and node.domain == "":
            _free_reshape(graph, node, batch, only_repeated=only_repeated)
    for value in (*graph.inputs, *graph.outputs):
        if not value.is_initializer() and value.shape is not None and len(value.shape) and value.shape[0] == batch:
            value.shape = ir.Shape(["batch", *value.shape[1:]])
    for node in graph:
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None  # the engine would take a stale one for a constant
    freed = refresh(clone)
    _compare(model, freed, batch)
    return freed


def _free_reshape(graph: ir.Graph, node: ir.Node, batch: int, *, only_repeated: bool) -> None:
    target, output, source = constant(node.inputs[1]), sizes(node.outputs[0]), node.inputs[0]
    if target is None or output is None or None in output or not output:
        return
    if source is None or constant(source) is not None:
        return
    given = sizes(source)
    if only_repeated and (output[0] != batch or given is None or not given or given[0] != batch):
        return
    name = f"{node.outputs[0].name}_free_shape"
    tensor = ir.Tensor(np.array([-1, *output[1:]], dtype=np.int64), name=name)
    shape = ir.Value(name=name, shape=ir.Shape([len(output)]), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(shape)
    node.replace_input_with(1, shape)


def _compare(model: Model, freed: Model, batch: int) -> None:
    rng = np.random.default_rng(0)
    port = model.inputs[0]
    count = 2 * batch + 1
    shape = tuple(d if d is not None else 16 for d in port.shape[1:])
    x = rng.standard_normal((count, *shape)).astype(port.dtype)
    out = freed.outputs[0].name
    together: Array = Session(freed).run(x)[out]
    alone = Session(model)
    # The last two overlap the first, so that the same samples stand in other places of the batch.
    for start in (0, 1, count - batch):
        expected: Array = alone.run(x[start : start + batch])[out]
        found = together[start : start + batch]
        scale = float(np.abs(expected).max()) or 1.0
        if found.shape != expected.shape or not float(np.abs(found - expected).max()) <= 1e-4 * scale:
            message = "its outputs depend on the batch size"
            raise TrainingError(message)
