"""Data sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pysurgeon.data.checks import check_values
from pysurgeon.data.dataset import Dataset
from pysurgeon.data.formats.arrays import from_arrays, read_function, read_npz
from pysurgeon.data.formats.digits import read_digits
from pysurgeon.data.formats.folder import read_folder
from pysurgeon.data.formats.table import from_frame, is_frame, read_csv
from pysurgeon.data.locate import locate
from pysurgeon.data.names import MATCH, read_names
from pysurgeon.data.normalization import Normalization, fit_numbers
from pysurgeon.data.published import PUBLISHED
from pysurgeon.data.random import Stream, generator
from pysurgeon.data.raw import RawData
from pysurgeon.data.split import Split
from pysurgeon.data.stratify import cut
from pysurgeon.data.types import PART_TITLES, ImageSize, Names, Numbers, Part, Source, WantedSize
from pysurgeon.errors import DataError, SettingError, UsageError
from pysurgeon.settings import Normalize

_TEST_SHARE = 0.25
_TEST_SEED = 0


def load(
    source: Source,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    validation: float = 0.1,
    limit: int | None = None,
    normalize: Normalize = "auto",
    mean: Numbers | None = None,
    std: Numbers | None = None,
    classes: Names | None = None,
    output_name: str | None = None,
    label: str | None = None,
    size: ImageSize | WantedSize | None = None,
) -> Dataset:
    """Load a data set.

    The publishers' test split is kept whole. A set without one (``digits``, or data of your own) gives up a stratified
    quarter with a seed that never changes, so that no choice of ``seed`` moves samples between training and test.
    Where there is no validation part, one is cut from the training part, stratified by class.

    Args:
        source: ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``, ``svhn``, ``folder:DIR``,
            ``FILE.npz``, ``FILE.csv`` or ``module:function``; or the arrays themselves by their names, as a pair ``(x, y)``, or a
            data frame. See `read_folder`, `from_arrays` and `read_csv`.
        data_dir: Folder with the files of published sets; else ``$PYSURGEON_DATA``, else the user's cache folder.
        seed: Decides the validation part and what ``limit`` keeps; at least 0.
        validation: Share of the training part that becomes the validation part, between 0 and 1, where the data has no
            validation part of its own.
        limit: Number of training samples to keep, stratified, before the validation part is cut from them; of two
            limits the smaller keeps a part of what the larger keeps.
        normalize: What turns raw values into what a model sees.
        mean: Instead of that, what is taken from values: one number, or one for each channel. Of values from 0 to 1, as bytes are after
            the division by 255; where one is above 1, of the bytes themselves.
        std: What they are divided by then, likewise.
        classes: Names of the classes in the order of the model's outputs, themselves or a file with one a line; there may be more than the
            data has. `match` for the order that the answers of a trained model show.
        output_name: The output of the model that the labels are of; the first one that they fit if absent.
        label: For ``FILE.csv`` and data frames: the column that is to be predicted, by its name; the last one if absent.
        size: For ``folder:DIR``: height and width to resize every image to that is not of that size (bilinear, with
            antialiasing; the aspect ratio is not kept), or what tells them from the channels and sizes that there are.

    Returns:
        The data set.

    Raises:
        DataError: The set is unknown, its files are missing or damaged, or the data breaks a rule of `Dataset`.
        UsageError: An argument is out of its range.
    """
    name = name_of(source)
    if not 0 < validation < 1:
        message = f"validation is {validation}; it must be a share between 0 and 1, such as 0.1"
        raise UsageError(message)
    if limit is not None and limit < 2:
        message = f"limit is {limit}; at least 2 samples are needed, to learn from and to validate on"
        raise UsageError(message)
    if isinstance(size, tuple) and not name.startswith("folder:"):
        message = f"size is for folder:DIR; {name} comes as it is"
        raise UsageError(message)
    names = None if classes is None or classes == MATCH else read_names(classes)
    own = _own_numbers(normalize, mean, std)
    setting = "label"
    if label is not None and not (is_frame(source) or name.endswith(".csv")):
        raise SettingError(setting, f"is for tables (FILE.csv or a data frame); {name} says itself what its labels are")
    raw = _given(source, name, label) or _read(name, None if data_dir is None else Path(data_dir), size, label)
    # Before anything is cut, so that places in messages are places in the files.
    parts: dict[Part, Split | None] = {"train": raw.train, "validation": raw.validation, "test": raw.test}
    for part, split in parts.items():
        if split is not None:
            check_values(split, len(raw.classes), PART_TITLES[part], raw.task, raw.several)
    notes = list(raw.notes)
    train, test, held_out = raw.train, raw.test, raw.validation
    if test is None:
        test, train = _cut_share(train, _TEST_SHARE, generator(Stream.TEST, _TEST_SEED), f"the test part of {name}")
        notes.append("no test part of its own: a fixed stratified quarter")
    if limit is not None and limit < len(train):
        train, _ = cut(train, limit, generator(Stream.LIMIT, seed))
    if held_out is None:
        rng = generator(Stream.VALIDATION, seed)
        held_out, train = _cut_share(train, validation, rng, f"the validation part of {name}")
    if raw.task == "classification":
        notes += _absent_classes(train, raw.classes)
    data = Dataset.build(
        name,
        train=train,
        validation=held_out,
        test=test,
        classes=raw.classes,
        normalize=normalize if own is None else own(train),
        notes=tuple(notes),
        task=raw.task,
        several=raw.several,
    )
    data = replace(data, output=output_name or "")
    if names is not None:
        return data.with_classes(names, "classes in the order that was given")
    return data if classes is None else replace(data, order="match")


def _own_numbers(
    normalize: Normalize, mean: Numbers | None, std: Numbers | None
) -> Callable[[Split], Normalization] | None:
    """What makes a normalization of the numbers that somebody gives, if they do."""
    if mean is None and std is None:
        return None
    given = "mean" if mean is not None else "std"
    if normalize != "auto":
        raise SettingError(given, f"is given, and normalize is {normalize!r}; give one of them")

    def own(train: Split) -> Normalization:
        if train.named:
            raise SettingError(given, "is for one input, and the data has several, which are fed as they are")
        return fit_numbers(train.x, mean, std)

    return own


def name_of(source: object) -> str:
    """What data is called.

    Raises:
        UsageError: It is nothing that data could come from.
    """
    if isinstance(source, Mapping) or is_frame(source) or _is_pair(source):
        return "data given in Python"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    message = f"the data is of type {type(source).__name__}; give a name, a file, arrays as (x, y) or {{'x_train': ..., 'y_train': ...}}, or a data frame"
    raise UsageError(message)


def _is_pair(source: object) -> bool:
    return isinstance(source, tuple) and len(source) == 2 and not any(isinstance(part, str) for part in source)


def _given(source: Source, name: str, label: str | None) -> RawData | None:
    """Data that is there already; `None` where it is to be read."""
    if isinstance(source, tuple):
        return from_arrays({"x_train": source[0], "y_train": source[1]}, name)
    if is_frame(source):
        return from_frame(source, label, name)
    return from_arrays(source, name) if isinstance(source, Mapping) else None


def _read(name: str, data_dir: Path | None, size: ImageSize | WantedSize | None, label: str | None) -> RawData:
    if name == "digits":
        return read_digits()
    if name in PUBLISHED:
        published = PUBLISHED[name]
        return published.read(locate(published, data_dir))
    if name.startswith("folder:"):
        return read_folder(Path(name.removeprefix("folder:")).expanduser(), size)
    if name.endswith(".npz"):
        return read_npz(Path(name).expanduser())
    if name.endswith(".csv"):
        return read_csv(Path(name).expanduser(), label)
    if ":" in name:
        return read_function(name)
    known = ", ".join(("digits", *PUBLISHED))
    message = f"there is no data set {name!r}; there are {known}, folder:DIR, FILE.npz, FILE.csv and module:function"
    if Path(name).expanduser().is_dir():
        message += f". For the images in that folder, write folder:{name}"
    for end, what in ((".npz", "arrays"), (".csv", "table")):
        if Path(f"{name}{end}").expanduser().is_file():
            message += f". For the {what} in that file, write {name}{end}"
    raise DataError(message)


def _cut_share(split: Split, share: float, rng: np.random.Generator, purpose: str) -> tuple[Split, Split]:
    count = max(1, round(share * len(split)))
    if count >= len(split):
        message = f"{len(split)} training sample(s) cannot give {count} for {purpose}; more are needed"
        raise DataError(message)
    return cut(split, count, rng)


def _absent_classes(train: Split, classes: tuple[str, ...]) -> list[str]:
    absent = np.flatnonzero(np.bincount(train.y[train.y >= 0], minlength=len(classes)) == 0)
    if not len(absent):
        return []
    return [
        f"no training {'sample' if train.y.ndim == 1 else 'label'} of {len(absent)} class(es), such as {classes[absent[0]]!r}"
    ]
