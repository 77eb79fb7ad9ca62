"""Run a model: forward passes through onnxruntime on the CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError
from pysurgeon.graph._tensors import Array
from pysurgeon.graph.model import Model

# onnxruntime 1.19 reads no newer ones.
NEWEST_IR = 10
NEWEST_OPSET = 21


class Session:
    """A model made ready to run.

    Args:
        model: The model, not modified.
        extra: Names of values inside the graph that are wanted as outputs, too.
        threads: Threads inside an operator.

    Raises:
        ModelError: onnxruntime cannot run the model.
    """

    def __init__(self, model: Model, extra: Sequence[str] = (), *, threads: int = 1) -> None:
        import onnxruntime as ort

        graph = model.ir
        if extra:
            graph = graph.clone()
            present = {v.name for v in graph.graph.outputs}
            values = {v.name: v for node in graph.graph for v in node.outputs}
            values |= {v.name: v for v in graph.graph.inputs}
            for name in extra:
                if name not in present:
                    graph.graph.outputs.append(values[name])
        proto = ir.to_proto(graph)
        proto.ir_version = min(proto.ir_version, NEWEST_IR)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Threads that spin after a run take the core from the kernels and workers beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a class of its own for every status
            lines = str(error).strip().splitlines() or [type(error).__name__]
            message = (
                f"onnxruntime cannot run the model (opset {model.opset}; up to {NEWEST_OPSET} is supported): {lines[0]}"
            )
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


def random_feeds(model: Model, *, batch: int = 8, seed: int = 0) -> dict[str, Array]:
    """Input to compare models on where no data is given.

    Standard normal for float inputs, zeros and ones for integer ones. A first dimension of unknown size becomes
    `batch`, any other one 16.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for port in model.inputs:
        shape = tuple((batch if axis == 0 else 16) if d is None else d for axis, d in enumerate(port.shape))
        if np.issubdtype(port.dtype, np.floating):
            feeds[port.name] = rng.standard_normal(shape).astype(port.dtype)
        else:
            feeds[port.name] = rng.integers(0, 2, shape).astype(port.dtype)
    return feeds


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


def latency(model: Model, *, batch: int = 1, threads: int = 1, repetitions: int = 30) -> float:
    """Median time of a forward pass on random input, in milliseconds, after three that do not count."""
    session = Session(model, threads=threads)
    feeds: dict[str, Any] = random_feeds(model, batch=batch)
    times = []
    for _ in range(repetitions + 3):
        begin = time.perf_counter()
        session.run(feeds)
        times.append(time.perf_counter() - begin)
    return float(np.median(times[3:])) * 1e3
