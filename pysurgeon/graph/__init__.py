"""The graph of a model: loading, running, costs, and the widths along which it can be resized."""

from pysurgeon.graph.model import Array, Model, Port, constant, ensure_free, from_proto, load, refresh, save, sizes

__all__ = ["Array", "Model", "Port", "constant", "ensure_free", "from_proto", "load", "refresh", "save", "sizes"]
