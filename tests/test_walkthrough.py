"""The walkthrough is run as it stands: its scripts are written down, its commands given in order, in one empty folder.

The rule by which the output that docs/walkthrough.md shows is compared with the real one, line by line and in order:

- Figures (words that begin with a digit, a sign before it aside) and units are measured, and left out on both sides.
- A line with an operation that the command does not name is a decision of that run. It is not compared.
- `...` stands for any words; alone on its line, for any lines.
- All other words must be there, and no others on the same line.

A command must end with 0; with 1 to 3 where the output shown is an `error:`; with 130 where it holds `^C`. That is sent when
a line has been printed that begins with the same word as the one shown before it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "walkthrough.md"
FIGURE = re.compile(r"[(\[]?[-+−±]?\d")
UNITS = {
    "",
    "%",
    "ms",
    "s",
    "min",
    "h",
    "k",
    "M",
    "×",
}  # and the lines of tables, which are as long as their figures are
OPERATION = re.compile(r"\b(widen|narrow|insert|remove|bypass|factorize)\b(:\S+)?")
INTERRUPT = "^C"


@dataclass(frozen=True)
class Script:
    """A Python block whose first line names its file."""

    name: str
    text: str


@dataclass(frozen=True)
class Step:
    """A command and the output that is shown below it."""

    line: int
    command: str
    shown: tuple[str, ...]

    @property
    def statuses(self) -> range:
        """Exit statuses that are right."""
        if INTERRUPT in self.shown:
            return range(130, 131)
        return range(1, 4) if any(line.startswith("error:") for line in self.shown) else range(1)


def read(page: str) -> Iterator[Script | Step]:
    """Scripts and commands in the order of the page."""
    lines = page.splitlines()
    k = 0
    while k < len(lines):
        if not lines[k].startswith("```"):
            k += 1
            continue
        end = lines.index("```", k + 1)
        if lines[k] == "```python":
            yield Script(lines[k + 1].removeprefix("# "), "\n".join(lines[k + 1 : end]) + "\n")
        elif lines[k] == "```console":
            yield from steps(lines, k + 1, end)
        else:
            message = f"line {k + 1}: nobody runs {lines[k]}"
            raise AssertionError(message)
        k = end + 1


def steps(lines: list[str], begin: int, end: int) -> Iterator[Step]:
    """The commands of a block."""
    starts = [k for k in range(begin, end) if lines[k].startswith("$ ")]
    assert starts[:1] == [begin], f"line {begin + 1} is no command"
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        k, command = start, lines[start].removeprefix("$ ")
        while command.endswith("\\"):
            k += 1
            command = command[:-1] + lines[k].strip()
        yield Step(start + 1, command, tuple(lines[k + 1 : stop]))


def words(line: str) -> str:
    """What is compared of a line."""
    return " ".join(w for w in line.split() if not FIGURE.match(w) and w.strip("(),;─") not in UNITS)


def missing(step: Step, real: str) -> str | None:
    """The first line that is shown and was not printed, by the rule of this file."""
    printed = iter([words(line) for line in real.splitlines()])
    for line in step.shown:
        decided = any(found[0] not in step.command for found in OPERATION.finditer(line))
        if decided or line in ("...", INTERRUPT) or not words(line):
            continue
        pattern = re.escape(words(line)).replace(r"\.\.\.", ".*")
        if not any(re.fullmatch(pattern, p) for p in printed):
            return line
    return None


def run(step: Step, folder: Path) -> tuple[int, str]:
    """Exit status and output."""
    program, *arguments = shlex.split(step.command)
    start = {"python": [sys.executable], "pysurgeon": [sys.executable, "-m", "pysurgeon"]}[program]
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PYSURGEON_DATA")}
    environment |= {"COLUMNS": "80", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    cue = step.shown[step.shown.index(INTERRUPT) - 1].split()[0] if INTERRUPT in step.shown else None
    printed = []
    with subprocess.Popen(
        [*start, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        # Whoever runs the tests may have told this process to ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                printed.append(line)
                if cue is not None and line.startswith(cue):
                    process.send_signal(signal.SIGINT)
                    cue = None
            status = process.wait(60)
        finally:
            process.kill()
    return status, "".join(printed)


@pytest.mark.slow
def test_the_walkthrough_can_be_followed(tmp_path: Path) -> None:
    for part in read(PAGE.read_text(encoding="utf-8")):
        if isinstance(part, Script):
            assert re.fullmatch(r"\w+\.py", part.name), f"a script whose first line names no file: {part.name}"
            (tmp_path / part.name).write_text(part.text, encoding="utf-8")
            continue
        status, real = run(part, tmp_path)
        where = f"{PAGE.name}, line {part.line}: $ {part.command}\n"
        assert status in part.statuses, f"{where}ended with {status}:\n{real}"
        line = missing(part, real)
        assert line is None, f"{where}did not print {line!r}, but:\n{real}"


BLOCK = """
```console
$ pysurgeon apply a.onnx widen:conv1=8 \\
    -o b.onnx
Operation        Outputs   Parameters
widen:conv1=8    1.6e−07         +184
...
written to b.onnx
$ pysurgeon inspect b.onnx
error: b.onnx ... the path
```
"""
REAL = "Operation   Outputs   Parameters\nwiden:conv1=8   0   −20\n4 new units\nRelative errors\nwritten to b.onnx\n"


def test_a_page_is_read_as_it_is_written() -> None:
    first, second = (part for part in read(BLOCK) if isinstance(part, Step))
    assert first.command == "pysurgeon apply a.onnx widen:conv1=8 -o b.onnx"
    assert [len(first.shown), first.statuses] == [4, range(1)]
    assert second.statuses == range(1, 4)
    assert missing(first, REAL) is None
    assert missing(second, "error: b.onnx does not exist; give the path\n") is None


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("Parameters", "Params", "Operation        Outputs   Parameters"),
        ("widen:conv1=8", "widen:conv1=9", "widen:conv1=8    1.6e−07         +184"),
        ("written to b.onnx\n", "", "written to b.onnx"),
        ("b.onnx", "b.onnx and b.onnx.data", "written to b.onnx"),
    ],
)
def test_what_is_not_printed_any_more_is_noticed(old: str, new: str, line: str) -> None:
    first = next(part for part in read(BLOCK) if isinstance(part, Step))
    assert old in REAL
    assert missing(first, REAL.replace(old, new)) == line


def test_the_order_counts_and_decisions_do_not() -> None:
    step = Step(
        1, "pysurgeon evolve a.onnx", ("generation 1 of 2: insert:conv1 won", "done: test accuracy 96.2 %", "model")
    )
    assert missing(step, "generation 1 of 2: widen:fc=3 won\ndone: test accuracy 9 %\nmodel\n") is None
    assert missing(step, "model\ndone: test accuracy 9 %\n") == "model"
