"""The record of a run: what is written down stays, and what was cut short is left out."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysurgeon import __version__
from pysurgeon.errors import OutputExistsError, RunError
from pysurgeon.evolution import Journal
from pysurgeon.evolution.journal import LINEAGE, START, VERSION, write_file

SETTINGS = {"data": "digits", "steps": 3}


def new(folder: Path, **options: Any) -> Journal:
    return Journal.create(folder, SETTINGS, b"start", **options)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LINEAGE).read_text().splitlines()]


def test_a_run_begins_with_its_settings_and_its_start(tmp_path: Path) -> None:
    journal = new(tmp_path / "a" / "run")
    assert journal.settings == SETTINGS
    assert (tmp_path / "a" / "run" / START).read_bytes() == b"start"
    (first,) = lines(journal.folder)
    assert first.pop("written_by")["pysurgeon"] == __version__
    assert first.pop("made_from") == {}
    assert first == {"event": "run", "key": "run", "version": VERSION, "settings": SETTINGS}
    assert {p.name for p in journal.folder.iterdir()} == {LINEAGE, START}


def test_an_event_is_appended_and_read_again(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    before = (journal.folder / LINEAGE).read_bytes()
    journal.append({"event": "trained", "key": "a@1", "accuracy": 0.5})
    journal.append({"event": "remark"})
    assert (journal.folder / LINEAGE).read_bytes().startswith(before)
    again = Journal.open(journal.folder)
    assert again.events == journal.events == lines(journal.folder)
    assert again.known("a@1") == {"event": "trained", "key": "a@1", "accuracy": 0.5}
    assert again.known("a@2") is None


def test_what_is_not_finite_is_never_written(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    with pytest.raises(ValueError, match="JSON"):
        journal.append({"event": "trained", "key": "k", "loss": float("nan")})
    assert journal.known("k") is None
    assert len(lines(journal.folder)) == 1


def test_once_computes_once(tmp_path: Path) -> None:
    journal, calls = new(tmp_path / "run"), []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return {"answer": len(calls)}

    first = journal.once("k", "asked", compute)
    assert first == journal.once("k", "asked", compute) == {"event": "asked", "key": "k", "answer": 1}
    assert Journal.open(journal.folder).once("k", "asked", compute) == first
    assert len(calls) == 1


def test_events_are_a_copy(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    journal.events.clear()
    assert len(journal.events) == 1


# --- damage -------------------------------------------------------------------------------------------------------------


@given(st.data())
def test_a_truncated_lineage_keeps_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("run") / "run"
    journal = new(folder)
    journal.append({"event": "trained", "key": "a", "text": "é\n\u2028 \x00"})
    journal.append({"event": "trained", "key": "b"})
    whole = (folder / LINEAGE).read_bytes()
    first = whole.index(b"\n") + 1
    kept = data.draw(st.integers(first, len(whole)))
    (folder / LINEAGE).write_bytes(whole[:kept])
    again = Journal.open(folder)
    assert again.events == journal.events[: whole[:kept].count(b"\n")]
    again.append({"event": "trained", "key": "c"})
    assert lines(folder) == again.events
    assert Journal.open(folder).events == again.events


def test_looking_at_a_run_changes_nothing(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    path = journal.folder / LINEAGE
    with path.open("ab") as file:
        file.write(b'{"event": "half')
    before = path.read_bytes()
    path.chmod(stat.S_IRUSR)
    assert len(Journal.open(journal.folder).events) == 1
    assert path.read_bytes() == before


def test_a_line_of_another_process_survives_a_look_at_the_run(tmp_path: Path) -> None:
    writer = new(tmp_path / "run")
    with (writer.folder / LINEAGE).open("ab") as file:
        file.write(b'{"event": "trained"')
    reader = Journal.open(writer.folder)
    with (writer.folder / LINEAGE).open("ab") as file:
        file.write(b', "key": "a"}\n')
    assert len(reader.events) == 1
    assert Journal.open(writer.folder).known("a") is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged in its first line"),
        (b'{"event": "run", "key": "run"', "damaged in its first line"),
        (b"\x00" * 64, "damaged in its first line"),
        (
            b'{"event": "run", "key": "run", "settings": {}, "version": 999}\n',
            "a version that does not say its name, lineage 999",
        ),
        (
            b'{"event": "run", "key": "run", "settings": {}, "version": 4, "written_by": {"pysurgeon": "9.1"}}\n',
            r"another version of pysurgeon \(9\.1, lineage 4; this is .*use that one for it",
        ),
        (b'{"event": "trained", "key": "run", "settings": {}, "version": 1}\n', "damaged in its first line"),
        (b'{"event": 5}\n', "line 1 of .* is damaged"),
        (b'{"event": "run", "key": [1]}\n', "line 1 of .* is damaged"),
        (b"3\n", "line 1 of .* is damaged"),
        (b"[1, 2]\n", "line 1 of .* is damaged"),
        (b"\xff\xfe\n", "line 1 of .* is damaged"),
        (b'{"version": 1}\n', "line 1 of .* is damaged"),
    ],
)
def test_a_lineage_that_is_none_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    journal = new(tmp_path / "run")
    (journal.folder / LINEAGE).write_bytes(content)
    with pytest.raises(RunError, match=words):
        Journal.open(journal.folder)
    assert (journal.folder / LINEAGE).read_bytes() == content


def test_damage_in_the_middle_is_not_taken_for_an_interruption(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    for key in "abc":
        journal.append({"event": "trained", "key": key})
    path = journal.folder / LINEAGE
    content = path.read_bytes().splitlines(keepends=True)
    content[2] = b"garbage\n"
    path.write_bytes(b"".join(content))
    with pytest.raises(RunError, match=r"line 3 of .* is damaged"):
        Journal.open(journal.folder)


@pytest.mark.parametrize("what", ["missing", "a file", "empty"])
def test_what_is_no_run_cannot_be_opened(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "run"
    if what == "a file":
        folder.write_text("text")
    elif what == "empty":
        folder.mkdir()
    with pytest.raises(RunError, match="not the folder of a run"):
        Journal.open(folder)


def test_a_run_that_was_killed_before_its_start_was_written_can_be_begun_again(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    (journal.folder / START).unlink()
    with pytest.raises(RunError, match="--force"):
        Journal.open(journal.folder)
    assert new(journal.folder, force=True).folder == journal.folder
    assert len(Journal.open(journal.folder).events) == 1


# --- files --------------------------------------------------------------------------------------------------------------


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "branches" / "file.onnx"
    write_file(path, b"old")

    def fails(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match=r"No space.*branches/file\.onnx'"):
        write_file(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    arrays = {
        "m:fc1.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "v:/a/b": np.float64([np.inf, np.nan]),
        "scalar": np.array(3.5),
    }
    journal.save_arrays("branches/x.npz", arrays)
    found = journal.load_arrays("branches/x.npz")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "flipped", "an array", "an object"])
def test_damaged_arrays_are_named(tmp_path: Path, damage: str) -> None:
    journal = new(tmp_path / "run")
    journal.save_arrays("branches/x.npz", {"a": np.arange(1000.0)})
    path = journal.folder / "branches/x.npz"
    content = path.read_bytes()
    path.unlink()
    broken = {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "text": b"no archive",
        "an array": saved(np.zeros(3)),
        "an object": saved(np.array([{}], dtype=object)),
        "flipped": content[:300] + bytes(b ^ 0xFF for b in content[300:400]) + content[400:],
    }
    if damage != "missing":
        path.write_bytes(broken[damage])
    with pytest.raises(RunError, match=r"x\.npz is missing or damaged"):
        journal.load_arrays("branches/x.npz")


def saved(array: np.ndarray) -> bytes:
    """An `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "file"])
def test_nothing_is_written_through_what_lies_where_a_file_is_prepared(tmp_path: Path, kind: str) -> None:
    precious, partial = tmp_path / "precious", tmp_path / "run" / ".report.html.partial"
    partial.parent.mkdir()
    if "link" in kind:
        partial.symlink_to(precious)
        if kind == "link":
            precious.write_text("mine")
    elif kind == "fifo":
        os.mkfifo(partial)
    else:
        partial.write_text("of a run that was killed, and longer than what is written now")
    write_file(tmp_path / "run" / "report.html", b"page")
    assert (tmp_path / "run" / "report.html").read_bytes() == b"page"
    assert not (tmp_path / "run" / "report.html").is_symlink()
    assert not os.path.lexists(partial)
    assert precious.exists() == (kind == "link")
    assert kind != "link" or precious.read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_an_error_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = new(tmp_path / "run")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for call in (
        lambda: journal.append({"event": "trained", "key": "a"}),
        lambda: journal.save_arrays("branches/a.npz", {}),
        lambda: journal.save_file("branches/a.onnx", b""),
    ):
        with pytest.raises(RunError, match=r"No space left on device; see to it, and resume the run"):
            call()
    assert journal.known("a") is None


# --- overwriting --------------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run_is_not_taken(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    before = (journal.folder / LINEAGE).read_bytes()
    with pytest.raises(OutputExistsError, match="pysurgeon resume"):
        new(journal.folder)
    assert (journal.folder / LINEAGE).read_bytes() == before


def test_force_removes_what_a_run_left_and_nothing_else(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    journal.append({"event": "trained", "key": "a@1"})
    own = [
        "result.onnx",
        "report.html",
        ".report.html.partial",
        "front/start.onnx",
        "branches/a@1.onnx",
        "branches/a@1.npz",
        "branches/.a@2.npz.partial",
    ]
    foreign = ["notes.txt", "model.onnx", "branches/notes.md", "figures/a.onnx"]
    for name in (*own, *foreign):
        write_file(journal.folder / name, name.encode())
    again = new(journal.folder, force=True)
    assert len(again.events) == len(lines(journal.folder)) == 1
    assert not [name for name in own if (journal.folder / name).exists()]
    assert {name: (journal.folder / name).read_bytes() for name in foreign} == {n: n.encode() for n in foreign}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("what", ["a file", "a folder with files", "a folder with a model"])
def test_what_is_foreign_is_refused_even_with_force(tmp_path: Path, force: bool, what: str) -> None:
    folder = tmp_path / "run"
    if what == "a file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / (START if "model" in what else "thesis.tex")).write_text("mine")
    with pytest.raises(OutputExistsError, match="choose another"):
        new(folder, force=force)
    mine = folder if what == "a file" else next(folder.iterdir())
    assert mine.read_text() == "mine"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert new(tmp_path / "run").events[0]["event"] == "run"


# --- one process at a time ----------------------------------------------------------------------------------------------


def _holds(folder: Path, ready: Any, leave: Any) -> None:
    with Journal.open(folder).exclusively():
        ready.set()
        leave.wait(60)


def test_two_processes_cannot_go_on_with_one_run(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=_holds, args=(journal.folder, ready, leave))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(RunError, match="another process is at work"), journal.exclusively():
            pass
        assert Journal.open(journal.folder).events == journal.events  # looking is allowed
    finally:
        other.kill()  # the lock goes with the process
        other.join()
    with Journal.open(journal.folder).exclusively():
        pass


def test_a_run_at_work_is_not_replaced(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    before = (journal.folder / LINEAGE).read_bytes()
    with journal.exclusively(), pytest.raises(RunError, match="another process is at work"):
        new(journal.folder, force=True)
    assert (journal.folder / LINEAGE).read_bytes() == before
    assert (journal.folder / START).exists()
    new(journal.folder, force=True)


def test_a_run_that_was_replaced_since_it_was_read_is_not_gone_on_with(tmp_path: Path) -> None:
    stale = new(tmp_path / "run")
    Journal.create(stale.folder, {**SETTINGS, "steps": 4}, b"start", force=True)
    with pytest.raises(RunError, match="resume it again"), stale.exclusively():
        pass


def test_a_run_that_went_on_since_it_was_read_has_to_be_read_again(tmp_path: Path) -> None:
    stale = new(tmp_path / "run")
    Journal.open(stale.folder).append({"event": "trained", "key": "a"})
    with pytest.raises(RunError, match="resume it again"), stale.exclusively():
        pass


def test_nothing_is_written_down_after_a_run_was_left(tmp_path: Path) -> None:
    journal = new(tmp_path / "run")
    with journal.exclusively():
        journal.append({"event": "trained", "key": "a"})
    with pytest.raises(RunError, match="was left"):
        journal.append({"event": "trained", "key": "b"})
    assert [e.get("key") for e in lines(journal.folder)] == ["run", "a"]
