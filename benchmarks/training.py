"""Every model of a folder through training: does it train, is the gradient right, do the weights go back?

    python -m benchmarks.training FOLDER [--only REGEX] [--seconds S] [--megabytes M] [--memory GB] [--without-slopes]
        [--trainer ort|torch] [--rate RATE] [--beside] [--out training.jsonl]

For each ONNX file of the folder (`python -m benchmarks.corpus export FOLDER` makes some hundred), in a process of its own:

- the training graph is made, random data of the model's shapes is made up (class labels where the output is ``(batch, k)``, else numbers);
- gradients are compared with central differences of the loss of the *original* file, computed by plain inference: along the gradient,
  and along a direction that gives every tensor the same weight, with fixed statistics of batch normalization. The error is that of the
  slopes over the larger of them; where rounding leaves no two digits of a difference, it is counted as not measurable;
- with `--beside`, gradients are compared with those of the other engine: the norm of the difference over that of the gradient, with
  fixed statistics;
- some steps of AdamW are taken; the loss has to be finite and to decrease;
- what was learnt is put into the original file, whose output has to be that of the trained view.

One line a model, then a table by family. What ends its process, or takes more time or memory than it may, is a failure; a model that is
refused by name is not trained and says why.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx_ir as ir

from pysurgeon.data import Dataset, Split
from pysurgeon.errors import SurgeonError
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto, load
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.model.session import Session, output_error
from pysurgeon.runtime import TrainerName
from pysurgeon.training import (
    LocalTrainer,
    Outcome,
    Schedule,
    State,
    TrainSettings,
    fit_input,
    training_graph,
)
from pysurgeon.training.engines.engine import make_engine
from pysurgeon.training.losses.loss import Loss
from pysurgeon.training.losses.making import make_loss
from pysurgeon.training.task.binding import Fit, output_shape
from pysurgeon.training.task.head import head

SAMPLES, STEPS = 4, 4
# Of a slope, measured in float32 through a whole network; of outputs, relative to the largest: deep networks with random weights multiply
# rounding errors, and what is not the same function is off by much more.
SLOPE_TOLERANCE, OUTPUT_TOLERANCE = 1e-2, 1e-3
# What has a vocabulary says so by the table that the numbers of tokens are looked up in.
_LOOKED_THROUGH = ("Cast", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Transpose", "Clip", "Add", "Sub")


@dataclass
class Row:
    """What was found for one model."""

    model: str
    task: str = ""
    parameters: int = 0
    rewritten: str = ""
    losses: tuple[float, ...] = ()
    slope_error: float | None = None
    output_error: float | None = None
    engine_error: float | None = None
    seconds: float = 0.0
    gigabytes: float = 0.0
    refused: str = ""
    failure: str = ""


def main() -> int:
    """Print a line a model and a table; the exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--seconds", type=float, default=300, help="for one model")
    parser.add_argument("--megabytes", type=float, default=float("inf"), help="leave out larger files")
    parser.add_argument("--memory", type=float, default=8, help="GB that one process may take")
    parser.add_argument("--out", type=Path, default=None, help="JSON lines; models that it holds already are left out")
    parser.add_argument("--without-slopes", action="store_true", help="leave out the longest part, the gradients")
    parser.add_argument("--trainer", choices=get_args(TrainerName), default="ort", help="the engine")
    parser.add_argument("--rate", type=float, default=1e-4, help="of learning; a lower one for the deepest networks")
    parser.add_argument("--beside", action="store_true", help="compare the gradients of both engines")
    parser.add_argument("--one", action="store_true", help="FOLDER is a file; print its JSON and nothing else")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(asdict(sweep(arguments))))
        return 0
    files = [f for f in arguments.folder.glob("*.onnx") if re.search(arguments.only, f.name)]
    files = sorted((f for f in files if _size(f) <= arguments.megabytes * 1e6), key=_size)
    known = arguments.out.read_text().splitlines() if arguments.out is not None and arguments.out.exists() else []
    rows = [Row(**json.loads(line)) for line in known]
    for path in files:
        if path.stem in {r.model for r in rows}:
            continue
        rows.append(row := _apart(path, arguments))
        print(_text(row), flush=True)
        if arguments.out is not None:
            with arguments.out.open("a") as out:
                out.write(json.dumps(asdict(row)) + "\n")
    return _summary([r for r in rows if re.search(arguments.only, f"{r.model}.onnx")])


