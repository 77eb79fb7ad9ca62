"""Does a loaded model compute what its file computes, as pysurgeon runs it and as anybody runs what it saves?

    python -m benchmarks.loading FOLDER [--only REGEX] [--megabytes M] [--seconds S]

For each ONNX file of the folder, in a process of its own and on random input at several sizes of every open dimension: the largest difference,
relative to the largest output, of a session of pysurgeon, and of plain onnxruntime on what pysurgeon saves, from plain onnxruntime on the file with
its optimizers switched off. Files that onnxruntime cannot run as they are, and those that pysurgeon refuses, are said by name.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pysurgeon.errors import ModelError
from pysurgeon.graph import Array
from pysurgeon.model import Model, load, save
from pysurgeon.model.feeds import choices, random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.runtime import onnxruntime

SIZES = 3  # that are tried
TOLERANCE = 1e-4  # deep networks with random weights multiply what fusing kernels round otherwise


def main() -> int:
    """Print a line for every file that differs or cannot be compared, and the count; the exit status says whether any differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--megabytes", type=float, default=float("inf"), help="leave out larger files")
    parser.add_argument("--seconds", type=float, default=300, help="for one model")
    parser.add_argument("--one", action="store_true", help="FOLDER is a file; print its differences and nothing else")
    arguments = parser.parse_args()
    if arguments.one:
        print(*differences(arguments.folder))
        return 0
    files = [f for f in arguments.folder.glob("*.onnx") if re.search(arguments.only, f.name)]
    files = [f for f in files if f.stat().st_size <= arguments.megabytes * 1e6]
    same = different = 0
    for path in sorted(files, key=lambda f: f.stat().st_size):
        found, why = _apart(path, arguments.seconds)
        if why:
            print(f"{path.name:60s} not compared: {why}", flush=True)
        elif max(found) <= TOLERANCE:
            same += 1
        else:
            different += 1
            print(f"{path.name:60s} DIFFERS by {found[0]:.1e} here, {found[1]:.1e} as saved", flush=True)
    print(f"{len(files)} files: {same} the same, {different} different, {len(files) - same - different} not compared")
    return min(different, 1)


def differences(path: Path) -> tuple[float, float]:
    """Of a session of pysurgeon and of the saved file from the file as it is, at up to `SIZES` choices of its open dimensions."""
    model = load(path)
    with tempfile.TemporaryDirectory() as folder:
        saved = save(model, Path(folder) / "saved.onnx")
        ours, theirs, tried, session = 0.0, 0.0, 0, Session(model)
        for seed, (batch, dimensions) in enumerate(choices(model)):
            feeds, reference = _taken(path, model, batch, dimensions, seed)
            if reference is None:
                continue
            ours = max(ours, output_error(reference, session.run(feeds)))
            theirs = max(theirs, output_error(reference, _run(saved, feeds, optimized=True)))
            tried += 1
            if tried == SIZES:
                break
    if not tried:
        message = "the file takes none of the sizes that were tried"
        raise ModelError(message)
    return ours, theirs


def _taken(
    path: Path, model: Model, batch: int, dimensions: Mapping[str, int], seed: int
) -> tuple[dict[str, Array], dict[str, Array] | None]:
    """Random input and what the file gives for it; nothing if it does not take such sizes, not even for one sample."""
    feeds: dict[str, Array] = {}
    for samples in dict.fromkeys((batch, 1)):
        feeds = random_feeds(model, batch=samples, seed=seed, dimensions=dimensions)
        with contextlib.suppress(Exception):  # onnxruntime raises a class of its own for every status
            return feeds, _run(path, feeds, optimized=False)
    return feeds, None


def _run(path: Path, feeds: dict[str, Array], *, optimized: bool) -> dict[str, Array]:
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})
    return {n: v for n, v in zip(names, values, strict=True) if isinstance(v, np.ndarray) and v.dtype.kind in "fiub"}


def _apart(path: Path, seconds: float) -> tuple[list[float], str]:
    """What a process of its own finds, or why it does not."""
    command = [sys.executable, "-m", "benchmarks.loading", str(path), "--one"]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return [], f"not done after {seconds:.0f} s"
    if child.returncode == 0:
        return [float(word) for word in child.stdout.split()], ""
    return [], (child.stderr.strip().splitlines() or ["it ended its process"])[-1][:160]


if __name__ == "__main__":
    sys.exit(main())
