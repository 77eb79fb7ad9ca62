"""Interrupted and killed runs come to the end that they would have had."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starts import mlp

from tests.cli.commands import QUICK, ROOT, Command, Done, put

LONG = ("--data", "digits", "--steps", "1500", "--generations", "3", "--branches", "2", "--batch-size", "32", "--json")


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "pysurgeon", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # Whoever runs the tests may have told this process to ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def events(run: Path) -> int:
    path = run / "lineage.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(process: subprocess.Popen[str], run: Path, count: int) -> None:
    limit = time.monotonic() + 120
    while events(run) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.003)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["resume", "evolve"])
def test_who_interrupts_is_told_how_to_go_on(
    command: Command,
    finished: tuple[Path, Done],
    start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: signal.Signals,
) -> None:
    import pysurgeon.evolution

    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr(pysurgeon.evolution, "go_on", interrupted)
    monkeypatch.setattr(pysurgeon.evolution, "check", lambda *_: None)
    run = tmp_path / "run"
    if name == "resume":
        shutil.copytree(finished[0] / "run", run)
    done = command("resume", run) if name == "resume" else command("evolve", start, *QUICK, "--run", run)
    assert done.status == 130
    assert done.out == ""
    assert done.err.splitlines()[-1].endswith(f"go on with: pysurgeon resume {run}")
    again = command("resume", run, "-o", tmp_path / "the best.onnx")
    assert again.err.splitlines()[-1].endswith(f"pysurgeon resume {run} -o '{tmp_path / 'the best.onnx'}'")


@pytest.mark.slow
def test_a_run_that_is_killed_or_interrupted_comes_to_the_end_that_it_would_have_had(
    command: Command, tmp_path: Path
) -> None:
    start = put(tmp_path / "start.onnx", mlp((6,)))
    run = tmp_path / "run"
    expected = undisturbed(start, tmp_path / "undisturbed")
    rng = np.random.default_rng(0)
    how = (signal.SIGKILL, signal.SIGINT, signal.SIGKILL)
    instants = np.linspace(2, 0.7 * events(expected), len(how)).astype(int)
    for k, (count, number) in enumerate(zip(instants, how, strict=True)):
        arguments = ("resume", run, "--json") if k else ("evolve", start, *LONG, "--workers", "2", "--run", run)
        with started(*arguments) as process:
            wait_for(process, run, int(count))
            time.sleep(float(rng.uniform(0, 0.02)))
            assert process.poll() is None, "the run ended before it could be disturbed"
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        assert out == ""
        assert "Traceback" not in err
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 130, err
            assert f"pysurgeon resume {run}" in " ".join(err.split())
    found = command("resume", run, "--json").document
    assert (run / "result.onnx").read_bytes() == (expected / "result.onnx").read_bytes()
    assert found["steps"]["trunk"] == 1500
    lineages = [[json.loads(line) for line in (f / "lineage.jsonl").read_text().splitlines()] for f in (run, expected)]
    assert {e.get("outcome") for e in lineages[0]} == {None, "DONE"}
    # Two workers may end in another order, but there is the same to write down.
    keys = [sorted(e["key"] for e in lineage) for lineage in lineages]
    assert keys[0] == keys[1]


def undisturbed(start: Path, folder: Path) -> Path:
    """The same run in this process, from its begin to its end."""
    from pysurgeon.data import load as load_data
    from pysurgeon.evolution import EvolveSettings, SerialExecutor, Setup, Silent, Surgeon, begin
    from pysurgeon.model import load
    from pysurgeon.training import LocalTrainer

    settings = EvolveSettings("digits", epochs=None, steps=1500, generations=3, branches=2, batch_size=32)
    data = load_data("digits")
    setup = Setup(settings, data, LocalTrainer(), SerialExecutor(), Silent())
    Surgeon(setup, begin(load(start), settings, folder, data)).run()
    return folder