def _size(path: Path) -> int:
    data = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


def _apart(path: Path, arguments: argparse.Namespace) -> Row:
    """One file in a process of its own, which may end as it likes."""
    began, peak, over = time.monotonic(), 0.0, ""
    found: list[str] = []
    seconds, gigabytes = arguments.seconds, arguments.memory
    command = [sys.executable, __file__, str(path), "--one", "--trainer", arguments.trainer]
    command += ["--rate", str(arguments.rate)]
    command += ["--without-slopes"] * arguments.without_slopes + ["--beside"] * arguments.beside
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        reading = threading.Thread(target=lambda: found.extend(child.communicate()))
        reading.start()
        while reading.is_alive() and not over:
            reading.join(0.2)
            peak = max(peak, _memory(child.pid))
            over = f"more than {gigabytes:g} GB" if peak > gigabytes else over
            over = f"more than {seconds:g} s" if time.monotonic() - began > seconds else over
        if over:
            child.kill()
        reading.join()
    output, errors = found
    lines = output.splitlines()
    if over:
        row = Row(path.stem, failure=over)
    elif child.returncode or not lines:
        row = Row(path.stem, failure=f"its process ended with {child.returncode}: {errors.strip()[-300:]}")
    else:
        row = Row(**json.loads(lines[-1]))
    row.seconds, row.gigabytes = round(time.monotonic() - began, 1), round(peak, 2)
    return row


