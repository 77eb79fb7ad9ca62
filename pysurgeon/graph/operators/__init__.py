"""What every operator means for the widths, one family a file. Importing this package registers all of them."""

from pysurgeon.graph.operators import (
    attention,
    contraction,
    elementwise,
    indexing,
    layout,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resampling,
    shapes,
)

__all__ = [
    "attention",
    "contraction",
    "elementwise",
    "indexing",
    "layout",
    "normalization",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resampling",
    "shapes",
]
