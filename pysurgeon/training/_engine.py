"""onnxruntime-training on the CPU: loss and gradients of a training view. It can end the process it runs in.

The artifacts live in memory files, so nothing is left on disk whatever happens. They are built from the pieces that
`generate_artifacts` is made of: that one is not thread-safe, logs every step and writes models that are not needed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.training.view import TrainingView

if TYPE_CHECKING:
    import onnx

_LABELS, _LOSS = "pysurgeon.labels", "pysurgeon.loss"
_SILENT = 4


class Engine:
    """A training view made ready to be differentiated.

    Attributes:
        parameters: Live, writable float32 arrays by name; the next step uses what is written to them.
        statistics: Live running means and variances by name; every step updates them.
        gradients: Live gradients by parameter name; a step overwrites them.

    Args:
        view: What to train.
        threads: Threads inside an operator.

    Raises:
        TrainingError: The engine refuses the graph.
    """

    def __init__(self, view: TrainingView, *, threads: int = 1) -> None:
        import onnxruntime as ort
        from onnxruntime.training.api import CheckpointState, Module

        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin after a step take the core from the workers beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            graph, trained, kept = _differentiate(view, options)
            with _memory_file(graph) as graph_path, _memory_file() as checkpoint_path:
                _save_checkpoint(trained, kept, checkpoint_path)
                self._state = CheckpointState.load_checkpoint(checkpoint_path)
                self._module = Module(graph_path, self._state, None, "cpu", options)
        except Exception as error:  # the engine raises a class of its own for every status
            message = f"onnxruntime-training refuses the model: {_reason(error)}"
            raise TrainingError(message) from error
        self._threads = threads
        self._trainable = view.trainable
        self.parameters: dict[str, Array] = {n: self._state.parameters[n].data for n in view.trainable}
        self.statistics: dict[str, Array] = {n: self._state.parameters[n].data for n in view.statistics}
        self.gradients: dict[str, Array] = {}

    def step(self, x: Array, y: Array) -> float:
        """Compute loss and gradients of a batch and update the statistics.

        Args:
            x: float32 ``(n, *input)``, ``n > 0``.
            y: int64 ``(n,)``; the caller has checked that they are classes.

        Returns:
            Mean cross-entropy in nats.

        Raises:
            TrainingError: The engine refuses the batch.
        """
        self._module.lazy_reset_grad()
        try:
            loss = float(self._module(x, y))
        except Exception as error:
            message = f"onnxruntime-training cannot take a step: {_reason(error)}"
            raise TrainingError(message) from error
        if not self.gradients:
            # The buffers are allocated by the first step and stay where they are.
            self.gradients = {name: self._state.parameters[name].grad for name in self._trainable}
        return loss

    def tensors(self) -> dict[str, Array]:
        """Copies of parameters and statistics by name."""
        return {name: array.copy() for name, array in (self.parameters | self.statistics).items()}


def _differentiate(view: TrainingView, options: Any) -> tuple[bytes, list[bytes], list[bytes]]:
    """The training graph, the trainable tensors and the statistics, as the engine wants them."""
    import onnx
    from onnxruntime.capi import _pybind_state as engine
    from onnxruntime.training.onnxblock import _training_graph_utils as graphs

    model = onnx.ModelProto()
    model.CopyFrom(view.proto)
    _add_loss(model, view.logits)
    trainable, statistics = set(view.trainable), set(view.statistics)
    tensors = {t.name: t for t in model.graph.initializer}
    trained = [tensors[name].SerializeToString() for name in view.trainable]
    kept = [tensors[name].SerializeToString() for name in view.statistics]
    graphs._move_initializers_to_inputs(model, trainable | statistics)
    optimized = engine.get_optimized_model(model.SerializeToString(), trainable, options)
    builder = engine.GradientGraphBuilder(optimized, {_LOSS}, trainable, _LOSS, options)
    builder.build()
    graph = onnx.load_from_string(builder.get_model())
    graphs._reorder_outputs(graph, [_LOSS], trainable)
    graphs.build_gradient_accumulation_graph(graph, trainable)
    return graph.SerializeToString(), trained, kept


def _add_loss(model: onnx.ModelProto, logits: str) -> None:
    import onnx

    graph = model.graph
    dims = graph.output[0].type.tensor_type.shape.dim
    batch = dims[0].dim_param if dims and dims[0].dim_param else "batch"
    graph.node.append(
        onnx.helper.make_node(
            "SoftmaxCrossEntropyLoss", [logits, _LABELS], [_LOSS, f"{_LOSS}.log_prob"], name=_LOSS, reduction="mean"
        )
    )
    graph.input.append(onnx.helper.make_tensor_value_info(_LABELS, onnx.TensorProto.INT64, [batch]))
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(_LOSS, onnx.TensorProto.FLOAT, []))


def _save_checkpoint(trained: list[bytes], kept: list[bytes], path: str) -> None:
    from onnxruntime.capi import _pybind_state as engine

    engine.save_checkpoint(trained, kept, path, False)


@contextlib.contextmanager
def _memory_file(content: bytes = b"") -> Iterator[str]:
    descriptor = os.memfd_create("pysurgeon")
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    """The sentence in one of the engine's messages, without source files and signatures."""
    text = " ".join(str(error).split())
    for mark in ("was false. ", "[ONNXRuntimeError] : "):
        if mark in text:
            text = text.split(mark, 1)[1]
    return text[:300] or type(error).__name__


def trial(engine: Engine, x: Array, y: Array) -> None:
    """Take one step's gradients without changing a parameter.

    Raises:
        TrainingError: The engine refuses, or a parameter gets no gradient.
    """
    engine.step(x, y)
    for name, gradient in engine.gradients.items():
        if gradient is None or gradient.shape != engine.parameters[name].shape:
            message = f"parameter {name!r} gets no gradient from onnxruntime-training"
            raise TrainingError(message)
