"""Data sets by name, folder, array file or function; their splits, normalization, augmentation and batches."""

from __future__ import annotations

from pysurgeon.data.batches import Batches
from pysurgeon.data.dataset import Dataset
from pysurgeon.data.load import load, name_of
from pysurgeon.data.names import MATCH, read_names
from pysurgeon.data.normalization import PUBLISHED, Normalization
from pysurgeon.data.normalization import fit as fit_normalization
from pysurgeon.data.split import Split
from pysurgeon.data.types import ImageSize, Inputs, LabelKind, Names, Numbers, Part, Reading, Source, Targets, Task
from pysurgeon.settings import Augment, Normalize

__all__ = [
    "MATCH",
    "PUBLISHED",
    "Augment",
    "Batches",
    "Dataset",
    "ImageSize",
    "Inputs",
    "LabelKind",
    "Names",
    "Normalization",
    "Normalize",
    "Numbers",
    "Part",
    "Reading",
    "Source",
    "Split",
    "Targets",
    "Task",
    "fit_normalization",
    "load",
    "name_of",
    "read_names",
]
