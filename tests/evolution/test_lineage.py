"""Folders of runs that somebody edited: what no run writes is refused with its line, and what is left reads to the end."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starts import digits, mlp, model

from pysurgeon.errors import RunError, SurgeonError
from pysurgeon.evolution import (
    EvolveSettings,
    SerialExecutor,
    Setup,
    Silent,
    Surgeon,
    begin,
    go_on,
    open_run,
    read,
)
from pysurgeon.evolution.journal import LINEAGE
from pysurgeon.evolution.lineage import ensure_sound
from pysurgeon.report import from_journal, render
from pysurgeon.training import LocalTrainer

SETTINGS = EvolveSettings(
    "digits", epochs=None, steps=24, generations=2, branches=1, batch_size=32, objective="pareto", time=1e6
)
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lineage") / "run"
    setup = Setup(SETTINGS, digits(), LocalTrainer(), SerialExecutor(), Silent())
    Surgeon(setup, begin(model(mlp((6,))), SETTINGS, folder)).run()
    return folder


@pytest.fixture(scope="module")
def lines(run: Path) -> Lines:
    found = [json.loads(line) for line in (run / LINEAGE).read_text().splitlines()]
    assert {e["event"] for e in found} == {"run", "time", "trained", "candidates", "branched", "selected", "tested"}
    return found


def written(run: Path, lines: Lines) -> Path:
    (run / LINEAGE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "copied")
    return tmp_path / "copied"


def test_every_line_of_a_run_is_one_that_a_run_writes(run: Path, lines: Lines) -> None:
    for count in range(1, len(lines) + 1):
        ensure_sound(lines[:count], "lineage")
    assert read(open_run(run)) is not None


def test_a_branch_that_is_its_own_parent_is_refused(copied: Path, lines: Lines) -> None:
    for event in ("trained", "branched"):
        changed = copy.deepcopy(lines)
        for line in changed:
            if line["event"] == event and line["branch"].startswith("g"):
                line["parent"] = line["branch"]
        with pytest.raises(RunError, match=r"line \d+ of .* is not what this version of pysurgeon writes"):
            open_run(written(copied, changed))


@pytest.mark.parametrize("name", ["../../out", "/out", "g1-1/../../out", "", "g1-1\n", "result"])
def test_names_that_lead_out_of_the_folder_are_refused(copied: Path, lines: Lines, name: str) -> None:
    changed = json.loads(json.dumps(lines).replace('"g1-1"', json.dumps(name)))
    with pytest.raises(RunError, match=r"line \d+"):
        open_run(written(copied, changed))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield from places(inside, (*path, key))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "start", "alone", "g1-1", "g9-9", "trained", "widen:fc1=9", "narrow:fc1=", "DONE", "../x"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["event", "key", "branch"]), st.integers(), max_size=2),
)


@given(data=st.data())
def test_an_edited_lineage_is_refused_or_read_to_the_end(run: Path, lines: Lines, data: st.DataObject) -> None:
    changed = copy.deepcopy(lines)
    for _ in range(data.draw(st.integers(1, 2))):
        what = data.draw(st.sampled_from(["value", "value", "value", "key", "line", "twice", "swap"]))
        k = data.draw(st.integers(0, len(changed) - 1))
        if what == "line" and len(changed) > 1:
            del changed[k]
        elif what == "twice":
            changed.insert(data.draw(st.integers(0, len(changed))), copy.deepcopy(changed[k]))
        elif what == "swap":
            other = data.draw(st.integers(0, len(changed) - 1))
            changed[k], changed[other] = changed[other], changed[k]
        else:
            *way, last = data.draw(st.sampled_from([p for p in places(changed[k]) if p] or [("event",)]))
            inside: Any = changed[k]
            for step in way:
                inside = inside[step]
            if what == "key" and last in (inside if isinstance(inside, dict) else ()):
                del inside[last]
            elif isinstance(inside, dict) or last < len(inside):
                inside[last] = data.draw(VALUES)
    folder = run.parent / "edited"
    folder.mkdir(exist_ok=True)
    shutil.copy(run / "start.onnx", folder)
    try:
        journal = open_run(written(folder, changed))
        render(from_journal(journal))
        read(journal)
    except SurgeonError as error:
        assert "\n" not in str(error)  # noqa: PT017  (that nothing else is raised is the point)


def test_a_finished_run_that_was_moved_is_resumed_and_reported_on(run: Path, copied: Path) -> None:
    moved = go_on(open_run(copied), digits())
    here = read(open_run(run))
    assert here is not None
    assert (moved.result, moved.genome) == (here.result, here.genome)
    assert (copied / "result.onnx").read_bytes() == (run / "result.onnx").read_bytes()


@pytest.mark.parametrize("content", ["array", "text", "nothing"])
def test_a_branch_whose_files_are_something_else_is_named(copied: Path, content: str) -> None:
    lineage = copied / "lineage.jsonl"
    lineage.write_bytes(
        b"".join(lineage.read_bytes().splitlines(keepends=True)[:-1])
    )  # one that has ended needs them no more
    path = min((copied / "branches").glob("start@*.npz"), key=lambda p: int(p.stem.partition("@")[2]))
    path.unlink()
    if content == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "text":
        path.write_text("text")
    with pytest.raises(RunError, match=rf"{path.name} is missing or damaged"):
        go_on(open_run(copied), digits())
