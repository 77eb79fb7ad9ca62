"""What must be resized together: the constraints of a model, and the widths that follow from them."""

from pysurgeon.widths.structure import Structure, Width

__all__ = ["Structure", "Width"]
