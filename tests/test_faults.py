"""What goes wrong from outside: a run goes on, or stops with one sentence, and nothing that was learnt is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from starts import cnn, digits, mlp, model

import pysurgeon as ps
from pysurgeon import api
from pysurgeon.data import Dataset, Split
from pysurgeon.errors import ModelError, OutputExistsError, TrainingError
from pysurgeon.evolution import EvolveSettings, Journal
from pysurgeon.model import Model

SETTINGS = EvolveSettings("digits", limit=300, epochs=None, steps=60, batch_size=32, generations=1, branches=1)


class Interrupter:
    """An observer that interrupts once so many steps have been taken."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.seen: list[int] = []

    def happened(self, event: dict[str, Any]) -> None:
        """Nothing."""

    def training(self, branch: str, step: int, loss: float) -> None:
        self.seen.append(step)
        if step >= self.step:
            raise KeyboardInterrupt


def same(a: Model, b: Model) -> None:
    for name, array in a.tensors().items():
        np.testing.assert_array_equal(b.tensor(name), array)


def test_training_that_is_stopped_and_continued_equals_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.training, "CHECKPOINT_SECONDS", 0.4)
    start, settings = model(cnn(8)), replace(SETTINGS, steps=700, augment="flip-crop")
    out, checkpoint = tmp_path / "out.onnx", tmp_path / ".out.onnx.training.npz"
    for step in (100, 300):
        with pytest.raises(KeyboardInterrupt):
            ps.train(start, settings=settings, output=out, observer=Interrupter(step))
    assert checkpoint.exists()
    assert not out.exists()
    with pytest.raises(OutputExistsError, match=r"unfinished training of another model or with other settings"):
        ps.train(start, settings=replace(settings, lr=1e-4), output=out)
    with np.load(checkpoint) as archive:
        reached = json.loads(str(archive["pysurgeon"]))["step"]
    watching = Interrupter(10**9)
    continued = ps.train(start, settings=settings, output=out, observer=watching)
    assert 0 < reached <= min(watching.seen)
    assert continued.steps == 700
    assert not checkpoint.exists()
    monkeypatch.setattr(api.training, "CHECKPOINT_SECONDS", 1e6)
    whole = ps.train(start, settings=settings, output=tmp_path / "whole.onnx")
    same(whole.model, continued.model)
    assert whole.test_accuracy == continued.test_accuracy


@contextlib.contextmanager
def killing(times: int, seed: int) -> Iterator[list[int]]:
    """Kill a worker of this process, whatever it is doing, so many times at random instants."""
    killed: list[int] = []
    over = threading.Event()
    rng = np.random.default_rng(seed)

    def kill() -> None:
        while len(killed) < times and not over.wait(float(rng.uniform(0.1, 1.5))):
            children = Path(f"/proc/{os.getpid()}/task")
            pids = [int(p) for t in children.iterdir() for p in (t / "children").read_text().split()]
            workers = [p for p in pids if b"workers.main import serve" in Path(f"/proc/{p}/cmdline").read_bytes()]
            if workers:
                os.kill(workers[int(rng.integers(len(workers)))], signal.SIGKILL)
                killed.append(workers[0])

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_workers_that_are_killed_at_any_instant_cost_no_more_than_their_branches(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=400, generations=2, branches=2, workers=2)
    start, run = model(mlp((6,))), tmp_path / "run"
    with killing(4, seed=0) as killed:
        with contextlib.suppress(TrainingError):  # the check before the run, or the trunk itself
            ps.evolve(start, digits(), settings=settings, run=run)
        while killed and len(killed) < 4 and (run / "start.onnx").exists():
            with contextlib.suppress(TrainingError):
                ps.resume(run, digits())
                break
    assert killed
    if not (run / "start.onnx").exists():
        ps.evolve(start, digits(), settings=settings, run=run, force=True)
    # Nobody is killed any more: whatever had happened, the run comes to its end.
    result = ps.resume(run, digits())
    assert result.output.exists()
    lost = [e for e in Journal.open(run).events if e.get("outcome") == "LOST"]
    assert all("SIGKILL" in e["message"] and e["genome"] for e in lost)


def part(count: int, classes: int, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.standard_normal((count, 1, 8, 8)).astype(np.float32), np.arange(count) % classes)


