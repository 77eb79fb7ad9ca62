"""Models exported for one batch size: their first dimension is made free, where the graph permits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError, TrainingError
from pysurgeon.graph import Array, constant, sizes
from pysurgeon.model import Model, infer_node, refresh
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, all_taken

# A batch size that no other size is a multiple of: whatever holds it is the batch, or is multiplied with it.
_MARK = 10_007
_SIZES = 3  # of other open dimensions, at which a dynamic model is compared
_LARGEST = 64  # elements of a constant that shapes may depend on
_CHOICES, _TRIALS = 200, 8  # ways to read the shapes that are looked at, and that are tried out

Shape = tuple[int | None, ...]


def fixed_batch(model: Model) -> int | None:
    """The batch size that a model was exported for, `None` if any will do, as where the batch comes behind a fixed time."""
    if not model.inputs or not model.inputs[0].shape:
        return None
    first = next(v for v in model.ir.graph.inputs if v.name == model.inputs[0].name)
    named = {d.value for d in first.shape or () if isinstance(d, ir.SymbolicDim) and d.value is not None}
    ends = [v.shape[0] for v in model.ir.graph.outputs if v.shape is not None and len(v.shape)]
    if any(isinstance(d, ir.SymbolicDim) and d.value in named for d in ends):
        return None
    return model.inputs[0].shape[0]


def make_batch_dynamic(model: Model) -> Model:
    """The same network for any batch size; the model itself if it is one already.

    The first dimension of the inputs and of the outputs becomes symbolic, and shapes inside are followed through the graph:
    where a Reshape has written the batch down, it is computed, and what was repeated for as many samples as there were is
    repeated for as many as there are. The result is run at another batch size and compared with the original, sample by
    sample.

    Raises:
        TrainingError: The network then no longer computes the same, or cannot be run.
    """
    batch = fixed_batch(model)
    if batch is None:
        return model
    reason = "its shapes do not follow the batch"
    for plan in itertools.islice(_plans(model, batch), _TRIALS):
        tried = _tried(model, batch, plan)
        if isinstance(tried, Model):
            return tried
        reason = tried
    message = (
        f"the model was exported for a batch of {batch} and cannot be made dynamic ({reason}); export it again with "
        "a dynamic batch dimension (dynamic_axes or dynamic_shapes of torch.onnx.export)"
    )
    raise TrainingError(message)


def _tried(model: Model, batch: int, plan: _Plan) -> Model | str:
    """The dynamic model, or why it is none."""
    try:
        dynamic = _made_dynamic(model, batch, plan)
        _compare(model, dynamic, batch)
    except (ModelError, TrainingError) as error:
        return str(error)
    return dynamic


@dataclass(frozen=True)
class _Plan:
    """What has to be changed.

    Attributes:
        shapes: Of what depends on the batch, with the mark as the batch size. Others are as the file says.
        reshapes: By node of a Reshape, the axis that is to be what is left of the elements.
        repeats: By node and position, the axis of what is to be repeated for every sample.
    """

    shapes: dict[ir.Value, Shape]
    reshapes: dict[ir.Node, int]
    repeats: dict[tuple[ir.Node, int], int]

    def copy(self) -> _Plan:
        return _Plan(dict(self.shapes), dict(self.reshapes), dict(self.repeats))

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value."""
        return None if value is None else self.shapes.get(value, sizes(value))

    def axis(self, value: ir.Value | None) -> int | None:
        """The axis that holds the batch."""
        shape = self.shapes.get(value, ()) if value is not None else ()
        return next((k for k, d in enumerate(shape) if d and d % _MARK == 0), None)