def _memory(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (OSError, IndexError):
        return 0.0


def sweep(arguments: argparse.Namespace) -> Row:
    """All of it for one file, in this process."""
    row = Row(arguments.folder.stem)
    try:
        model = load(arguments.folder)
        row.parameters = model.parameter_count()
        _train(row, make_batch_dynamic(model), arguments)
    except SurgeonError as error:
        row.refused = f"{type(error).__name__}: {error}"[:400]
    except Exception:  # noqa: BLE001  (whatever it is, it is a finding)
        row.failure = traceback.format_exc()[-600:]
    return row


def _train(row: Row, model: Model, arguments: argparse.Namespace) -> None:
    trainer: TrainerName = arguments.trainer
    data = made_up(model)
    row.task = data.task
    fit, loss = fit_input(model, data), make_loss(model, data)
    view = training_graph(model, data.task, trainer=trainer)
    row.rewritten = " ".join(sorted({f.operator for f in view.facts if f.status == "rewritten"}))
    row.slope_error = None if arguments.without_slopes else slopes(model, data, fit, loss, trainer)
    row.engine_error = beside(model, data, fit, loss) if arguments.beside else None
    settings = TrainSettings(Schedule(arguments.rate, STEPS, decay="constant"), batch_size=SAMPLES)
    result = LocalTrainer(trainer).train(model, data, settings, state=State(), steps=STEPS, evaluate_every=1)
    row.losses = tuple(round(p.train_loss, 6) for p in result.history)
    problems = []
    if result.outcome is not Outcome.DONE:
        problems.append(f"{result.outcome.name}: {result.message}"[:300])
    elif not row.losses[-1] < row.losses[0]:
        problems.append("the loss does not decrease")
    if row.slope_error is not None and row.slope_error > SLOPE_TOLERANCE:
        problems.append(f"slopes differ by {row.slope_error:.1e}")
    if row.engine_error is not None and row.engine_error > SLOPE_TOLERANCE:
        problems.append(f"the engines' gradients differ by {row.engine_error:.1e}")
    row.output_error = _back(model, data, fit, result.model, trainer)
    if row.output_error > OUTPUT_TOLERANCE:
        problems.append(f"outputs of the view and of the file differ by {row.output_error:.1e}")
    row.failure = "; ".join(problems)


def _back(model: Model, data: Dataset, fit: Fit, trained: Model, trainer: TrainerName) -> float:
    """How far the original file with what was learnt is from the view with what was learnt."""
    view = training_graph(model, data.task, trainer=trainer)
    inside = from_proto(view.proto)
    names = [n for n in (*view.trainable, *view.statistics) if n in inside.tensors()]
    inside = inside.with_tensors({name: trained.tensor(name) for name in names})
    x, _ = next(iter(data.evaluation_batches("train", SAMPLES, raw=fit.raw)))
    logits = head(trained, data.task).logits
    extra = () if logits in {o.name for o in trained.outputs} else (logits,)
    expected = Session(inside).run(fit.feeds(x))[view.outputs[0]]
    return output_error({"y": expected}, {"y": Session(trained, extra).run(fit.feeds(x))[logits]})


def _gradients(model: Model, data: Dataset, fit: Fit, loss: Loss, trainer: TrainerName) -> dict[str, Array]:
    """Of the first batch, with fixed statistics, in float64."""
    engine = make_engine(trainer, training_graph(model, loss, freeze_statistics=True, trainer=trainer), loss)
    x, y = next(iter(data.evaluation_batches("train", SAMPLES, raw=fit.raw)))
    engine.step(fit.feeds(x), loss.arrays(y))
    return {n: np.array(g, np.float64) for n, g in engine.gradients.items()}


def beside(model: Model, data: Dataset, fit: Fit, loss: Loss) -> float:
    """The norm of the difference between the engines' gradients over that of the gradient."""
    a, b = (_gradients(model, data, fit, loss, trainer) for trainer in get_args(TrainerName))
    if a.keys() != b.keys():
        return float("inf")
    return float(
        np.sqrt(sum(((a[n] - b[n]) ** 2).sum() for n in a) / max(1e-30, sum((g**2).sum() for g in a.values())))
    )


def slopes(model: Model, data: Dataset, fit: Fit, loss: Loss, trainer: TrainerName) -> float | None:
    """The larger relative error of two directional derivatives; `None` where they cannot be measured."""
    gradients = _gradients(model, data, fit, loss, trainer)
    x, y = next(iter(data.evaluation_batches("train", SAMPLES, raw=fit.raw)))
    feeds = fit.feeds(x)
    rng = np.random.default_rng(0)
    even = {}
    for name, g in gradients.items():
        norm = np.linalg.norm(g)
        # A tensor without a gradient gets a random direction: if it had to have one, this is where it shows.
        d = g / norm if norm > 0 else rng.standard_normal(g.shape) / np.sqrt(max(1, g.size))
        even[name] = d * max(np.linalg.norm(model.tensor(name)), 1e-3 * np.sqrt(max(1, g.size)))
    errors = [_slope_error(model, feeds, y, loss, gradients, d) for d in (gradients, even)]
    found = [e for e in errors if e is not None]
    return max(found) if found else None


def _slope_error(
    model: Model, feeds: dict[str, Array], y: Array, loss: Loss, gradients: Any, direction: Any
) -> float | None:
    expected = sum(float((gradients[n] * d).sum()) for n, d in direction.items())
    size = np.sqrt(sum(float((d**2).sum()) for d in direction.values()))
    if not np.isfinite(expected) or size == 0 or expected == 0:
        return None
    base = _loss_at(model, feeds, y, loss, {})
    best: float | None = None
    # The step that changes the loss by some per cent, and smaller ones: rounding and curvature pull in opposite directions.
    for change in (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4):
        step = change * max(abs(base), 1e-3) / abs(expected) / 2
        moved = [_moved(model, direction, s) for s in (step, -step)]
        above, below = (_loss_at(model, feeds, y, loss, tensors) for tensors in moved)
        # The steps that float32 has taken are not quite those that were asked for.
        taken = sum(
            float((gradients[n] * (moved[0][n].astype(np.float64) - moved[1][n].astype(np.float64))).sum())
            for n in direction
        )
        error = abs(above - below - taken) / max(abs(above - below), abs(taken))
        if np.isfinite(error):
            best = error if best is None else min(best, error)
        if best is not None and best < SLOPE_TOLERANCE / 10:
            break
    return best


def _moved(model: Model, direction: Any, step: float) -> dict[str, Array]:
    return {n: (model.tensor(n) + step * d).astype(np.float32) for n, d in direction.items()}


def _loss_at(model: Model, feeds: dict[str, Array], y: Array, loss: Loss, tensors: dict[str, Array]) -> float:
    outputs = {o.name for o in model.outputs}
    session = Session(model.with_tensors(tensors), [name for name in loss.values if name not in outputs])
    found = session.run(feeds)
    return float(loss.of_samples([loss.losses(tuple(found[name] for name in loss.values), y)]).mean())


def made_up(model: Model) -> Dataset:
    """Random samples and labels for whatever the model takes and gives."""
    rng = np.random.default_rng(0)
    values = {v.name: v for v in model.ir.graph.inputs}
    output = head(model).output
    first = next(v for v in model.ir.graph.outputs if v.name == output)
    batch = first.shape[0].value if first.shape is not None and isinstance(first.shape[0], ir.SymbolicDim) else None
    named: dict[str, Array] = {}
    for port in model.inputs:
        dims = list(values[port.name].shape or ())
        axis = next((k for k, d in enumerate(dims) if isinstance(d, ir.SymbolicDim) and d.value == batch and batch), 0)
        shape = (SAMPLES, *(d if isinstance(d, int) else 7 for k, d in enumerate(dims) if k != axis))
        named[port.name] = _values(values[port.name], port.dtype, shape, rng)
    one = len(named) == 1
    x = next(iter(named.values()))
    names = {} if one and x.ndim >= 2 else named
    shape = _probe(model, names or named)
    if len(shape) == 1 and 2 <= shape[0] <= 50_000:
        split = Split(x, rng.integers(0, shape[0], SAMPLES), names)
        task, classes = "classification", tuple(map(str, range(shape[0])))
    else:
        split = Split(x, rng.standard_normal((SAMPLES, *shape)).astype(np.float32), names)
        task, classes = "regression", ("0",)
    parts = {"train": split, "validation": split, "test": split}
    return Dataset.build("made up", **parts, classes=classes, normalize="none", task=task)  # type: ignore[arg-type]


def _probe(model: Model, named: dict[str, Array]) -> tuple[int, ...]:
    """The shape of one sample's output."""
    x = next(iter(named.values()))
    split = Split(x, np.zeros(SAMPLES, np.float32), named)
    trial = Dataset.build("p", train=split, validation=split, test=split, classes=("0",), task="regression")
    try:
        return output_shape(model, head(model).output, fit_input(model, trial).inputs)
    except SurgeonError as error:
        shape = re.search(r"is \(any,? ?([\d, ]*)\)$", str(error))
        if shape is None:
            raise
        return tuple(int(d) for d in shape[1].split(",") if d.strip())


def _values(value: ir.Value, dtype: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(np.float32)
    rows = _vocabulary(value)
    if rows is None:
        return np.ones(shape, np.int64)  # a mask
    return rng.integers(0, rows, shape)


def _vocabulary(value: ir.Value) -> int | None:
    """How many rows the table has that an input picks from."""
    for node, position in value.uses():
        if node.op_type == "Gather" and position == 1:
            table = node.inputs[0]
            if table is not None and table.is_initializer() and table.shape is not None:
                return int(table.shape[node.attributes.get_int("axis", 0)])
        if node.op_type in _LOOKED_THROUGH:
            found = _vocabulary(node.outputs[0])
            if found is not None:
                return found
    return None


def _text(row: Row) -> str:
    head_ = f"{row.model:52s} {row.seconds:6.1f} s {row.gigabytes:4.1f} GB"
    if row.refused:
        return f"{head_}  refused: {row.refused}"
    slope = "not measurable" if row.slope_error is None else f"{row.slope_error:.0e}"
    good = f"loss {' '.join(f'{x:.4g}' for x in row.losses)}, slopes {slope}, outputs {row.output_error or 0:.0e}"
    if row.engine_error is not None:
        good += f", engines {row.engine_error:.0e}"
    return f"{head_}  {good}" + (f"\n    FAILED {row.failure}" if row.failure else "")


def _summary(rows: list[Row]) -> int:
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.model.partition("__")[0], []).append(row)
    print(
        f"\n{'family':14s} {'models':>6s} {'train':>6s} {'refused':>8s} {'failed':>7s}  slopes within {SLOPE_TOLERANCE:g}: median, worst"
    )
    for family, members in families.items():
        good = [r for r in members if not r.refused and not r.failure]
        errors = [r.slope_error for r in good if r.slope_error is not None]
        apart = [r.engine_error for r in good if r.engine_error is not None]
        print(
            f"{family:14s} {len(members):6d} {len(good):6d} {sum(bool(r.refused) for r in members):8d} "
            f"{sum(bool(r.failure) for r in members):7d}  "
            + (f"{len(errors)} of {len(good)}: {np.median(errors):.1e}, {max(errors):.1e}" if errors else "-")
            + (f"; engines: {np.median(apart):.1e}, {max(apart):.1e}" if apart else "")
        )
    return int(any(r.failure for r in rows))


if __name__ == "__main__":
    sys.exit(main())
