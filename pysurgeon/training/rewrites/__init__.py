"""The same function in operators that the engine has a gradient for: one registry, one small file a family."""

from __future__ import annotations

from collections.abc import Mapping

from pysurgeon.training.rewrites import (
    activations,
    average_pool,
    batch_normalization,
    conv,
    conv_transpose,
    einsum,
    hard,
    layer_normalization,
    layout,
    normalizations,
    recurrent,
    reductions,
)
from pysurgeon.training.rewrites._build import Builder, Rewrite

__all__ = ["FREEZING", "REWRITES", "Builder", "Rewrite"]


def _collect(*families: Mapping[str, Rewrite]) -> dict[str, Rewrite]:
    found: dict[str, Rewrite] = {}
    for family in families:
        for operator, rewrite in family.items():
            if operator in found:
                message = f"{operator} has two rewrites"
                raise ValueError(message)
            found[operator] = rewrite
    return found


REWRITES = _collect(
    activations.REWRITES,
    average_pool.REWRITES,
    batch_normalization.REWRITES,
    conv.REWRITES,
    conv_transpose.REWRITES,
    einsum.REWRITES,
    hard.REWRITES,
    layer_normalization.REWRITES,
    layout.REWRITES,
    normalizations.REWRITES,
    recurrent.REWRITES,
    reductions.REWRITES,
)

# In the place of batch statistics, where statistics are to stay as they are.
FREEZING = _collect(batch_normalization.FREEZING)
