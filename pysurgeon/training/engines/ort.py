"""onnxruntime-training: loss and gradients of a training graph. It can end the process it runs in.

The engine has a class for training steps, whose graph copies every gradient into a buffer of its own, and whose artifacts go through files
that hold at most 2 GB. Here the same gradient graph runs in a session: it reads the parameters where they are and writes the gradients where
they are wanted. The artifacts are built from the pieces that `generate_artifacts` is made of, which is not thread-safe and logs
every step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError, TrainingError
from pysurgeon.graph import Array, sizes
from pysurgeon.model import Model
from pysurgeon.runtime import can_differentiate, onnxruntime
from pysurgeon.settings import Device
from pysurgeon.training.aligned import aligned
from pysurgeon.training.derived_graph.derive import TrainingGraph, rounds, with_loss
from pysurgeon.training.derived_graph.rewrites import FREEZING, REWRITES, Rewrite
from pysurgeon.training.engines.ort_gradients import WITH_GRADIENT
from pysurgeon.training.losses.loss import LOSS, Loss
from pysurgeon.training.optimizer import Optimizer
from pysurgeon.training.protocol import State, TrainSettings

_SILENT = 4
# A GPU is to compute what the processor computes: TF32 leaves ten bits of a fraction, and up to a tenth of a gradient.
_PROVIDERS: dict[Device, tuple[str, dict[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
}


class OrtEngine:
    """See `pysurgeon.training.engines.engine.Engine`.

    Attributes:
        parameters: Live, writable float32 arrays by name; the next step uses what is written to them.
        gradients: Live gradients by parameter name; a step overwrites them.

    Raises:
        TrainingError: The engine refuses the graph or lacks the device, or a parameter gets no gradient.
    """

    def __init__(self, view: TrainingGraph, loss: Loss, *, threads: int, device: Device) -> None:
        ensure_device(device)
        _refuse_open_windows(view)
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin after a step take the core from the workers beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            graph = _differentiate(view, loss, options)
            self._session = ort.InferenceSession(graph, options, providers=[_PROVIDERS[device]])
        except TrainingError:
            raise
        except Exception as error:  # the engine raises a class of its own for every status
            message = f"onnxruntime-training refuses the model: {_reason(error)}"
            raise TrainingError(message) from error
        self._inputs = {port.name for port in self._session.get_inputs()}
        outputs = {port.name for port in self._session.get_outputs()}
        for name in view.trainable:
            if _gradient(name) not in outputs:
                message = f"parameter {name!r} gets no gradient from onnxruntime-training"
                raise TrainingError(message)
        tensors = {name: view.tensor(name) for name in (*view.trainable, *view.statistics)}
        self.parameters: dict[str, Array] = {name: aligned(tensors[name]) for name in view.trainable}
        self.gradients: dict[str, Array] = {n: aligned(np.zeros_like(p)) for n, p in self.parameters.items()}
        self._loss = np.zeros((), np.float32)
        # The running statistics are updated where the session reads them, which is on the device.
        self._statistics = {n: ort.OrtValue.ortvalue_from_numpy(tensors[n].copy(), device) for n in view.statistics}
        self._binding = self._session.io_binding()
        self._device = device
        self._bind_parameters()
        for name, value in self._statistics.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, array in (*((_gradient(n), g) for n, g in self.gradients.items()), (LOSS, self._loss)):
            self._binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))

    def step(self, feeds: Mapping[str, Array], targets: Mapping[str, Array], *, add: bool = False) -> float:
        """Loss of a batch; its gradients are written where they are wanted."""
        before = {name: gradient.copy() for name, gradient in self.gradients.items()} if add else {}
        try:
            for name, array in {**feeds, **targets}.items():
                if name in self._inputs:
                    self._binding.bind_cpu_input(name, array)
            if self._device != "cpu":
                self._bind_parameters()
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            message = f"onnxruntime-training cannot take a step: {_reason(error)}"
            raise TrainingError(message) from error
        for name, gradient in before.items():
            self.gradients[name] += gradient
        return float(self._loss)

    def _bind_parameters(self) -> None:
        """On the processor the session reads them where they are ever after; a GPU is given a copy of what they are now."""
        for name, array in self.parameters.items():
            self._binding.bind_cpu_input(name, array)

    def optimizer(self, settings: TrainSettings, state: State) -> Optimizer:
        """One that changes the arrays."""
        return Optimizer(settings, self.parameters, self.gradients, state)

    def tensors(self) -> dict[str, Array]:
        """Copies of parameters and statistics by name."""
        copies = {name: array.copy() for name, array in self.parameters.items()}
        return copies | {name: value.numpy().copy() for name, value in self._statistics.items()}


def make_engine(view: TrainingGraph, loss: Loss, *, threads: int, device: Device) -> OrtEngine:
    """See `pysurgeon.training.engines.engine.make_engine`."""
    return OrtEngine(view, loss, threads=threads, device=device)


def make_support(*, freeze_statistics: bool) -> OrtSupport:
    """See `pysurgeon.training.engines.engine.make_support`."""
    ensure_device("cpu")
    return OrtSupport(freeze_statistics=freeze_statistics)


def ensure_device(device: Device) -> None:
    """See `pysurgeon.training.engines.engine.ensure_device`."""
    if not can_differentiate():
        message = (
            "the trainer ort needs onnxruntime-training, which there is for Python 3.11 and older; the onnxruntime that is installed "
            "only runs models: pip install 'torch>=2.4' and take the trainer torch"
        )
        raise TrainingError(message)
    ort = onnxruntime()
    found = ort.get_available_providers()
    if device == "cuda" and "CUDAExecutionProvider" not in found:
        message = (
            f"the device cuda needs the GPU build of the training engine; the onnxruntime {ort.__version__} that is installed "
            f"has {', '.join(found)}: install onnxruntime-training (for CUDA 11.8 and cuDNN 8) in the place of "
            "onnxruntime-training-cpu, or take the trainer torch, with a build of torch for CUDA, or the device cpu"
        )
        raise TrainingError(message)


class OrtSupport:
    """See `pysurgeon.training.engines.engine.EngineSupport`."""

    def __init__(self, *, freeze_statistics: bool) -> None:
        self._rewrites = {**REWRITES, **(FREEZING if freeze_statistics else {})}

    def rewrite(self, node: ir.Node, wanted: Collection[ir.Value], opset: int) -> Rewrite | None:  # noqa: ARG002
        """Those of the engine's gaps, as far as the node is in one."""
        found = self._rewrites.get(node.op_type) if node.domain == "" else None
        return found if found is not None and found.needed(node, wanted) else None

    def lacks_gradient(self, node: ir.Node, opset: int) -> str:  # noqa: ARG002
        """What is not in the table."""
        if (node.domain == "" and node.op_type in WITH_GRADIENT) or rounds(node):
            return ""
        domain = f" of domain {node.domain!r}" if node.domain else ""
        return f"onnxruntime-training has no gradient for the operator {node.op_type}{domain}, nor is there a rewrite"

    def lacks(self, node: ir.Node, opset: int) -> str:  # noqa: ARG002
        """It runs whatever the user's own file runs with."""
        return ""


