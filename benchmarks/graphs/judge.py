"""The engine that judges: onnxruntime on the bytes of a file, nothing fused, nothing folded."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

# The newest set that the oldest engine in use has; what is new in 22 are types that no graph here has.
NEWEST = 21


class Judge:
    """What a file computes.

    Args:
        content: Of the file.
    """

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(_readable(content), options, providers=["CPUExecutionProvider"])
        self.outputs = [o.name for o in self._session.get_outputs()]

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name; what is fed to no input is left out."""
        wanted = {i.name for i in self._session.get_inputs()}
        values = self._session.run(self.outputs, {n: a for n, a in feeds.items() if n in wanted})
        return dict(zip(self.outputs, values, strict=True))


def _readable(content: bytes) -> bytes:
    proto = onnx.load_model_from_string(content)
    for imports in (proto.opset_import, *(f.opset_import for f in proto.functions)):
        for entry in imports:
            if entry.domain == "" and entry.version > NEWEST:
                entry.version = NEWEST
    proto.ir_version = min(proto.ir_version, 10)
    return bytes(proto.SerializeToString())


def apart(expected: Arrays, got: Arrays) -> float:
    """The largest difference over the largest expected number, of the output that is worst; infinite where shapes differ."""
    worst = 0.0
    for name, a in expected.items():
        b = got.get(name)
        if b is None or a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        if a.size:
            largest = float(np.max(np.abs(a.astype(np.float64)))) or 1.0
            difference = float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64))))
            worst = max(worst, difference / largest) if np.isfinite(difference) else float("inf")
    return worst


def moved(feeds: Arrays, seed: int) -> Arrays:
    """Every float moved by half a unit in its last place, up or down."""
    rng = np.random.default_rng(seed)
    return {
        n: (a * (1 + np.copysign(2.0**-24, rng.standard_normal(a.shape)))).astype(a.dtype) if a.dtype.kind == "f" else a
        for n, a in feeds.items()
    }
