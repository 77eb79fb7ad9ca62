"""A model: an onnx_ir graph that is normalized once when it is loaded and never mutated afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError
from pysurgeon.graph import external_data
from pysurgeon.graph.tensors import RESHAPING, Array, behind, sizes
from pysurgeon.model.passes import pipeline
from pysurgeon.operators import lookup

if TYPE_CHECKING:
    import onnx
    import onnx_ir


# Names in a message; the others are counted.
_NAMED = 5


@dataclass(frozen=True)
class Port:
    """A graph input or output: its name, shape (`None` for a dimension of unknown size) and NumPy dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A network given as ONNX.

    Models are values: whatever changes one returns another, and both may share tensors. Nobody mutates `ir`.

    Attributes:
        ir: The graph, normalized (see `pysurgeon.model.passes.pipeline`), with the shape of every value where it is known.
        notes: What normalization changed that a user may want to know, as sentences.
        source: The file as it is, of a model that nothing was done to since; it shares the tensors.
    """

    ir: ir.Model
    notes: tuple[str, ...] = ()
    source: Model | None = None

    def __repr__(self) -> str:
        ports = [
            ", ".join(
                f"{p.name} {p.dtype} ({', '.join('any' if d is None else str(d) for d in p.shape)})" for p in side
            )
            for side in (self.inputs, self.outputs)
        ]
        return f"<Model {self.ir.graph.name!r}: {ports[0]} -> {ports[1]}, {self.parameter_count():,} parameters>"

    @property
    def nodes(self) -> Iterator[onnx_ir.Node]:
        """The nodes in topological order."""
        return iter(self.ir.graph)

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What has to be fed, initializers left out."""
        return tuple(_port(v) for v in self.ir.graph.inputs if not v.is_initializer())

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What comes out."""
        return tuple(_port(v) for v in self.ir.graph.outputs)

    @property
    def opset(self) -> int:
        """Version of the standard opset."""
        return self.ir.graph.opset_imports.get("", 0)

    def tensor(self, name: str) -> Array:
        """The values of an initializer, read-only."""
        tensor = self.ir.graph.initializers[name].const_value
        assert tensor is not None
        return tensor.numpy()

    def tensors(self) -> dict[str, Array]:
        """The values of all initializers by name, read-only."""
        return {name: self.tensor(name) for name in self.ir.graph.initializers}

    def trainable(self, *, elementwise: bool = True) -> tuple[str, ...]:
        """Names of the initializers that training adjusts: float, and in a place where an operator keeps parameters.

        Args:
            elementwise: Whether to name also those that elementwise operators alone keep, which are constants where they have one element.
        """
        return tuple(self._placed(lambda o: o.parameters if elementwise or not o.elementwise else ()))

    def statistics(self) -> tuple[str, ...]:
        """Names of the initializers that training updates without a gradient (running means and variances)."""
        return tuple(self._placed(lambda operator: operator.statistics))

    def not_finite(self) -> dict[str, int]:
        """Weights and statistics that hold infinite values or NaN, with how many; nothing else is looked at: masks may be infinite."""
        found = {}
        for name in (*self.trainable(), *self.statistics()):
            array = self.tensor(name)
            # The extremes tell without a second array of the size of the first; NaN passes through both.
            if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
                found[name] = int(array.size - np.isfinite(array).sum())
        return found

    def why_not_finite(self) -> str:
        """A clause that names the weights with infinite values or NaN, empty if there are none."""
        found = [f"{name!r} ({count:,} of {self.tensor(name).size:,})" for name, count in self.not_finite().items()]
        more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
        return f"values that are infinite or not a number in {', '.join(found[:_NAMED])}{more}" if found else ""

    def ensure_finite(self) -> None:
        """See that there is something to train.

        Raises:
            ModelError: A weight or a statistic is infinite or not a number.
        """
        why = self.why_not_finite()
        if why:
            message = f"the model has {why}; nothing can be learnt from there: export it from a checkpoint before that happened"
            raise ModelError(message)

    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        tensors = (self.ir.graph.initializers[name].const_value for name in self.trainable())
        return sum(tensor.size for tensor in tensors if tensor is not None)

    def with_tensors(self, tensors: Mapping[str, Array]) -> Model:
        """The same network with other values in some initializers.

        Args:
            tensors: Values by initializer name; shape and dtype as before.

        Raises:
            ModelError: A name is no initializer, or a shape or dtype differs.
        """
        clone = self.ir.clone()
        for name, array in tensors.items():
            value = clone.graph.initializers.get(name)
            if value is None or value.const_value is None:
                message = f"the model has no initializer {name!r}"
                raise ModelError(message)
            old = value.const_value
            if tuple(old.shape) != array.shape or old.dtype.numpy() != array.dtype:
                message = (
                    f"initializer {name!r} is {old.dtype.numpy()} {tuple(old.shape)}, "
                    f"the new values are {array.dtype} {array.shape}"
                )
                raise ModelError(message)
            value.const_value = ir.Tensor(np.asarray(array, order="C"), name=name)
        return Model(clone, self.notes)

    def with_metadata(self, entries: Mapping[str, str]) -> Model:
        """The same network with more entries in the file's metadata; those that it has stay, unless they are named here."""
        clone = self.ir.clone()
        clone.metadata_props.update(entries)
        return Model(clone, self.notes)

    @property
    def external(self) -> bool:
        """Whether the file that it was loaded from kept its weights in a data file; `save` does the same then."""
        return external_data.remembered(self.ir)

    def to_proto(self) -> onnx.ModelProto:
        """The model as the protobuf message of the ONNX format, all weights inside.

        Raises:
            ModelError: The weights take more than the 2 GB that a message can hold.
        """
        size = external_data.tensor_bytes(self.ir)
        if size > external_data.LARGEST_MESSAGE:
            message = (
                f"the model has {size / 1e9:.1f} GB of weights, and an ONNX message holds at most 2 GB: save it to a file, "
                "which puts the weights into a data file beside it"
            )
            raise ModelError(message)
        return ir.to_proto(self.ir)

    def to_bytes(self) -> bytes:
        """The model as the contents of an `.onnx` file, all weights inside.

        Raises:
            ModelError: The weights take more than the 2 GB that a message can hold.
        """
        return bytes(self.to_proto().SerializeToString())

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: the graph as a message, its large tensors as arrays, which may then travel by ways of their own."""
        arrays: list[Array] = []

        def refer(name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
            arrays.append(np.ascontiguousarray(tensor.numpy()))
            shape = ir.Shape(tensor.shape.numpy())
            return ir.ExternalTensor("arrays", len(arrays) - 1, tensor.nbytes, tensor.dtype, shape=shape, name=name)

        message = ir.to_proto(external_data.referring(self.ir, refer)).SerializeToString()
        return _unpickled, (message, arrays, self.notes)

    def _placed(self, places: Any) -> Iterator[str]:
        seen = set()
        for node in self.ir.graph:
            operator = lookup(node)
            if operator is None:
                continue
            for position in places(operator):
                value = behind(node.inputs[position], RESHAPING) if position < len(node.inputs) else None
                if value is None or value.name in seen or value.is_graph_input():
                    continue
                tensor = value.const_value
                if tensor is None or tensor.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
                    continue
                if operator.elementwise and tensor.size <= 1:
                    continue  # a scalar beside an elementwise operator is a constant of the formula, not a parameter
                seen.add(value.name)
                yield str(value.name)


def _unpickled(message: bytes, arrays: list[Array], notes: tuple[str, ...]) -> Model:
    import onnx

    def find(reference: ir.ExternalTensor) -> ir.TensorProtocol:
        return ir.Tensor(arrays[reference.offset or 0], reference.dtype, name=reference.name)

    graph = ir.from_proto(onnx.load_model_from_string(message))
    external_data.settle(graph, find)
    return Model(graph, notes)


def refresh(model: ir.Model) -> Model:
    """Make a Model of a normalized graph that an edit has just changed.

    Shapes of new values are inferred and unused values dropped.

    Raises:
        ModelError: The shapes in it contradict one another: the edit was wrong.
    """
    return Model(pipeline.renew(model))


def at_sizes(model: Model, shapes: Mapping[str, Sequence[int | str]]) -> Model:
    """The same network for inputs of these shapes alone, in which all that follows from them is known.

    Args:
        model: Not modified.
        shapes: By input name; a name stands for a dimension that stays open.

    Raises:
        ModelError: The network cannot be fed such shapes.
    """
    return Model(pipeline.settle_sizes(model.ir.clone(), shapes), model.notes)


def _port(value: ir.Value) -> Port:
    shape = sizes(value)
    if shape is None or value.dtype in (None, ir.DataType.UNDEFINED):
        message = f"the shape or type of {value.name!r} is not declared in the file; export the model with shapes"
        raise ModelError(message)
    return Port(str(value.name), shape, value.dtype.numpy())
