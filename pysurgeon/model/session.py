"""Run a model: forward passes through onnxruntime on the CPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError
from pysurgeon.graph import external_data
from pysurgeon.graph.tensors import Array
from pysurgeon.model import opset_downgrade, trial
from pysurgeon.model.feeds import choices, open_dimensions, random_feeds
from pysurgeon.model.model import Model
from pysurgeon.runtime import onnxruntime

if TYPE_CHECKING:
    import onnx

# onnxruntime 1.19 reads no newer ones.
NEWEST_IR = 10
NEWEST_OPSET = 21

# Bytes of weights from which on a session is made for memory and not for speed.
LARGE = 1 << 30

# onnxruntime's name for its own memory as a place of external data; the offset is the address then.
_ADDRESS = "*/_ORT_MEM_ADDR_/*"

# A place that is never looked at: what lies there is handed over by name.
_BY_NAME = "by name"


class Session:
    """A model made ready to run.

    Args:
        model: The model, not modified.
        extra: Names of values inside the graph that are wanted as outputs, too.
        threads: Threads inside an operator.
        optimized: Whether the engine may fuse and fold what it runs.

    Raises:
        ModelError: onnxruntime cannot run the model.
    """

    def __init__(self, model: Model, extra: Sequence[str] = (), *, threads: int = 1, optimized: bool = True) -> None:
        if trial.doubtful(model.ir) and not trial.too_large(model.ir):
            trial.tried(model.ir, _runnable(model.ir).SerializeToString(), random_feeds(model, batch=2))
        graph = model.ir
        if extra:
            graph = graph.clone()
            present = {v.name for v in graph.graph.outputs}
            values = {v.name: v for node in graph.graph for v in node.outputs}
            values |= {v.name: v for v in graph.graph.inputs}
            for name in extra:
                if name not in present:
                    graph.graph.outputs.append(values[name])
        # The engine works with the arrays of the model itself, which must live as long as it does.
        graph_lent, self._lent = _lend(graph, _ADDRESS)
        size = external_data.tensor_bytes(graph)
        try:
            try:
                self._session = _open(graph_lent, size, threads, self._lent, optimized=optimized)
            except ModelError:
                raise
            except Exception:
                if not self._lent:
                    raise
                # An engine that takes no address (1.19 does, 1.32 does not), or has to know the values of a large tensor.
                large = size > external_data.LARGEST_MESSAGE
                graph_lent, self._lent = _lend(graph, _BY_NAME) if large else (graph, {})
                self._session = _open(graph_lent, size, threads, self._lent, by_name=large, optimized=optimized)
        except Exception as error:  # onnxruntime raises a class of its own for every status
            lines = str(error).strip().splitlines() or [type(error).__name__]
            message = (
                f"onnxruntime cannot run the model (opset {model.opset}; up to {NEWEST_OPSET} is supported): {lines[0]}"
            )
            if model.opset > NEWEST_OPSET:
                message += f"; export it again with opset_version={NEWEST_OPSET} or lower"
            raise ModelError(message) from error
        self.inputs = model.inputs
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array] | Array) -> dict[str, Array]:
        """One forward pass.

        Args:
            feeds: Arrays by input name, or one array where the model has one input.

        Returns:
            Arrays by output name, the extra ones included.

        Raises:
            ModelError: The arrays do not fit the inputs.
        """
        if isinstance(feeds, np.ndarray):
            feeds = {self.inputs[0].name: feeds}
        try:
            values = self._session.run(None, dict(feeds))
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            message = f"the model cannot be run on this input: {lines[0]}"
            raise ModelError(message) from error
        return dict(zip(self.outputs, values, strict=True))

    def over(self, batches: Iterator[Array]) -> Iterator[dict[str, Array]]:
        """A forward pass for every batch."""
        for batch in batches:
            yield self.run(batch)


def _lend(model: ir.Model, place: str) -> tuple[ir.Model, dict[str, Array]]:
    """Let the large tensors of a graph be references to the memory of their arrays.

    onnxruntime offers two other ways to hand over arrays. `add_external_initializers` copies them (1.19), and
    `add_initializer` goes wrong where an optimizer transposes a tensor or folds it into another: the session goes on
    with the array as it was. Tensors given by address are not copied, and optimizers can read them.

    Args:
        model: The graph.
        place: Of the tensors that it refers to.

    Returns:
        The graph, a copy where something was lent, and the arrays that have to stay where they are, by name.
    """
    arrays: dict[str, Array] = {}

    def refer(name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor | None:
        array = tensor.numpy()
        if not (array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative):
            return None
        arrays[name] = array
        shape = ir.Shape(array.shape)
        return ir.ExternalTensor(place, array.ctypes.data, array.nbytes, tensor.dtype, shape=shape, name=name)

    # Most models are small, and a copy of their graph would be all that comes of it.
    return (external_data.referring(model, refer), arrays) if external_data.has_large(model) else (model, arrays)


def _open(
    model: ir.Model,
    size: int,
    threads: int,
    lent: Mapping[str, Array],
    *,
    by_name: bool = False,
    optimized: bool = True,
) -> Any:
    """An onnxruntime session.

    Args:
        model: Its graph.
        size: Bytes of its weights.
        threads: Threads inside an operator.
        lent: Those of its tensors that are references to memory.
        by_name: Whether the engine is given them by name, and not by where they lie.
        optimized: Whether the engine may fuse and fold.
    """
    ort = onnxruntime()
    proto = _runnable(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads that spin after a run take the core from the kernels and workers beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Behind activations that are rounded to steps, newer versions round weights, too, which the file does not say.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if by_name:
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in lent.values()]
        options.add_external_initializers(list(lent), values)
    # It takes a Pad of zeros into a pool that leaves out what it pads, or counts it as minus infinity (1.19 to 1.23 at least).
    disabled = ["Pad_Fusion"]
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Sizes are tried out here, and what a run that failed has planned its memory for can crash the next one (1.19).
        options.enable_mem_pattern = False
    if size > LARGE:
        # Both make a second copy of the weights: in the order that the kernels like best, and behind a Transpose.
        options.add_session_config_entry("session.disable_prepacking", "1")
        disabled.append("ConstantFolding")
    settings = {"sess_options": options, "providers": ["CPUExecutionProvider"], "disabled_optimizers": disabled}
    if not lent:
        content = proto.SerializeToString()
        try:
            return ort.InferenceSession(content, **settings)
        except Exception:
            # Some fusions fail on graphs that are valid. If the graph as it is written fails too, the first error says more.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            with contextlib.suppress(Exception):
                return ort.InferenceSession(content, **settings)
            raise
    # An optimizer that reads a tensor from elsewhere wants a model with a path, even if the place is memory. A file without a
    # name is gone with this process, however that ends.
    with os.fdopen(os.memfd_create("pysurgeon-graph"), "wb") as file:
        file.write(proto.SerializeToString())
        file.flush()
        return ort.InferenceSession(f"/proc/self/fd/{file.fileno()}", **settings)


def _runnable(model: ir.Model) -> onnx.ModelProto:
    """The message in versions that the engine reads."""
    proto = opset_downgrade.lowered(ir.to_proto(model), NEWEST_OPSET)
    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    return proto


def output_error(reference: Mapping[str, Array], other: Mapping[str, Array]) -> float:
    """Relative difference of outputs: the largest absolute difference over the largest absolute reference output."""
    worst = 0.0
    for name, a in reference.items():
        b = other[name]
        if a.shape != b.shape:
            return float("inf")
        if not a.size:
            continue
        scale = float(np.max(np.abs(a)))
        difference = float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64))))
        if not np.isfinite(difference):
            return float("inf")
        worst = max(worst, difference / scale if scale > 0 else difference)
    return worst


def taken(model: Model) -> dict[str, int]:
    """Sizes of open dimensions, by name, at which a model runs: none where the usual ones will do, or nothing does."""
    return next(all_taken(model), {})


def all_taken(model: Model) -> Iterator[dict[str, int]]:
    """One choice after another of sizes at which a model runs; a single one where the batch alone is open."""
    if not any(axis for _, axis in open_dimensions(model)):
        yield {}
        return
    session = Session(model, optimized=False)
    for sizes in ({}, *(dimensions for _, dimensions in choices(model))):
        with contextlib.suppress(ModelError):
            session.run(random_feeds(model, batch=1, dimensions=sizes))
            yield sizes
