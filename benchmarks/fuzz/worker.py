"""One process that works through cases, with limits, and its end that gives them."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

SECONDS = 20.0  # of the processor
LONGEST = 30 * SECONDS  # on the clock: other work beside it takes time from it, and one that waits for ever spends none
ADDRESS_SPACE = 4 << 30
LARGEST_GROWTH = 1 << 30  # bytes of one case


class Kind(Protocol):
    """What is changed and what is done with it."""

    def run(self, seed: int, number: int) -> str:
        """Work through a case; `ok` or the name of the error of `pysurgeon.errors` that it ended in."""


def _models() -> Kind:
    from benchmarks.fuzz.models import Models

    return Models()


def _data() -> Kind:
    from benchmarks.fuzz.data import DataFiles

    return DataFiles()


KINDS: dict[str, Callable[[], Kind]] = {"models": _models, "data": _data}


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        number: Of the case.
        end: `ok`, `refused`, `exception`, `signal`, `hang` or `memory`.
        detail: What and where.
    """

    number: int
    end: str
    detail: str


class Worker:
    """A process for cases of one kind, started anew when it has ended. A context manager.

    Args:
        kind: Of `KINDS`.
        seed: Decides all cases.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self._arguments = [kind, str(seed)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Worker:  # noqa: PYI034 (Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, number: int) -> Outcome:
        """Let a case be worked through."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        ready = self._answers(process)
        line = process.stdout.readline() if ready else ""
        if line:
            end, _, detail = line.rstrip("\n").partition(" ")
            return Outcome(number, end, detail)
        if not ready:
            self._end()
            return Outcome(number, "hang", f"more than {SECONDS:g} s")
        code = process.wait()
        self._end()
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return Outcome(number, "signal", name)

    @staticmethod
    def _answers(process: subprocess.Popen[str]) -> bool:
        """Wait for an answer, or for the end of the process."""
        began, spent = time.monotonic(), _spent(process.pid)
        while time.monotonic() - began < LONGEST and _spent(process.pid) - spent < SECONDS:
            if select.select([process.stdout], [], [], 1.0)[0]:
                return True
        return False

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "benchmarks.fuzz.worker", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._process.stdout is not None
            self._process.stdout.readline()  # it has imported everything
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()


def serve(kind: str, seed: int) -> None:
    """Answer numbers of cases with outcomes, a line each."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    work = KINDS[kind]()
    with contextlib.suppress(Exception):
        work.run(seed, 0)  # imports what is imported late
    print("ready", flush=True)
    for line in sys.stdin:
        before = _peak()
        end = _case(work, seed, int(line))
        grown = _peak() - before
        if grown > LARGEST_GROWTH and end.partition(" ")[0] in ("ok", "refused"):
            end = f"memory {grown >> 20} MB"
        print(end, flush=True)


def _case(work: Kind, seed: int, number: int) -> str:
    began = time.monotonic()
    try:
        end = work.run(seed, number)
    except MemoryError:
        return f"memory MemoryError at {_place()}"
    except Exception as error:  # noqa: BLE001 (what is looked for)
        said = " ".join(str(error).split())[:120]
        return f"exception {type(error).__name__} at {_place()} | {said}"
    slow = time.monotonic() - began
    return f"ok {slow:.1f} s" if end == "ok" else f"refused {end}"


def _place() -> str:
    """Where an exception comes from: the last line of ours, and the very last."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [f for f in frames if "pysurgeon/" in f.filename]
    shown = [f for f in (ours[-1] if ours else None, frames[-1]) if f is not None]
    return " < ".join(dict.fromkeys(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in shown))


def _spent(pid: int) -> float:
    """Seconds that a process and those it started have had of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
