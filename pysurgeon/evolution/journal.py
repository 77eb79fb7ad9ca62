"""A run's folder: an append-only lineage and the files that it speaks of.

Whatever took long is written down under a key before the run goes on: first the files, each put in place in one move, then a
line of the lineage. Resuming is running again: what has its line is read instead of done. So `kill -9` at any instant loses at
most the stretch of training under way, and there is no second code path that could come to another end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pysurgeon.errors import OutputExistsError, RunError
from pysurgeon.graph import Array

T = TypeVar("T")

LINEAGE = "lineage.jsonl"
START = "start.onnx"
VERSION = 1


class Journal:
    """The folder of one run.

    Args:
        folder: Where it is.
        events: What is known already.
        whole: Bytes of the lineage that hold them; what lies behind is the line that a killed run did not finish.
    """

    def __init__(self, folder: Path, events: list[dict[str, Any]], whole: int) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._events = events
        self._whole = whole
        self._closed = False
        self._keyed = {e["key"]: e for e in events if "key" in e}

    @staticmethod
    def create(folder: Path, settings: Mapping[str, Any], start: bytes, *, force: bool = False) -> Journal:
        """Begin a run.

        Args:
            folder: Must not exist, or be empty.
            settings: Plain data that the run can be repeated from.
            start: The start model's file.
            force: Whether an older run there may be replaced.

        Raises:
            OutputExistsError: The folder holds something.
            RunError: It cannot be made.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            is_run = folder.is_dir() and (folder / LINEAGE).exists()
            if not (force and is_run):
                advice = "go on with `pysurgeon resume`, or choose another --run" if is_run else "choose another --run"
                message = f"{folder} exists{' and holds a run' if is_run else ' and is not empty'}; {advice}"
                raise OutputExistsError(message)
            _clear(folder)
        run = {"event": "run", "key": "run", "version": VERSION, "settings": dict(settings)}
        line = _line(run)
        try:
            # The lineage first, and over the old one: a folder is that of a run from now on, even if this is cut short here.
            write_file(folder / LINEAGE, line)
            write_file(folder / START, start)
        except OSError as error:
            message = f"{folder} cannot be made the folder of a run ({error.strerror}); choose another --run"
            raise RunError(message) from error
        return Journal(folder, [run], len(line))

    @staticmethod
    def open(folder: Path) -> Journal:
        """Go on with a run, or look at one.

        Raises:
            RunError: There is none, or another version wrote it.
        """
        path = folder / LINEAGE
        if not path.is_file():
            message = f"{folder} is not the folder of a run: it has no {LINEAGE}"
            raise RunError(message)
        events: list[dict[str, Any]] = []
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # the last line was being written when the run was killed
            event = _event(line)
            if event is None:
                message = f"line {len(events) + 1} of {path} is damaged; the run cannot be resumed from it"
                raise RunError(message)
            events.append(event)
            whole += len(line)
        if not events or events[0]["event"] != "run" or events[0].get("version") != VERSION:
            message = f"{path} was not written by this version of pysurgeon, or is damaged in its first line"
            raise RunError(message)
        if not (folder / START).is_file():
            message = f"{folder} has no {START}: the run was ended before it began; begin it again with --force"
            raise RunError(message)
        return Journal(folder, events, whole)

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep all other processes from going on with this run meanwhile; nothing can be written down afterwards.

        The lock goes with the process, however that ends.

        Raises:
            RunError: Another process is at work, or was since the lineage was read.
        """
        with (self.folder / LINEAGE).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"another process is at work on the run in {self.folder}; wait for its end"
                raise RunError(message) from error
            content = file.read()
            if len(content) < self._whole or b"\n" in content[self._whole :]:
                message = f"another process went on with the run in {self.folder} meanwhile; resume it again"
                raise RunError(message)
            try:
                yield
            finally:
                with self._lock:
                    self._closed = True

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events so far, oldest first."""
        return list(self._events)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the run was begun with."""
        settings: dict[str, Any] = self._keyed["run"]["settings"]
        return settings

    @property
    def start(self) -> Path:
        """The file of the start model."""
        return self.folder / START

    def spent(self) -> list[dict[str, Any]]:
        """The events that took optimizer steps, or gradients that cost as much, for the run; the start trained alone is not for it."""
        return [e for e in self._events if "steps" in e and e.get("branch") != "alone"]

    def known(self, key: str) -> dict[str, Any] | None:
        """The event of this key, if it has happened."""
        return self._keyed.get(key)

    def append(self, event: dict[str, Any]) -> dict[str, Any]:
        """Write an event down for good. Events without a key are remarks; one with a key happens once.

        Raises:
            RunError: The run was left.
        """
        line = _line(event)
        with self._lock:
            if self._closed:
                message = f"the run in {self.folder} was left; resume it to go on"
                raise RunError(message)
            with (self.folder / LINEAGE).open("r+b") as file:
                file.truncate(self._whole)
                file.seek(self._whole)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self._whole += len(line)
            self._events.append(event)
            if "key" in event:
                self._keyed[event["key"]] = event
        return event

    def once(self, key: str, event: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The event of this key; computed and written down if it has not happened yet."""
        known = self.known(key)
        return known if known is not None else self.append({**compute(), "event": event, "key": key})

    def save_arrays(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Put arrays into a file of the folder, all at once."""
        import io

        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_file(self.folder / name, buffer.getvalue())

    def load_arrays(self, name: str) -> dict[str, Array]:
        """The arrays of a file of the folder.

        Raises:
            RunError: The file is missing or damaged.
        """
        try:
            # NumPy leaves a file open that it opened itself and could not read.
            with (self.folder / name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            message = f"{self.folder / name} is missing or damaged ({error}); the run cannot be resumed from it"
            raise RunError(message) from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _line(event: dict[str, Any]) -> bytes:
    return (json.dumps(event, sort_keys=True, allow_nan=False) + "\n").encode()


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _clear(folder: Path) -> None:
    """Remove what a run leaves behind, and nothing else; the lineage is replaced, so that it is never missing."""
    branches = folder / "branches"
    for path in (
        *(folder / name for name in (START, "result.onnx", "report.html", f".{START}.partial", ".result.onnx.partial")),
        *(path for pattern in ("*.onnx", "*.npz", ".*.partial") for path in branches.glob(pattern)),
    ):
        path.unlink(missing_ok=True)
