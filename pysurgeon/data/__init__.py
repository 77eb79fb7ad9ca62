"""Data sets by name, folder, array file or function; their splits, normalization, augmentation and batches."""

from __future__ import annotations

from pysurgeon.data._batches import Batches
from pysurgeon.data._dataset import Dataset
from pysurgeon.data._load import load, name_of
from pysurgeon.data._names import MATCH, read_names
from pysurgeon.data._normalization import PUBLISHED, Normalization
from pysurgeon.data._normalization import fit as fit_normalization
from pysurgeon.data._split import Split
from pysurgeon.data._types import (
    Augment,
    ImageSize,
    Inputs,
    LabelKind,
    Names,
    Normalize,
    Numbers,
    Part,
    Reading,
    Source,
    Targets,
    Task,
)

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
