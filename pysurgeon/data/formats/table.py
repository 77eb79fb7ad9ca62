"""Tables: CSV files and data frames, of which one column is the label."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pysurgeon.data.formats.arrays import from_arrays
from pysurgeon.data.raw import RawData
from pysurgeon.data.types import Samples
from pysurgeon.errors import DataError, SettingError

_DELIMITERS = (",", ";", "\t")
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))
_SETTING = "label"


def read_csv(path: Path, label: str | None = None) -> RawData:
    """Read a CSV file: a row a sample, numbers but for the label, with a line of names before it or without.

    Args:
        path: The file, in UTF-8; columns are parted by commas, semicolons or tabs.
        label: Name of the column that is to be predicted, or its number, from 1; the last one where `None`.

    Returns:
        The samples ``(n, columns - 1)`` and their labels: classes where they are words or integers, else numbers to predict.

    Raises:
        DataError: The file cannot be read, rows differ in length, or a value is missing or no number.
        SettingError: There is no such column.
    """
    numbered_rows = _rows(path)
    if len(numbered_rows) < 2 or len(numbered_rows[0][1]) < 2:
        message = f"{path} has {len(numbered_rows)} rows and {len(numbered_rows[0][1]) if numbered_rows else 0} columns; a row a sample is expected, and a column beside the label"
        raise DataError(message)
    first = [cell.strip() for cell in numbered_rows[0][1]]
    # Words beside the label are names of columns.
    beside = int(label) - 1 if label is not None and label.isdecimal() else -1
    others = [cell for k, cell in enumerate(first) if k not in (beside, beside + len(first))]
    named = (label in first and beside == -1) or not all(map(_is_number, others))
    names = first if named else [str(k + 1) for k in range(len(first))]
    rows = numbered_rows[1:] if named else numbered_rows
    for number, row in rows:
        if len(row) != len(first):
            message = f"line {number} of {path} has {len(row)} values, and line {numbered_rows[0][0]} has {len(first)}; all rows must have as many"
            raise DataError(message)
    columns = [np.array([row[k].strip() for _, row in rows]) for k in range(len(first))]
    return _from_columns(names, columns, label, str(path), [f"line {number}" for number, _ in rows])


def is_frame(source: object) -> bool:
    """Whether something is a data frame, of pandas or of another library that has columns by name."""
    return hasattr(source, "columns") and hasattr(source, "to_numpy")


def from_frame(frame: Any, label: str | None, origin: str) -> RawData:
    """Take samples and labels from a data frame.

    Args:
        frame: Has columns by name.
        label: Name of the column that is to be predicted; the last one where `None`.
        origin: What messages call it.

    Raises:
        DataError: A value is missing or no number.
        SettingError: There is no such column.
    """
    names = [str(name) for name in frame.columns]
    columns = [np.asarray(frame[name]) for name in frame.columns]
    return _from_columns(names, columns, label, origin, [f"row {k}" for k in range(len(frame))])


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows with the lines that they end on, empty ones left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            start = file.readline()
            delimiter = max(_DELIMITERS, key=start.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except FileNotFoundError as error:
        message = f"{path} is missing; give the path of a .csv file with a row for each sample"
        raise DataError(message) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path} cannot be read as a table in UTF-8 ({error}); save it as CSV again"
        raise DataError(message) from error


def _from_columns(
    names: Sequence[str], columns: Sequence[Samples], label: str | None, origin: str, rows: Sequence[str]
) -> RawData:
    target = _position(names, label, origin)
    notes = [f"label: column {names[target]!r}"]
    features = [k for k in range(len(names)) if k != target]
    if names[0] in ("", "Unnamed: 0") and target and _counts(columns[0]) and features[1:]:
        features = features[1:]
        notes.append("the first column has no name, counts the rows and is left out")
    x = np.stack([_numbers(columns[k], names[k], origin, rows) for k in features], axis=1)
    y = _targets(columns[target], names[target], origin, rows)
    raw = from_arrays({"x_train": x, "y_train": y}, origin)
    return RawData(raw.train, raw.test, raw.validation, raw.classes, (*notes, *raw.notes), raw.task, raw.several)


def _position(names: Sequence[str], label: str | None, origin: str) -> int:
    if label is None:
        return len(names) - 1
    if label in names:
        return names.index(label)
    if label.isdigit() and 1 <= int(label) <= len(names):
        return int(label) - 1
    raise SettingError(_SETTING, f"is {label!r}, and {origin} has no column of this name; it has {', '.join(names)}")


def _counts(column: Samples) -> bool:
    return [str(cell) for cell in column] == [str(k) for k in range(len(column))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in _MISSING
    return True


def _numbers(column: Samples, name: str, origin: str, rows: Sequence[str]) -> Samples:
    """A column as float32."""
    if column.dtype.kind in "buif":
        _ensure_there(
            np.isfinite(column) if column.dtype.kind == "f" else np.ones(len(column), np.bool_), name, origin, rows
        )
        return column.astype(np.float32)
    found: Samples = np.empty(len(column), np.float32)
    for k, cell in enumerate(column):
        text = str(cell).strip()
        if text.lower() in _MISSING:
            raise DataError(_missing(name, origin, rows[k]))
        try:
            found[k] = float(text)
        except ValueError as error:
            message = (
                f"{rows[k]} of {origin} holds {text!r:.40} in column {name!r}; all columns but the label must hold numbers: if it is the label, "
                f"say --label {name}, and otherwise make a column of zeros and ones of each word"
            )
            raise DataError(message) from error
    return found


def _targets(column: Samples, name: str, origin: str, rows: Sequence[str]) -> Samples:
    """Labels as numbers where all of them are, else as words."""
    if column.dtype.kind in "buif":
        _ensure_there(
            np.isfinite(column) if column.dtype.kind == "f" else np.ones(len(column), np.bool_), name, origin, rows
        )
        return column
    texts = np.array([str(cell).strip() for cell in column])
    _ensure_there(np.array([text.lower() not in _MISSING for text in texts], np.bool_), name, origin, rows)
    with contextlib.suppress(ValueError, OverflowError):
        return texts.astype(np.int64)
    with contextlib.suppress(ValueError):
        return texts.astype(np.float64)
    return texts


def _ensure_there(there: Samples, name: str, origin: str, rows: Sequence[str]) -> None:
    if not there.all():
        raise DataError(_missing(name, origin, rows[int(np.argmin(there))]))


def _missing(name: str, origin: str, row: str) -> str:
    return f"{row} of {origin} has no value in column {name!r}; fill it in, or remove the row or the column"
