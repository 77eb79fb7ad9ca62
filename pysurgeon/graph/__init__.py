"""The graph of a model: loading, running, costs, and the widths along which it can be resized."""

from pysurgeon.graph._older import lowered
from pysurgeon.graph._shape_inference import infer_node
from pysurgeon.graph._tensors import Array, constant, count_uses, initializer, sizes
from pysurgeon.graph.building import Builder, CannotWriteError
from pysurgeon.graph.files import ensure_free, load, save, written
from pysurgeon.graph.model import Model, Port, at_sizes, from_proto, refresh

__all__ = [
    "Array",
    "Builder",
    "CannotWriteError",
    "Model",
    "Port",
    "at_sizes",
    "constant",
    "count_uses",
    "ensure_free",
    "from_proto",
    "infer_node",
    "initializer",
    "load",
    "lowered",
    "refresh",
    "save",
    "sizes",
    "written",
]
