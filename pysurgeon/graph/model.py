"""A model: an onnx_ir graph that is normalized once when it is loaded and never mutated afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from pysurgeon.errors import ModelError
from pysurgeon.graph import _external, _gate, _normalize, _ports, _trial
from pysurgeon.graph._tensors import RESHAPING, Array, behind, sizes
from pysurgeon.graph.definitions.microsoft import strays_apart
from pysurgeon.graph.definitions.scikit_learn import dictionaries_apart
from pysurgeon.graph.registry import lookup

if TYPE_CHECKING:
    import onnx
    import onnx_ir


# Older operators broadcast along an attribute's axis, and onnxruntime does not run them.
OLDEST_OPSET = 7


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
        ir: The graph, normalized (see `pysurgeon.graph._normalize`), with the shape of every value where it is known.
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
        """Version of the standard operator set."""
        return self.ir.graph.opset_imports.get("", 0)

    def tensor(self, name: str) -> Array:
        """The values of an initializer, read-only."""
        tensor = self.ir.graph.initializers[name].const_value
        assert tensor is not None
        return tensor.numpy()

    def tensors(self) -> dict[str, Array]:
        """The values of all initializers by name, read-only."""
        return {name: self.tensor(name) for name in self.ir.graph.initializers}

    def trainable(self) -> tuple[str, ...]:
        """Names of the initializers that training adjusts: float, and in a place where an operator keeps parameters."""
        return tuple(self._placed(lambda operator: operator.parameters))

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
        return _external.remembered(self.ir)

    def to_proto(self) -> onnx.ModelProto:
        """The model as the protobuf message of the ONNX format, all weights inside.

        Raises:
            ModelError: The weights take more than the 2 GB that a message can hold.
        """
        size = _external.tensor_bytes(self.ir)
        if size > _external.LARGEST_MESSAGE:
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

        message = ir.to_proto(_external.referring(self.ir, refer)).SerializeToString()
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
    _external.settle(graph, find)
    return Model(graph, notes)


def from_proto(proto: onnx.ModelProto, *, origin: str = "the model", fix: Mapping[str, Any] | None = None) -> Model:
    """Check and normalize a model that is in memory already.

    Args:
        proto: Not modified.
        origin: What errors call it.
        fix: By the names of inputs, what they are fed for good: a number, or an array.

    Raises:
        ModelError: It is not a valid model, or its weights are in other files.
        UsageError: There is no such input.
    """
    if _external.external_tensors(proto):
        message = (
            f"{origin} keeps tensors in other files, which this message alone does not lead to: load it from its path"
        )
        raise ModelError(message)
    return read(proto, origin, fix=fix)


def read(
    proto: onnx.ModelProto, origin: str, *, path: Path | None = None, fix: Mapping[str, Any] | None = None
) -> Model:
    """What `load` and `from_proto` have in common.

    Args:
        proto: Not modified.
        origin: What errors call it.
        path: The file, for a message whose tensors are in data files beside it. They have been looked for.
        fix: By the names of inputs, what they are fed for good.

    Raises:
        ModelError: It is not a valid model.
    """
    if not proto.graph.node or not proto.opset_import:
        message = f"{origin} is not an ONNX model: it has no nodes or no operator set; export it again"
        raise ModelError(message)
    version = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), OLDEST_OPSET)
    if version < OLDEST_OPSET:
        message = (
            f"{origin} uses operator set {version}; {OLDEST_OPSET} is the oldest that is read: convert it with "
            "onnx.version_converter"
        )
        raise ModelError(message)
    try:
        _gate.admit(proto)
        with _gate.refusing(origin):
            return _normalized(proto, origin, version, path, fix or {})
    except ModelError as error:
        message = str(error) if str(error).startswith(origin) else f"{origin}: {error}"
        raise ModelError(message) from error


def _normalized(proto: onnx.ModelProto, origin: str, version: int, path: Path | None, fix: Mapping[str, Any]) -> Model:
    with strays_apart(proto, version) as strays, dictionaries_apart(proto.graph) as read_as:
        # Given a path, the checker sees that the data files are there and does not read them.
        proto = _checked(proto, origin, None if strays or read_as else path)
        graph = ir.from_proto(proto)
        _external.settle(graph, None if path is None else _external.DataFiles(path.parent).tensor)
    if path is not None:
        _external.remember(graph)
    notes = [*read_as]
    if _ports.open_sizes(graph.graph):
        notes.append("sizes of inputs or outputs that the file writes as -1 or 0 are read as any")
    notes += _ports.fix_inputs(graph.graph, fix)
    source = Model(graph.clone(), (origin,))
    model, more = _normalize.normalize(graph)
    if _trial.doubtful(model):
        _trial.doubt(source.ir)
    return Model(model, (*notes, *more), source)


def _checked(proto: onnx.ModelProto, origin: str, path: Path | None) -> onnx.ModelProto:
    """A valid model as it is, or with its nodes in order, if that is all that it lacks: onnxruntime runs it, and some tools leave it so.

    Args:
        proto: Not modified.
        origin: What errors call it.
        path: The file, to be looked at in place of the message.

    Raises:
        ModelError: It is not valid.
    """
    import onnx

    try:
        onnx.checker.check_model(proto if path is None else str(path))
    except (onnx.checker.ValidationError, ValueError) as error:
        if "topologically sorted" in str(error):  # said of values that nothing gives as well
            with contextlib.suppress(onnx.checker.ValidationError, ir.serde.SerdeError, ValueError):
                ordered = ir.to_proto(common.TopologicalSortPass()(ir.from_proto(proto)).model)
                onnx.checker.check_model(ordered)
                return ordered
        message = f"{origin} is not a valid ONNX model: {first_line(error)}"
        raise ModelError(message) from error
    return proto


def refresh(model: ir.Model) -> Model:
    """Make a Model of a normalized graph that an edit has just changed.

    Shapes of new values are inferred and unused values dropped.

    Raises:
        ModelError: The shapes in it contradict one another: the edit was wrong.
    """
    return Model(_normalize.renew(model))


def at_sizes(model: Model, shapes: Mapping[str, Sequence[int | str]]) -> Model:
    """The same network for inputs of these shapes alone, in which all that follows from them is known.

    Args:
        model: Not modified.
        shapes: By input name; a name stands for a dimension that stays open.

    Raises:
        ModelError: The network cannot be fed such shapes.
    """
    return Model(_normalize.settle_sizes(model.ir.clone(), shapes), model.notes)


def _port(value: ir.Value) -> Port:
    shape = sizes(value)
    if shape is None or value.dtype in (None, ir.DataType.UNDEFINED):
        message = f"the shape or type of {value.name!r} is not declared in the file; export the model with shapes"
        raise ModelError(message)
    return Port(str(value.name), shape, value.dtype.numpy())


def first_line(error: BaseException) -> str:
    """What an error of a library says, cut to fit into a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
