"""The closed sets of words and the array types that the data package speaks in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from pysurgeon.settings import Normalize


class Frame(Protocol):
    """A data frame, of pandas or of another library."""

    columns: Any

    def to_numpy(self) -> Any:
        """As an array."""


Source: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | tuple[Any, Any] | Frame
"""Where data comes from: its name, a file, arrays named as in an ``.npz`` file, samples and labels, or a data frame."""

Part: TypeAlias = Literal["train", "validation", "test"]
"""The three parts of a data set. ``test`` is for one final report; whatever chooses looks at ``validation``."""

Numbers: TypeAlias = str | float | Sequence[float]
"""One number, or one for each channel; as text with commas between them."""

Names: TypeAlias = str | os.PathLike[str] | Sequence[str]
"""Names of classes in the order of a model's outputs: themselves, as text with commas between them, a file with one a line; or ``match``."""


class Reading(TypedDict, total=False):
    """How data is read, as `pysurgeon.data.load` and every function of the Python interface take it; see there.

    Attributes:
        data_dir: Folder with the files of published sets.
        limit: Number of training samples to keep.
        validation: Share of the training part that becomes the validation part.
        normalize: What turns raw values into what a model sees.
        mean: Instead, what is taken from values.
        std: And what they are divided by then.
        classes: Names of the classes in the order of the model's outputs; `match` for the order that its answers show.
        output_name: The output of the model that the labels are of; `None` for the first one that they fit.
        label: Of a table, the column that is to be predicted; `None` for the last one.
    """

    data_dir: str | os.PathLike[str] | None
    limit: int | None
    validation: float
    normalize: Normalize
    mean: Numbers | None
    std: Numbers | None
    classes: Names | None
    output_name: str | None
    label: str | None


Order: TypeAlias = Literal["data", "given", "match"]
"""Whose order the classes are in, see `Dataset`."""

Task: TypeAlias = Literal["classification", "multi-label", "regression", "unlabelled", "several"]
"""``classification``: one class a sample, or at each of its places; ``multi-label``: each of several labels is there or is not;
``regression``: numbers; ``unlabelled``: samples alone, for whoever has a teacher, or a loss that needs no more;
``several``: labels of several outputs, each of a kind of its own."""

LABELLED: tuple[Task, ...] = ("classification", "multi-label", "regression")

Samples: TypeAlias = npt.NDArray[Any]
Labels: TypeAlias = npt.NDArray[np.int64]
Targets: TypeAlias = npt.NDArray[Any]
"""What is to be learnt: int64 ``(n,)`` or ``(n, places...)`` for classification, where a place below 0 has no class and does not count; else
float32 ``(n, ...)``, zeros and ones for labels; of no numbers, ``(n, 0)``, where there are no labels; of several outputs, a structured array
``(n,)`` with a field for each of them."""

Inputs: TypeAlias = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]
"""What a model is fed, before it is arranged: one array, or arrays by the names of the model's inputs."""

Floats: TypeAlias = npt.NDArray[np.float32]

ImageSize: TypeAlias = tuple[int, int]
"""Height and width."""

WantedSize: TypeAlias = Callable[[int, AbstractSet[ImageSize]], ImageSize | None]
"""Tells the size that images are to have from the number of their channels and the sizes that they have; `None` if it is open."""


@dataclass(frozen=True)
class LabelKind:
    """What the labels of one output are.

    Attributes:
        task: Any but `several`.
        classes: Names of its classes, labels or numbers.
    """

    task: Task
    classes: tuple[str, ...]


PART_TITLES: dict[Part, str] = {"train": "training part", "validation": "validation part", "test": "test part"}
