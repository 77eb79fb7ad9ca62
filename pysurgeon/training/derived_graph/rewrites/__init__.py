"""The same function in operators that the engine has a gradient for: one registry, one small file a family."""

from __future__ import annotations

from pysurgeon.graph.families import collected
from pysurgeon.training.derived_graph.rewrites import (
    activations,
    average_pool,
    batch_normalization,
    class_losses,
    conv,
    conv_transpose,
    einsum,
    hard_sigmoid,
    layer_normalization,
    layout,
    normalizations,
    recurrent,
    reductions,
)
from pysurgeon.training.derived_graph.rewrites._build import Builder, Rewrite

__all__ = ["FREEZING", "REWRITES", "Builder", "Rewrite"]


REWRITES = collected(
    "rewrite",
    activations.REWRITES,
    average_pool.REWRITES,
    batch_normalization.REWRITES,
    class_losses.REWRITES,
    conv.REWRITES,
    conv_transpose.REWRITES,
    einsum.REWRITES,
    hard_sigmoid.REWRITES,
    layer_normalization.REWRITES,
    layout.REWRITES,
    normalizations.REWRITES,
    recurrent.REWRITES,
    reductions.REWRITES,
)

# In the place of batch statistics, where statistics are to stay as they are.
FREEZING = collected("rewrite", batch_normalization.FREEZING)
