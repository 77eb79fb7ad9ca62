"""What every operator means for the widths, one family a file. Importing this package registers all of them."""

from pysurgeon.graph.operators import contraction, elementwise, layout, normalization, pooling, reduction

__all__ = ["contraction", "elementwise", "layout", "normalization", "pooling", "reduction"]