def named(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def test_a_weight_that_is_no_number_is_named_before_anything_is_trained() -> None:
    start = model(mlp((6,)))
    weight = start.tensor("fc1.weight").copy()
    weight[0, 0] = np.nan
    with pytest.raises(ModelError, match=r"not a number in 'fc1.weight' \(1 of 384\)"):
        ps.train(start.with_tensors({"fc1.weight": weight}), digits(), settings=SETTINGS)


def test_a_class_without_samples_and_a_single_sample_train() -> None:
    start = model(mlp((6,)))
    for count, classes in ((40, 9), (1, 1)):
        data = Dataset.build(
            "few", train=part(count, classes), validation=part(9, 9, 1), test=part(9, 9, 2), classes=named(10)
        )
        settings = replace(SETTINGS, steps=5, class_weights="balanced", label_smoothing=0.1)
        assert ps.train(start, data, settings=settings).steps == 5


TINY = """
set -e
mount -t tmpfs -o size={size} none {folder}
{fill}
{command}
"""


def confined(folder: Path, command: str, *, size: str, fill: str = "") -> subprocess.CompletedProcess[str]:
    """A command whose folder is a file system of its own, of a few blocks or read-only."""
    folder.mkdir(exist_ok=True)
    script = TINY.format(size=size, folder=folder, fill=fill, command=command)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],  # noqa: S607
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=300,
    )


def mounts() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],  # noqa: S607
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


needs_mounts = pytest.mark.skipif(not mounts(), reason="this machine lets nobody mount a file system")
ARGUMENTS = "--data digits --limit 300 --steps 20 --batch-size 32"


@needs_mounts
@pytest.mark.parametrize(
    ("size", "fill", "said"),
    [("8k", "", "No space left"), ("1m", "mount -o remount,ro {folder}", "Read-only file system")],
)
def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path: Path, size: str, fill: str, said: str) -> None:
    onnx.save(mlp((64, 64)), str(tmp_path / "start.onnx"))
    folder = tmp_path / "small"
    command = f"{sys.executable} -m pysurgeon train {tmp_path}/start.onnx {ARGUMENTS} -o {folder}/out.onnx"
    done = confined(folder, command, size=size, fill=fill.format(folder=folder))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


@needs_mounts
@pytest.mark.parametrize("command", ["train", "evolve --run {tmp_path}/run"])
def test_an_output_that_cannot_be_written_is_said_before_the_first_step(tmp_path: Path, command: str) -> None:
    onnx.save(mlp((6,)), str(tmp_path / "start.onnx"))
    folder = tmp_path / "small"
    name, *options = command.format(tmp_path=tmp_path).split(maxsplit=1)
    # So many steps would take hours.
    words = [
        sys.executable,
        "-m",
        "pysurgeon",
        name,
        f"{tmp_path}/start.onnx",
        "--data",
        "digits",
        "--steps",
        str(10**8),
        *options,
    ]
    done = confined(folder, f"{' '.join(words)} -o {folder}/out.onnx", size="1m", fill=f"mount -o remount,ro {folder}")
    assert done.returncode == 1
    assert "out.onnx cannot be written (Read-only file system)" in done.stderr
    assert not (tmp_path / "run").exists()


@needs_mounts
def test_a_run_on_a_full_disk_goes_on_where_there_is_room(tmp_path: Path) -> None:
    onnx.save(mlp((32,)), str(tmp_path / "start.onnx"))
    small, kept = tmp_path / "small", tmp_path / "kept"
    python = f"{sys.executable} -m pysurgeon"
    arguments = f"{ARGUMENTS} --generations 2 --branches 1 --steps 40"
    command = (
        f"{python} evolve {tmp_path}/start.onnx {arguments} --run {small}/run || status=$?; "
        f"cp -r {small}/run {kept}; exit ${{status:-0}}"
    )
    done = confined(small, command, size="150k")
    assert done.returncode == 1, done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    before = Journal.open(kept).events
    result = ps.resume(kept)
    assert Journal.open(kept).events[: len(before)] == before
    settings = EvolveSettings.from_json(Journal.open(kept).settings)
    whole = ps.evolve(ps.load(tmp_path / "start.onnx"), settings=settings, run=tmp_path / "whole")
    same(ps.load(whole.output), ps.load(result.output))
