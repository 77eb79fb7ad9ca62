"""ai.onnx.ml: what scikit-learn's pipelines start with."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.building import Builder


def scaler(build: Builder) -> ir.Value:
    """`(x - offset) * scale`."""
    offset, scale = (np.array(build.node.attributes.get_floats(a, ()), np.float32) for a in ("offset", "scale"))
    return build.op("Mul", build.op("Sub", build.x(), build.constant(offset, "offset")), build.constant(scale, "scale"))


DEFINITIONS = {("ai.onnx.ml", "Scaler"): scaler}