def _plans(model: Model, batch: int) -> Iterator[_Plan]:
    """Ways to free a model, the likeliest first: depth first over the Reshapes that can be read in two ways."""
    graph = model.ir.graph
    nodes = list(graph)
    infer = _Inference(graph)
    shapes: dict[ir.Value, Shape] = {}
    for value in graph.inputs:
        known = sizes(value)
        if known and known[0] == batch and not value.is_initializer():
            shapes[value] = (_MARK, *known[1:])
    ends = [v for v in graph.outputs if (sizes(v) or ())[:1] == (batch,)]
    open_choices: list[tuple[int, _Plan, list[int | None]]] = [(0, _Plan(shapes, {}, {}), [None])]
    for _ in range(_CHOICES):
        if not open_choices:
            return
        start, before, choices = open_choices[-1]
        choice = choices.pop(0)
        if not choices:
            open_choices.pop()
        plan = before.copy()
        if choice is not None:
            plan.reshapes[nodes[start]] = choice
        for k in range(start, len(nodes)):
            node = nodes[k]
            if node.op_type == "Reshape" and node.domain == "" and node not in plan.reshapes:
                places = _places(node, plan, batch)
                if places is not None and not places:
                    break  # it mixes the samples
                if places:
                    plan.reshapes[node] = places[0]
                    if places[1:]:
                        rest = plan.copy()
                        del rest.reshapes[node]
                        open_choices.append((k, rest, list(places[1:])))
            _find_constants(node, plan, batch)
            if not infer(node, plan):
                break
        else:
            if all(plan.axis(value) in (0, None) for value in ends):
                yield plan


