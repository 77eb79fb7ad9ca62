"""A run's folder: an append-only lineage and the files that it speaks of.

Whatever took long is written down under a key before the run goes on: first the files, each put in place in one move, then a
line of the lineage. Resuming is running again: what has its line is read instead of done. So `kill -9` at any instant loses at
most the stretch of training under way, and there is no second code path that could come to another end.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from pysurgeon.errors import OutputExistsError, RunError
from pysurgeon.evolution.provenance import writer
from pysurgeon.graph import Array
from pysurgeon.runtime import own_version

T = TypeVar("T")

LINEAGE = "lineage.jsonl"
START = "start.onnx"
# Raised when runs of an older version could not go on to the end that they would have had there: not for a new setting whose default is what
# was done before, nor for an event that holds more.
VERSION = 3


class Journal:
    """The folder of one run.

    Args:
        folder: Where it is.
        events: What is known already.
        whole: The bytes of the lineage that hold them; what lies behind is the line that a killed run did not finish.
    """

    def __init__(self, folder: Path, events: list[dict[str, Any]], whole: bytes) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._events = events
        self._whole = len(whole)
        self._digest = hashlib.sha256(whole)
        self._closed = False
        self._keyed = {e["key"]: e for e in events if "key" in e}

    @staticmethod
    def create(
        folder: Path,
        settings: Mapping[str, Any],
        start: bytes,
        *,
        force: bool = False,
        made_from: Mapping[str, str] | None = None,
    ) -> Journal:
        """Begin a run.

        Args:
            folder: Must not exist, or be empty.
            settings: Plain data that the run can be repeated from.
            start: The start model's file.
            force: Whether an older run there may be replaced.
            made_from: Digests of the model and the data.

        Raises:
            OutputExistsError: The folder holds something.
            RunError: It cannot be made, or another process is at work on the run there.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            is_run = folder.is_dir() and (folder / LINEAGE).exists()
            if not (force and is_run):
                advice = "go on with `pysurgeon resume`, or choose another --run" if is_run else "choose another --run"
                message = f"{folder} exists{' and holds a run' if is_run else ' and is not empty'}; {advice}"
                raise OutputExistsError(message)
        run = {
            "event": "run",
            "key": "run",
            "version": VERSION,
            "settings": dict(settings),
            "written_by": writer(),
            "made_from": dict(made_from or {}),
        }
        line = _line(run)
        with _locked(folder) if (folder / LINEAGE).exists() else contextlib.nullcontext():
            try:
                if folder.is_dir():
                    _clear(folder)
                # The lineage first, and over the old one: a folder is that of a run from now on, even if this is cut short here.
                write_file(folder / LINEAGE, line)
                write_file(folder / START, start)
            except OSError as error:
                message = f"{folder} cannot be made the folder of a run ({error.strerror}); choose another --run"
                raise RunError(message) from error
        return Journal(folder, [run], line)

    @staticmethod
    def open(folder: Path) -> Journal:
        """Go on with a run, or look at one.

        Raises:
            RunError: There is none, or another version wrote it, or it cannot be read.
        """
        path = folder / LINEAGE
        if not path.is_file():
            message = f"{folder} is not the folder of a run: it has no {LINEAGE}"
            raise RunError(message)
        events: list[dict[str, Any]] = []
        whole = b""
        try:
            content = path.read_bytes()
        except OSError as error:
            message = f"{path} cannot be read ({error.strerror})"
            raise RunError(message) from error
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # the last line was being written when the run was killed
            event = _event(line)
            if event is None:
                message = f"line {len(events) + 1} of {path} is damaged; the run cannot be resumed from it"
                raise RunError(message)
            events.append(event)
            whole += line
        if not events or events[0]["event"] != "run":
            message = f"{path} is damaged in its first line; the run cannot be resumed from it"
            raise RunError(message)
        if events[0].get("version") != VERSION:
            message = (
                f"{path} was written by another version of pysurgeon ({_wrote(events[0])}; this is {own_version()}, lineage {VERSION}): "
                "use that one for it, or begin a new run"
            )
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
        with _locked(self.folder) as file:
            content = file.read()
            read = hashlib.sha256(content[: self._whole]).digest()
            if read != self._digest.digest() or b"\n" in content[self._whole :]:
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

    @property
    def made_from(self) -> dict[str, str]:
        """Digests of the model and the data that the run was begun with; of older runs none."""
        found: dict[str, str] = self._keyed["run"].get("made_from", {})
        return found

    def clean(self) -> int:
        """Delete the files that a run which has ended goes on from. Returns how many bytes they had.

        Raises:
            RunError: It has not ended.
        """
        if self.known("tested") is None or not (self.folder / "result.onnx").is_file():
            message = f"the run in {self.folder} has not ended and goes on from its files; resume it first"
            raise RunError(message)
        freed = 0
        with self.exclusively():
            for path in sorted((self.folder / "branches").glob("*")):
                if path.suffix in (".npz", ".onnx") or path.name.endswith(".partial"):
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def spent(self) -> list[dict[str, Any]]:
        """The events that took compute for the run; the start trained alone is not for it."""
        return [e for e in self._events if "compute" in e and e.get("branch") != "alone"]

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
            try:
                with (self.folder / LINEAGE).open("r+b") as file:
                    file.truncate(self._whole)
                    file.seek(self._whole)
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise _unwritten(self.folder / LINEAGE, error) from error
            self._whole += len(line)
            self._digest.update(line)
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
        self.save_file(name, buffer.getvalue())

    def save_file(self, name: str, content: bytes) -> None:
        """Put a file into the folder, all at once.

        Raises:
            RunError: It cannot be written.
        """
        try:
            write_file(self.folder / name, content)
        except OSError as error:
            raise _unwritten(self.folder / name, error) from error

    def load_arrays(self, name: str) -> dict[str, Array]:
        """The arrays of a file of the folder.

        Raises:
            RunError: The file is missing or damaged.
        """
        try:
            return read_arrays(self.folder / name)
        except (OSError, ValueError) as error:
            message = f"{self.folder / name} is missing or damaged ({error}); the run cannot be resumed from it"
            raise RunError(message) from error


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an `.npz` file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or no such file.
    """
    # NumPy leaves a file open that it opened itself and could not read.
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            message = "it is no archive of arrays"
            raise ValueError(message)
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(str(error)) from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Raises:
        OSError: It cannot be written; nothing but what was there before is left.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One of a run that was killed goes, and so does a link of that name: nothing is written through it.
        partial.unlink(missing_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        # Not the name of the partial file, which nobody asked for.
        raise OSError(error.errno, error.strerror, str(path)) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[BinaryIO]:
    """The lineage, open to read and locked against all other processes."""
    try:
        with (folder / LINEAGE).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"another process is at work on the run in {folder}; wait for its end"
                raise RunError(message) from error
            yield file
    except FileNotFoundError as error:
        message = f"{folder} is not the folder of a run any more: it has no {LINEAGE}"
        raise RunError(message) from error


def _unwritten(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: {error.strerror or error}; see to it, and resume the run")


def _wrote(first: Mapping[str, Any]) -> str:
    """What wrote a lineage, by its first line."""
    by = first.get("written_by")
    name = by.get("pysurgeon") if isinstance(by, dict) else None
    return f"{'a version that does not say its name' if name is None else name}, lineage {first.get('version')}"


def _line(event: dict[str, Any]) -> bytes:
    return (json.dumps(event, sort_keys=True, allow_nan=False) + "\n").encode()


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    sound = isinstance(event, dict) and isinstance(event.get("event"), str) and isinstance(event.get("key", ""), str)
    return event if sound else None


def _clear(folder: Path) -> None:
    """Remove what a run leaves behind, and nothing else; the lineage is replaced, so that it is never missing."""
    names = (START, "result.onnx", "report.html")
    for path in (
        *(folder / name for name in (*names, *(f".{name}.partial" for name in names))),
        *(
            path
            for part in ("branches", "front")
            for end in ("*.onnx", "*.npz", ".*.partial")
            for path in (folder / part).glob(end)
        ),
    ):
        path.unlink(missing_ok=True)
