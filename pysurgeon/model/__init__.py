"""A network as a value: reading and writing files, the normal form, running it, what it costs."""

from pysurgeon.model.files import ensure_free, load, save, written
from pysurgeon.model.model import Model, Port, at_sizes, refresh
from pysurgeon.model.opset_downgrade import lowered
from pysurgeon.model.passes.shape_inference import infer_node
from pysurgeon.model.reading import from_proto

__all__ = [
    "Model",
    "Port",
    "at_sizes",
    "ensure_free",
    "from_proto",
    "infer_node",
    "load",
    "lowered",
    "refresh",
    "save",
    "written",
]
