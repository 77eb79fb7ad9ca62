"""Every operation on many models: where it is offered, whether the exact ones keep the function, and how good predictions are.

    python -m benchmarks.operations FOLDER [--only REGEX] [--seconds S] [--megabytes M] [--out operations.jsonl]

For each ONNX file of the folder (`python -m benchmarks.corpus export FOLDER` makes some hundred) and each kind of operation: the sites where
it is possible and, for as many of them as fit into S seconds, taken evenly from the first to the last, the largest change of the outputs
where the operation is exact; else whether the error that it predicted was within a fifth of that measured, both for what reads the place, on
samples that nothing was fitted to. Weights and samples are random: the figures are about the arithmetic, not about trained networks.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.widths import spread
from pysurgeon.errors import Refused, SurgeonError
from pysurgeon.graph import Array
from pysurgeon.model import Model, load
from pysurgeon.model.feeds import random_feeds
from pysurgeon.surgery import (
    AddBypass,
    Calibration,
    Factorize,
    InsertLayer,
    Narrow,
    Operation,
    RemoveLayer,
    Widen,
    operate,
)
from pysurgeon.surgery.layers.weight_matrices import form_of
from pysurgeon.widths.structure import Structure

# Numbers that go into a model for the fits, in at least so many samples and at most so many; and as many to verify on (the first
# dimension may be the time, and then another number of them would be something else).
NUMBERS, FEWEST, MOST = 2**18, 16, 512


@dataclass
class Kind:
    """One kind of operation on one model."""

    offered: int = 0
    tried: int = 0
    largest_error: float = 0.0
    pairs: list[tuple[str, float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass
class Row:
    """What was found for one model."""

    model: str
    kinds: dict[str, Kind] = field(default_factory=dict)
    unusable: str = ""


def candidates(structure: Structure) -> dict[str, list[Operation]]:
    """Operations of every kind on every site, possible or not."""
    free = [w for w in structure.widths if w.resizable]
    found: dict[str, list[Operation]] = {
        "widen": [Widen(w.name, w.size + max(1, w.size // 4)) for w in free if w.exact],
        "narrow": [Narrow(w.name, w.size - max(1, w.size // 4)) for w in free if w.size > 1],
        "insert": [InsertLayer(x.name) for x in structure.layers],
        "bypass": [AddBypass(x.name) for x in structure.layers],
        "remove": [RemoveLayer(x.name) for x in structure.layers],
        "factorize": [],
    }
    for layer in structure.layers:
        try:
            form = form_of(structure, layer)
        except Refused:
            continue
        if (rank := form.rows * form.columns // (2 * (form.rows + form.columns))) >= 1:
            found["factorize"].append(Factorize(layer.name, rank))
    return found


def sweep(path: Path, seconds: float) -> Row:
    """All of it for one file."""
    row = Row(path.stem)
    try:
        model = load(path)
        calibration = _calibration(model)
        structure = Structure(model)
        outputs = calibration.holdout(model, [o.name for o in model.outputs])
        if not all(np.isfinite(a).all() for a in outputs.values() if a.dtype.kind == "f"):
            row.unusable = "its outputs are not finite"
            return row
    except SurgeonError as error:
        row.unusable = str(error)[:200]
        return row
    operations = candidates(structure)
    for kind, sites in operations.items():
        row.kinds[kind] = _attempts(model, spread(sites), calibration, seconds / len(operations))
    return row


def _calibration(model: Model) -> Calibration:
    one = sum(a.size for a in random_feeds(model, batch=1).values())
    samples = min(MOST, max(FEWEST, NUMBERS // max(1, one)))
    feeds, unseen = (_batches(model, samples, seed) for seed in (0, 1))
    return Calibration(model, feeds, holdout=unseen)


def _batches(model: Model, samples: int, seed: int) -> dict[str, Array]:
    """As many batches as the samples take, where the file fixes the size of one."""
    size = model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else None
    if size is None or any(not p.shape or p.shape[0] != size for p in model.inputs):
        return random_feeds(model, batch=samples, seed=seed)
    seeds = np.random.default_rng(seed).integers(2**31, size=max(1, samples // max(1, size)))
    parts = [random_feeds(model, seed=int(s)) for s in seeds]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _attempts(model: Model, operations: list[Operation], calibration: Calibration, seconds: float) -> Kind:
    found, began, refused = Kind(), time.perf_counter(), 0
    for operation in operations:
        if time.perf_counter() - began > seconds:
            break
        try:
            record = operate(model, operation, calibration).record
        except Refused:
            refused += 1
            continue
        except SurgeonError as error:
            found.failures.append(f"{operation}: {type(error).__name__} {str(error)[:200]}")
            continue
        found.tried += 1
        if record.exact:
            found.largest_error = max(found.largest_error, record.measured_error)
        elif record.site_error is not None:
            found.pairs.append((str(operation), record.predicted_error, record.site_error))
    seen = found.tried + refused + len(found.failures)
    found.offered = round(len(operations) * (found.tried + len(found.failures)) / seen) if seen else 0
    return found


def show(rows: list[Row]) -> None:
    """A line a kind over all models, and one a failure."""
    usable = [r for r in rows if not r.unusable]
    print(f"\n{len(usable)} models, {len(rows) - len(usable)} not usable\n")
    print(
        "| operation | models | sites | tried | largest error | predictions | within 20 % | median predicted / measured | failures |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in ("widen", "insert", "bypass", "narrow", "remove", "factorize"):
        kinds = [r.kinds[kind] for r in usable]
        pairs = [(p, m) for k in kinds for _, p, m in k.pairs]
        close = sum(abs(p - m) <= 0.2 * m + 1e-4 for p, m in pairs)
        ratios = [p / m for p, m in pairs if m > 1e-4]
        error = f"{max(k.largest_error for k in kinds):.1e}" if kind in ("widen", "insert", "bypass") else "–"
        share = f"{close / len(pairs):.0%}" if pairs else "–"
        median = f"{statistics.median(ratios):.2f}" if ratios else "–"
        print(
            f"| {kind} | {sum(k.tried > 0 for k in kinds)} | {sum(k.offered for k in kinds)} | {sum(k.tried for k in kinds)} | {error} | "
            f"{len(pairs) or '–'} | {share} | {median} | {sum(len(k.failures) for k in kinds)} |"
        )
    for row in usable:
        for kind in row.kinds.values():
            for failure in kind.failures:
                print(f"{row.model}: {failure}")


def _row(text: str) -> Row:
    found = json.loads(text)
    kinds: dict[str, Kind] = {k: Kind(**v) for k, v in found.pop("kinds").items()}
    return Row(kinds=kinds, **found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--seconds", type=float, default=60.0, help="for one model")
    parser.add_argument("--megabytes", type=float, default=float("inf"), help="leave out larger files")
    parser.add_argument("--out", type=Path, default=None, help="JSON lines; models that it holds already are left out")
    arguments = parser.parse_args()
    lines = arguments.out.read_text().splitlines() if arguments.out is not None and arguments.out.exists() else []
    rows = [_row(x) for x in lines]
    known, wanted = {r.model for r in rows}, re.compile(arguments.only)

    def size(path: Path) -> int:
        return sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*"))  # with its data file

    for path in sorted(arguments.folder.glob("*.onnx"), key=size):
        if path.stem in known or not wanted.search(path.name) or size(path) > arguments.megabytes * 1e6:
            continue
        row = sweep(path, arguments.seconds)
        rows.append(row)
        text = row.unusable or ", ".join(f"{k} {v.tried}/{v.offered}" for k, v in row.kinds.items())
        print(f"{row.model:50s} {text}", flush=True)
        if arguments.out is not None:
            with arguments.out.open("a") as out:
                out.write(json.dumps(asdict(row)) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
