"""Reading a model: from a file or a proto to its normal form."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from onnx_ir.passes import common

from pysurgeon.errors import ModelError
from pysurgeon.graph import external_data
from pysurgeon.model import gate, ports, trial
from pysurgeon.model.definitions.microsoft import strays_apart
from pysurgeon.model.definitions.scikit_learn import dictionaries_apart
from pysurgeon.model.model import Model
from pysurgeon.model.passes import pipeline

if TYPE_CHECKING:
    import onnx


# Older operators broadcast along an attribute's axis, and onnxruntime does not run them.
OLDEST_OPSET = 7


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
    if external_data.external_tensors(proto):
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
        message = f"{origin} is not an ONNX model: it has no nodes or no opset; export it again"
        raise ModelError(message)
    version = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), OLDEST_OPSET)
    if version < OLDEST_OPSET:
        message = (
            f"{origin} uses opset {version}; {OLDEST_OPSET} is the oldest that is read: convert it with "
            "onnx.version_converter"
        )
        raise ModelError(message)
    try:
        gate.admit(proto)
        with gate.refusing(origin):
            return _normalized(proto, origin, version, path, fix or {})
    except ModelError as error:
        message = str(error) if str(error).startswith(origin) else f"{origin}: {error}"
        raise ModelError(message) from error


def _normalized(proto: onnx.ModelProto, origin: str, version: int, path: Path | None, fix: Mapping[str, Any]) -> Model:
    with strays_apart(proto, version) as strays, dictionaries_apart(proto.graph) as read_as:
        # Given a path, the checker sees that the data files are there and does not read them.
        proto = _checked(proto, origin, None if strays or read_as else path)
        graph = ir.from_proto(proto)
        external_data.settle(graph, None if path is None else external_data.DataFiles(path.parent).tensor)
    if path is not None:
        external_data.remember(graph)
    notes = [*read_as]
    if ports.open_sizes(graph.graph):
        notes.append("sizes of inputs or outputs that the file writes as -1 or 0 are read as any")
    notes += ports.fix_inputs(graph.graph, fix)
    source = Model(graph.clone(), (origin,))
    model, more = pipeline.normalize(graph)
    if trial.doubtful(model):
        trial.doubt(source.ir)
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


def first_line(error: BaseException) -> str:
    """What an error of a library says, cut to fit into a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