def _places(node: ir.Node, plan: _Plan, batch: int) -> list[int] | None:
    """Axes of what a Reshape gives that may hold the batch, `None` where not all of its sizes are known.

    In row-major order the batch comes after as many elements here as there. It is the first factor of the axis that holds
    it, or the last one, which shapes do not tell.
    """
    axis, given = plan.axis(node.inputs[0]), plan.of(node.inputs[0])
    output = sizes(node.outputs[0])
    if axis is None or given is None or output is None or None in (*output, *given[: axis + 1]):
        return None
    before = prod(d or 1 for d in given[:axis])
    ahead = [prod(d or 1 for d in output[:k]) for k in range(len(output) + 1)]
    found: list[int] = []
    for position in dict.fromkeys((before, before * ((given[axis] or _MARK) // _MARK))):
        for first in (True, False):
            for k, size in enumerate(output):
                if (
                    k not in found
                    and size
                    and size % batch == 0
                    and ahead[k + (not first)] == position * (1 if first else batch)
                ):
                    found.append(k)
    return found


def _find_constants(node: ir.Node, plan: _Plan, batch: int) -> None:
    """What is the same for every sample shows where it meets what is fed: in a Concat, or as the state of a recurrent layer."""
    if node.domain != "" or node.op_type not in ("Concat", "LSTM", "GRU", "RNN"):
        return
    if node.op_type == "Concat":
        axes = {axis for value in node.inputs if (axis := plan.axis(value)) is not None}
        along = node.attributes.get_int("axis")
        positions = dict.fromkeys(range(len(node.inputs)), min(axes)) if axes and along not in axes else {}
    else:
        positions = dict.fromkeys(range(5, min(7, len(node.inputs))), 1) if plan.axis(node.inputs[0]) == 1 else {}
    for position, axis in positions.items():
        value = node.inputs[position]
        known = sizes(value) if value is not None else None
        if known is not None and value not in plan.shapes and known[axis : axis + 1] == (batch,):
            plan.repeats[node, position] = axis


class _Inference:
    """Shapes of what a node makes of something that depends on the batch, by the ONNX project's own inference."""

    def __init__(self, graph: ir.Graph) -> None:
        import onnx

        self._versions = dict(graph.opset_imports)
        self._opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in self._versions.items()]

    def __call__(self, node: ir.Node, plan: _Plan) -> bool:
        """Add the shapes of a node's outputs to a plan; whether that was possible."""
        import onnx

        if node.op_type == "Shape" or not any(value in plan.shapes for value in node.inputs):
            return True
        copy = ir.to_proto(node)
        types, data = {}, {}
        for position, value in enumerate(node.inputs):
            if value is None or value.dtype is None:
                continue
            shape = plan.of(value)
            axis = plan.repeats.get((node, position))
            if axis is not None and shape is not None:
                shape = (*shape[:axis], _MARK, *shape[axis + 1 :])
            array = constant(value)
            if position == 1 and node in plan.reshapes:
                array = reshaped(node, plan.reshapes[node])
            # One tensor may stand in two places, as two different ones.
            copy.input[position] = f"input_{position}"
            types[copy.input[position]] = onnx.helper.make_tensor_type_proto(value.dtype.value, shape)
            if array is not None and array.size <= _LARGEST:
                data[copy.input[position]] = onnx.numpy_helper.from_array(np.asarray(array))
        try:
            schema = onnx.defs.get_schema(node.op_type, self._versions.get(node.domain, 1), node.domain)
            found = infer_node(schema, copy, types, data, self._opsets)
        except Exception:  # noqa: BLE001  (onnx raises several classes; whatever it is, the shapes do not fit)
            return False
        for output in node.outputs:
            kind = found.get(str(output.name))
            if kind is not None and kind.tensor_type.HasField("shape"):
                dims = kind.tensor_type.shape.dim
                plan.shapes[output] = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
            elif (first := node.inputs[0]) in plan.shapes and first is not None and sizes(output) == sizes(first):
                # Operators defined as functions, which inference for a single node does not look into.
                plan.shapes[output] = plan.shapes[first]
        return True


def reshaped(node: ir.Node, axis: int) -> Array:
    """The target of a Reshape in which one axis is what is left of the elements."""
    return np.array([-1 if k == axis else d for k, d in enumerate(sizes(node.outputs[0]) or ())], dtype=np.int64)


def _made_dynamic(model: Model, batch: int, plan: _Plan) -> Model:
    clone = model.ir.clone()
    graph = clone.graph
    # A clone has the nodes of its original in the same order.
    twin = dict(zip(model.ir.graph, graph, strict=True))
    fed = [value for value in graph.inputs if not value.is_initializer()]
    for node, axis in plan.reshapes.items():
        tensor = ir.Tensor(reshaped(node, axis), name=f"{node.outputs[0].name}_free_shape")
        shape = ir.Shape(tensor.shape)
        value = ir.Value(name=tensor.name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
        twin[node].replace_input_with(1, value)
    for (node, position), axis in plan.repeats.items():
        twin[node].replace_input_with(position, _repeated(graph, twin[node], position, axis, fed[0]))
    for port in (*fed, *graph.outputs):
        if port.shape is not None and len(port.shape) and port.shape[0] == batch:
            port.shape = ir.Shape(["batch", *port.shape[1:]])
    for node in graph:
        for made in node.outputs:
            if not made.is_graph_output():
                made.shape = None  # the engine would take a stale one for a constant
    return refresh(clone)


def _repeated(graph: ir.Graph, node: ir.Node, position: int, axis: int, fed: ir.Value) -> ir.Value:
    """The first of the copies in an input, as often as there are samples in what is fed."""
    value = node.inputs[position]
    assert value is not None
    count = itertools.count()

    def name() -> str:
        return f"{node.outputs[0].name}_{value.name}_free_{position}_{next(count)}"

    def integers(*numbers: int) -> ir.Value:
        tensor = ir.Tensor(np.array(numbers, dtype=np.int64), name=name())
        shape = ir.Shape([len(numbers)])
        kept = ir.Value(name=tensor.name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(kept)
        return kept

    def new(op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        made = ir.node(op_type, list(inputs), attributes, outputs=[ir.Value(name=name())], name=name())
        graph.insert_before(node, made)
        return made.outputs[0]

    known = sizes(value) or ()
    first = new("Gather", value, integers(0), axis=axis)
    samples = new("Gather", new("Shape", fed), integers(0), axis=0)
    parts = [samples if k == axis else integers(1) for k in range(len(known))]
    return new("Expand", first, new("Concat", *parts, axis=0))


def _compare(model: Model, dynamic: Model, batch: int) -> None:
    """See that a dynamic model gives for every sample what the model gives, whatever other dimensions are open.

    Raises:
        TrainingError: It does not.
    """
    count = 2 * batch + 1
    out = next((port.name for port in dynamic.outputs if port.dtype.kind == "f"), None)
    if out is None:
        message = "none of its outputs holds floats, by which it could be seen that samples do not mix"
        raise TrainingError(message)
    alone, whole = Session(model), Session(dynamic)
    for dimensions in itertools.islice(all_taken(model), _SIZES):
        given = random_feeds(dynamic, batch=count, dimensions=dimensions)
        feeds = {name: np.resize(x, (count, *x.shape[1:])) for name, x in given.items()}
        together: Array = whole.run(feeds)[out]
        # The last two overlap the first, so that the same samples stand in other places of the batch.
        for start in (0, 1, count - batch):
            expected: Array = alone.run({name: x[start : start + batch] for name, x in feeds.items()})[out]
            found = together[start : start + batch]
            scale = float(np.abs(expected).max()) or 1.0
            if found.shape != expected.shape or not float(np.abs(found - expected).max()) <= 1e-4 * scale:
                message = "its outputs depend on the batch size"
                raise TrainingError(message)
