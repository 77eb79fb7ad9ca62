"""onnxruntime-training on the CPU: loss and gradients of a training view. It can end the process it runs in.

The artifacts live in memory files, so nothing is left on disk whatever happens. They are built from the pieces that
`generate_artifacts` is made of: that one is not thread-safe, logs every step and writes models that are not needed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.training.loss import LOSS, TARGETS, WEIGHTS, Loss
from pysurgeon.training.protocol import Device
from pysurgeon.training.view import TrainingView

if TYPE_CHECKING:
    import onnx

_SILENT = 4


class Engine:
    """A training view made ready to be differentiated.

    Attributes:
        parameters: Live, writable float32 arrays by name; the next step uses what is written to them.
        statistics: Live running means and variances by name; every step updates them.
        gradients: Live gradients by parameter name; a step overwrites them.

    Args:
        view: What to train.
        loss: What for.
        threads: Threads inside an operator.
        device: Where it computes. On a GPU, parameters and gradients are copies, which `commit` brings back.

    Raises:
        TrainingError: The engine refuses the graph, or lacks the device.
    """

    def __init__(self, view: TrainingView, loss: Loss, *, threads: int = 1, device: Device = "cpu") -> None:
        import onnxruntime as ort

        ensure_device(device)
        from onnxruntime.training.api import CheckpointState, Module

        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin after a step take the core from the workers beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            graph, trained, kept = _differentiate(view, loss, options)
            with _memory_file(graph) as graph_path, _memory_file() as checkpoint_path:
                _save_checkpoint(trained, kept, checkpoint_path)
                self._state = CheckpointState.load_checkpoint(checkpoint_path)
                self._module = Module(graph_path, self._state, None, device, options)
        except Exception as error:  # the engine raises a class of its own for every status
            message = f"onnxruntime-training refuses the model: {_reason(error)}"
            raise TrainingError(message) from error
        self._inputs: list[str] = self._module.input_names()
        self._trainable = view.trainable
        self.parameters: dict[str, Array] = {n: self._state.parameters[n].data for n in view.trainable}
        self.statistics: dict[str, Array] = {n: self._state.parameters[n].data for n in view.statistics}
        self.gradients: dict[str, Array] = {}
        self._lent = device == "cpu"

    def step(self, feeds: Mapping[str, Array], targets: tuple[Array, Array], *, add: bool = False) -> float:
        """Compute loss and gradients of a batch and update the statistics.

        Args:
            feeds: Arrays by the names of the view's inputs, of at least one sample.
            targets: See `Loss.arrays`; of the shape of the logits.
            add: Whether gradients are added to those of the step before.

        Returns:
            The loss.

        Raises:
            TrainingError: The engine refuses the batch.
        """
        if not add:
            self._module.lazy_reset_grad()
        fed = {**feeds, TARGETS: targets[0], WEIGHTS: targets[1]}
        try:
            loss = float(self._module(*(fed[name] for name in self._inputs)))
        except Exception as error:
            message = f"onnxruntime-training cannot take a step: {_reason(error)}"
            raise TrainingError(message) from error
        if not self.gradients or not self._lent:
            # The buffers are allocated by the first step and stay where they are.
            self.gradients = {name: self._state.parameters[name].grad for name in self._trainable}
        return loss

    def commit(self) -> None:
        """Let the next step use what was written to the parameters; on the CPU it does so anyway."""
        if not self._lent:
            for name, array in self.parameters.items():
                self._state.parameters[name] = array

    def tensors(self) -> dict[str, Array]:
        """Copies of parameters and statistics by name."""
        if not self._lent:
            self.statistics = {name: self._state.parameters[name].data for name in self.statistics}
        return {name: array.copy() for name, array in (self.parameters | self.statistics).items()}


def ensure_device(device: Device) -> None:
    """Find out whether the engine can compute there.

    Raises:
        TrainingError: It cannot.
    """
    import onnxruntime as ort

    found = ort.get_available_providers()
    if device == "cuda" and "CUDAExecutionProvider" not in found:
        message = (
            f"the device cuda needs the GPU build of the training engine; the onnxruntime {ort.__version__} that is installed "
            f"has {', '.join(found)}: install onnxruntime-training (for CUDA 11.8 and cuDNN 8) in the place of "
            "onnxruntime-training-cpu, or take the device cpu"
        )
        raise TrainingError(message)


def _differentiate(view: TrainingView, loss: Loss, options: Any) -> tuple[bytes, list[bytes], list[bytes]]:
    """The training graph, the trainable tensors and the statistics, as the engine wants them."""
    import onnx
    from onnxruntime.capi import _pybind_state as engine
    from onnxruntime.training.onnxblock import _training_graph_utils as graphs

    model = onnx.ModelProto()
    model.CopyFrom(view.proto)
    _add_loss(model, view.logits, loss)
    trainable, statistics = set(view.trainable), set(view.statistics)
    tensors = {t.name: t for t in model.graph.initializer}
    trained = [tensors[name].SerializeToString() for name in view.trainable]
    kept = [tensors[name].SerializeToString() for name in view.statistics]
    graphs._move_initializers_to_inputs(model, trainable | statistics)
    optimized = engine.get_optimized_model(model.SerializeToString(), trainable, options)
    builder = engine.GradientGraphBuilder(optimized, {LOSS}, trainable, LOSS, options)
    builder.build()
    graph = onnx.load_from_string(builder.get_model())
    graphs._reorder_outputs(graph, [LOSS], trainable)
    graphs.build_gradient_accumulation_graph(graph, trainable)
    return graph.SerializeToString(), trained, kept


def _add_loss(model: onnx.ModelProto, logits: str, loss: Loss) -> None:
    import onnx

    graph = model.graph

    def own(name: str) -> str:
        return f"{LOSS}{name}" if name.startswith(".") else name

    nodes = [
        onnx.helper.make_node(op, [own(i) for i in inputs], [own(output)], name=own(f".{output}"), **attributes)
        for op, inputs, output, attributes in loss.nodes(logits)
    ]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    if own(".one") in used:
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones((), np.float32), own(".one")))
    shape = graph.output[0].type.tensor_type.shape
    for name in (TARGETS, WEIGHTS):
        if name in used:
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            value.type.tensor_type.shape.CopyFrom(shape)
            graph.input.append(value)
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(LOSS, onnx.TensorProto.FLOAT, []))


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


def trial(engine: Engine, feeds: Mapping[str, Array], targets: tuple[Array, Array]) -> None:
    """Take one step's gradients without changing a parameter.

    Raises:
        TrainingError: The engine refuses, or a parameter gets no gradient.
    """
    engine.step(feeds, targets)
    for name, gradient in engine.gradients.items():
        if gradient is None or gradient.shape != engine.parameters[name].shape:
            message = f"parameter {name!r} gets no gradient from onnxruntime-training"
            raise TrainingError(message)
