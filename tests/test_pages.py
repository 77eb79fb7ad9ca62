"""What the pages say to type exists: benchmarks by their names and options."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
COMMAND = re.compile(r"python -m (benchmarks\.\w+)([^\n#]*)")


def options() -> dict[str, set[str]]:
    """Of every benchmark that a page names, the options that are shown with it."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for module, arguments in COMMAND.findall(page.read_text()):
            found.setdefault(module, set()).update(re.findall(r"--[a-z][a-z-]*", arguments))
    return found


def test_the_list_of_benchmarks_names_those_that_there_are() -> None:
    folder = ROOT / "benchmarks"
    text = (folder / "README.md").read_text()
    named = {words.split()[0] for words in re.findall(r"`([a-z_]+(?: [^`]*)?)`", text)} - {"onnx"}
    there = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/__main__.py")}
    assert named - {"python"} <= there
    assert there - named == {"kernels_peers"}  # a part of `kernels`


@pytest.mark.parametrize(("module", "shown"), options().items())
def test_a_benchmark_has_the_options_that_a_page_shows(module: str, shown: set[str]) -> None:
    if not shown:
        assert find_spec(module) is not None
        return
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert shown <= set(re.findall(r"--[a-z][a-z-]*", done.stdout))


def test_there_are_such_commands() -> None:
    assert len(options()) > 5