def _differentiate(view: TrainingGraph, loss: Loss, options: Any) -> bytes:
    """The gradient graph: what is trained and the statistics are inputs, the loss and the gradients are outputs."""
    from onnxruntime.capi import _pybind_state as engine

    graph_model = with_loss(view, loss, make_support(freeze_statistics=False))
    graph = graph_model.graph
    for name in (*view.trainable, *view.statistics):
        value = graph.initializers.pop(name)
        value.const_value = None
        graph.inputs.append(value)
    try:
        model = Model(graph_model).to_proto()
    except ModelError as error:
        message = "what is not trained of the model takes more than the 2 GB that onnxruntime-training can be given"
        raise TrainingError(message) from error
    trainable = set(view.trainable)
    optimized = engine.get_optimized_model(model.SerializeToString(), trainable, options)
    builder = engine.GradientGraphBuilder(optimized, {LOSS}, trainable, LOSS, options)
    builder.build()
    return bytes(builder.get_model())


def _refuse_open_windows(view: TrainingGraph) -> None:
    """The kernel of this gradient goes by the sizes in the graph, and writes past its memory where there are none.

    Raises:
        TrainingError: A MaxPool works on images whose size is not known.
    """
    for node in view.ir.graph:
        x = node.inputs[0] if node.op_type == "MaxPool" and node.domain == "" else None
        known = None if x is None else sizes(x)
        if x is not None and (known is None or None in known[1:]):
            message = (
                f"MaxPool {node.name!r} works on {x.name!r}, whose size is not known, and onnxruntime-training has no right gradient "
                "for that: export the model with a fixed height and width, or take --trainer torch"
            )
            raise TrainingError(message)


def _gradient(name: str) -> str:
    """What the engine calls the gradient of a parameter."""
    return f"{name}_grad"


def _reason(error: Exception) -> str:
    """The sentence in one of the engine's messages, without source files and signatures."""
    text = " ".join(str(error).split())
    for mark in ("was false. ", "[ONNXRuntimeError] : "):
        if mark in text:
            text = text.split(mark, 1)[1]
    return text[:300] or type(error).__name__
