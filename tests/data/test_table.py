"""Tables as CSV files and as data frames."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pysurgeon.data import load
from pysurgeon.data.formats.table import from_frame, read_csv
from pysurgeon.errors import DataError, SettingError, UsageError

WORDS = ("setosa", "versicolor", "virginica, all of it")


class Frame:
    """What a data frame is to others: columns by name."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __len__(self) -> int:
        return len(self._columns[self.columns[0]])

    def to_numpy(self) -> Any:
        return np.array([*self._columns.values()], dtype=object).T


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, list[Any], dict[str, Any]]:
    rows, columns = draw(st.integers(4, 12)), draw(st.integers(1, 4))
    number = st.floats(-1e6, 1e6, width=32) | st.integers(-99, 99).map(float)
    x = np.array(draw(st.lists(st.lists(number, min_size=columns, max_size=columns), min_size=rows, max_size=rows)))
    kinds = (st.sampled_from(WORDS), st.integers(0, 2), st.floats(0.25, 9.75, width=16).map(lambda f: round(f) + 0.5))
    y = draw(st.sampled_from(kinds).flatmap(lambda kind: st.lists(kind, min_size=rows, max_size=rows)))
    how = {
        "header": draw(st.booleans()),
        "delimiter": draw(st.sampled_from(",;\t")),
        "at": draw(st.integers(0, columns)),
        "end": draw(st.sampled_from(("\n", "\r\n"))),
    }
    return x, y, how


@given(table=tables())
def test_a_table_is_read_back(
    table: tuple[np.ndarray, list[Any], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    x, y, how = table
    path = tmp_path_factory.mktemp("t") / "t.csv"
    names = [f"c{k}" for k in range(x.shape[1])]
    names.insert(how["at"], "kind")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=how["delimiter"], lineterminator=how["end"])
        if how["header"]:
            writer.writerow(names)
        for features, label in zip(x.tolist(), y, strict=True):
            row = [*map(repr, features)]
            row.insert(how["at"], label)
            writer.writerow(row)
    label = "kind" if how["header"] else str(how["at"] + 1)
    raw = read_csv(path, label)
    assert raw.train.x.dtype == np.float32
    assert_array_equal(raw.train.x, x.astype(np.float32))
    if isinstance(y[0], str):
        assert [raw.classes[k] for k in raw.train.y] == y
        assert raw.classes == tuple(sorted(set(y)))
    else:
        assert raw.train.y.tolist() == y
    assert raw.task == ("regression" if isinstance(y[0], float) else "classification")
    assert any("label: column" in note for note in raw.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,kind\n1,2,x\n3,,y\n", ("line 3", "no value in column 'b'")),
        ("a,b,kind\n1,2,x\n3,NaN,y\n", ("line 3", "no value in column 'b'")),
        ("a,b,kind\n1,2,x\n3,4,\n", ("line 3", "no value in column 'kind'")),
        ("a,b,kind\n1,2,x\n3,red,y\n", ("line 3", "'red' in column 'b'", "zeros and ones")),
        ("a,b,kind\n1,2,x\n3,4\n", ("line 3", "2 values", "has 3")),
        ("1,2,x\n3,?,y\n", ("line 2", "no value in column '2'")),
        ("a\n1\n", ("1 columns",)),
        ("", ("0 rows",)),
    ],
)
def test_a_table_with_holes_is_refused_with_row_and_column(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as error:
        read_csv(put(tmp_path / "t.csv", text))
    for word in words:
        assert word in str(error.value)


def test_a_column_that_counts_the_rows_is_left_out(tmp_path: Path) -> None:
    rows = "".join(f"{k},{k * k},{k % 2}\n" for k in range(20))
    raw = read_csv(put(tmp_path / "t.csv", f",a,kind\n{rows}"))
    assert raw.train.x.tolist() == [[k * k] for k in range(20)]
    assert "the first column has no name, counts the rows and is left out" in raw.notes


def test_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = put(tmp_path / "t.csv", "a,b,kind\n1,2,0\n3,4,1\n")
    with pytest.raises(SettingError, match="has no column of this name; it has a, b, kind"):
        read_csv(path, "species")
    with pytest.raises(SettingError, match="is for tables"):
        load("digits", label="kind")
    with pytest.raises(DataError, match="is missing"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_csv(tmp_path / "bytes.csv")


def test_a_data_frame_is_a_table() -> None:
    rng = np.random.default_rng(0)
    columns = {"a": rng.standard_normal(40), "kind": np.array([*WORDS, WORDS[0]] * 10, object), "b": np.arange(40)}
    raw = from_frame(Frame(columns), "kind", "frame")
    assert_array_equal(raw.train.x, np.stack([columns["a"], columns["b"]], 1).astype(np.float32))
    assert raw.classes == WORDS
    assert load(Frame(columns), label="kind").classes == WORDS
    columns["a"][3] = np.nan
    with pytest.raises(DataError, match="row 3 of frame has no value in column 'a'"):
        from_frame(Frame(columns), "kind", "frame")


def test_samples_and_labels_may_come_as_a_pair() -> None:
    x, y = np.random.default_rng(0).standard_normal((40, 3)), np.arange(40) % 4
    pair, named = load((x, y)), load({"X_train": x, "y_train": y})
    assert pair.name == "data given in Python"
    for found in (pair, named, load({"X": x, "y": y})):
        assert_array_equal(found.train.x, load({"x_train": x, "y_train": y}).train.x)
    with pytest.raises(UsageError, match=r"arrays as \(x, y\)"):
        load([x, y])  # type: ignore[arg-type]
