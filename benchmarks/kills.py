"""What kills cost: runs that are disturbed at random instants are resumed and compared, bit by bit, with one that was left alone.

    python -m benchmarks.kills [--rounds 40] [--seed 0] [--steps 600]

In every round a run is begun and disturbed one to three times, the later times while it is being resumed: the run, a worker, or both get a
SIGKILL, a SIGTERM, a SIGINT (the run alone, as a terminal would send it), or a SIGSTOP with a SIGCONT up to a second later. Then it is resumed until
it ends by itself. Checked in every round:

- `result.onnx` and all branches are the same bytes, and the lineage says the same but for seconds;
- exit statuses are 0, 130 or that of the signal, and nobody prints a traceback;
- no process is left behind, nothing in the folder for temporary files, and no unfinished file in that of the run.

Needs `/proc`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

MARK = "PYSURGEON_KILLS"
# What differs between two runs that found the same.
CLOCKS = ("seconds", "latency", "latency_ms", "speeds", "load")
GONE_SECONDS = 10.0


@dataclass
class Bench:
    """A folder to work in and what was found there.

    Attributes:
        folder: For everything.
        start: The start model.
        options: Of `evolve`.
        faults: What was not as it should be.
        counts: Disturbances by signal and target.
    """

    folder: Path
    start: Path
    options: list[str]
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of the processes."""
        return self.folder / "tmp"

    def begun(self, *arguments: object) -> subprocess.Popen[bytes]:
        """A command in a process of its own."""
        self.temporary.mkdir(exist_ok=True)
        environment = {**os.environ, MARK: str(self.folder), "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [sys.executable, "-m", "pysurgeon", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509
        )

    def command(self, run: Path) -> list[object]:
        """What goes on with a run, or begins it."""
        if (run / "start.onnx").exists():
            return ["resume", run]
        return ["evolve", self.start, *self.options, "--run", run, *(["--force"] if run.exists() else [])]

    def processes(self) -> list[int]:
        """Of this bench, those of a run and their workers alike."""
        mark = f"{MARK}={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            # Some are gone by now, some are somebody else's.
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                if alive and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return found


def start(path: Path) -> None:
    """Write a small convolutional network for the digits."""
    rng = np.random.default_rng(0)
    text = """<ir_version: 8, opset_import: ["" : 17]> cnn (float[N, 1, 8, 8] x) => (float[N, 10] y) {
        a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (x, conv1_weight)
        b = Relu (a)
        c = Flatten <axis = 1> (b)
        d = Gemm <transB = 1> (c, fc1_weight)
        e = Relu (d)
        y = Gemm <transB = 1> (e, fc2_weight) }"""
    proto = onnx.parser.parse_model(text)
    for name, shape in (("conv1_weight", (3, 1, 3, 3)), ("fc1_weight", (6, 48)), ("fc2_weight", (10, 6))):
        array = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    path.write_bytes(proto.SerializeToString())


def disturb(bench: Bench, process: subprocess.Popen[bytes], rng: np.random.Generator) -> str:
    """Send a signal to a run, its workers or both. Returns what was done."""
    number = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP)[rng.integers(5)]
    target = "run" if number == signal.SIGINT else ("run", "worker", "both")[rng.integers(3)]
    workers = [pid for pid in bench.processes() if pid != process.pid]
    chosen = [int(rng.choice(workers))] if target == "worker" and workers else workers if target == "both" else []
    chosen += [process.pid] if target != "worker" else []
    # In any order: which of them ends first is for chance to say.
    for pid in rng.permutation(chosen):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), number)
    if number == signal.SIGSTOP:
        time.sleep(float(rng.uniform(0.1, 1.0)))
        for pid in chosen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    return f"{number.name} {target}" if chosen else "nobody"


def ended(bench: Bench, process: subprocess.Popen[bytes], what: str) -> int:
    """Wait for a run that was disturbed, and look at what it leaves behind."""
    _, err = process.communicate()
    text, status = err.decode(errors="replace"), process.returncode
    name = what.split()[0]
    allowed = {0, 130} if "run" in what or "both" in what else {0}
    if status not in allowed and status != -getattr(signal, name, 0):
        bench.faults.append(f"{what}: exit status {status}: {text[-600:]}")
    elif "Traceback" in text:
        bench.faults.append(f"{what}: {text[-1500:]}")
    limit = time.monotonic() + GONE_SECONDS
    while bench.processes() and time.monotonic() < limit:
        time.sleep(0.02)
    for pid in bench.processes():
        bench.faults.append(f"{what}: process {pid} was left behind")
        os.kill(pid, signal.SIGKILL)
    for path in bench.temporary.iterdir():
        bench.faults.append(f"{what}: {path.name} was left behind")
        path.unlink() if path.is_file() else shutil.rmtree(path)
    return status


def said(value: Any) -> Any:
    """What a line of a lineage says, without what clocks say."""
    if isinstance(value, dict):
        return {k: said(v) for k, v in value.items() if k not in CLOCKS}
    return [said(v) for v in value] if isinstance(value, list) else value


def found(run: Path) -> dict[str, Any]:
    """Everything that a run found, by name."""
    files: dict[str, Any] = {
        str(p.relative_to(run)): p.read_bytes()
        for p in run.rglob("*")
        if p.is_file() and p.suffix in (".onnx", ".partial")
    }
    # Two workers may end in another order, but there is the same to write down.
    lines = [json.loads(line) for line in (run / "lineage.jsonl").read_text().splitlines()]
    return files | {event.get("key", "-"): said(event) for event in lines}


def round_of(bench: Bench, number: int, duration: float, rng: np.random.Generator) -> Path:
    """Begin a run, disturb it, and bring it to its end."""
    run = bench.folder / f"run-{number}"
    for _ in range(int(rng.integers(1, 4))):
        process = bench.begun(*bench.command(run))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(float(rng.uniform(0, duration)))
        what = disturb(bench, process, rng) if process.poll() is None else "nobody"
        bench.counts[what] += 1
        if ended(bench, process, what) == 0:
            break
    for _ in range(3):
        if (status := ended(bench, bench.begun(*bench.command(run)), "left alone")) == 0:
            break
    else:
        bench.faults.append(f"round {number} does not come to its end: exit status {status}")
    return run


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    options = f"--data digits --limit 400 --steps {arguments.steps} --generations 2 --branches 2 --batch-size 32"
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), Path(folder) / "start.onnx", options.split())
        start(bench.start)
        rng = np.random.default_rng(arguments.seed)
        began = time.monotonic()
        ended(bench, bench.begun(*bench.command(bench.folder / "left-alone")), "left alone")
        duration = time.monotonic() - began
        expected = found(bench.folder / "left-alone")
        different = 0
        for number in range(arguments.rounds):
            run = round_of(bench, number, duration, rng)
            now = found(run)
            wrong = sorted(k for k in now.keys() | expected.keys() if now.get(k) != expected.get(k))
            if wrong:
                different += 1
                bench.faults.append(f"round {number} differs in {wrong[:8]}")
            print(
                f"{number}: {'differs' if wrong else 'the same'}; {sum(bench.counts.values())} disturbances", flush=True
            )
            shutil.rmtree(run)
        print(", ".join(f"{what}: {count}" for what, count in sorted(bench.counts.items())))
        print(f"{arguments.rounds} rounds, {different} of them differ, {len(bench.faults)} faults")
        for fault in bench.faults:
            print(f"- {fault}")
    sys.exit(bool(bench.faults))


if __name__ == "__main__":
    main()
