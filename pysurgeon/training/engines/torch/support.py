"""Which nodes torch differentiates as they stand; the others are rewritten as for onnxruntime-training, where there is a rewrite."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from pysurgeon.training.derived_graph.rewrites import FREEZING, REWRITES, Rewrite
from pysurgeon.training.engines.torch.registry import refusal


class TorchSupport:
    """See `pysurgeon.training.engines.engine.EngineSupport`."""

    def __init__(self, *, freeze_statistics: bool) -> None:
        self._freezing = FREEZING if freeze_statistics else {}

    def rewrite(self, node: ir.Node, wanted: Collection[ir.Value], opset: int) -> Rewrite | None:
        """Those that keep statistics as they are, and of operators that have no function."""
        if node.domain != "":
            return None
        if node.op_type in self._freezing:
            return self._freezing[node.op_type]
        found = REWRITES.get(node.op_type)
        if found is None:
            return None
        computed = node.op_type == "BatchNormalization" and found.needed(node, wanted)
        return found if computed or refusal(node, opset) else None

    def lacks_gradient(self, node: ir.Node, opset: int) -> str:
        """A function is differentiable."""
        return refusal(node, opset)

    def lacks(self, node: ir.Node, opset: int) -> str:
        """Also what needs no gradient has to be computed."""
        return refusal(node, opset)
