"""Values, nodes and sizes of ONNX graphs: what every layer above shares."""

from pysurgeon.graph.builder import Builder, CannotWriteError
from pysurgeon.graph.tensors import Array, constant, count_uses, initializer, sizes

__all__ = ["Array", "Builder", "CannotWriteError", "constant", "count_uses", "initializer", "sizes"]
