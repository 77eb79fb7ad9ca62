"""Data sets by name, folder, array file or function; their splits, normalization, augmentation and batches."""

from __future__ import annotations

from pysurgeon.data._batches import Batches
from pysurgeon.data._dataset import Dataset
from pysurgeon.data._load import load, name_of
from pysurgeon.data._normalization import Normalization
from pysurgeon.data._normalization import fit as fit_normalization
from pysurgeon.data._split import Split
from pysurgeon.data._types import Augment, ImageSize, Inputs, LabelKind, Normalize, Part, Source, Targets, Task

__all__ = [
    "Augment",
    "Batches",
    "Dataset",
    "ImageSize",
    "Inputs",
    "LabelKind",
    "Normalization",
    "Normalize",
    "Part",
    "Source",
    "Split",
    "Targets",
    "Task",
    "fit_normalization",
    "load",
    "name_of",
]
