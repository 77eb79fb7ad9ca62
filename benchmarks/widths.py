"""Every width of many models: what can be resized, whether it keeps the function, and how much smaller all of them get.

    python -m benchmarks.widths FOLDER [--only REGEX] [--seconds S] [--megabytes M] [--whole] [--out widths.jsonl]

For each ONNX file of the folder (`python -m benchmarks.corpus export FOLDER` makes some hundred): the share of its parameters that lie
on at least one width that can be resized and, for every width, or as many as fit into S seconds, taken evenly from the first to the last:

- widened by a quarter (to twice its size where something averages along it), the outputs are compared on random input;
- widened with fresh units and narrowed back, every tensor has to be what it was;
- narrowed by a quarter, it has to run with outputs of the same shapes, the checker and strict shape inference have to pass.

What a width touches is compared by itself (`benchmarks/excerpt.py`), with the values that enter it in the whole model; where it cannot be
told apart, and with `--whole` for all, whole models are. At last all widths are narrowed by a quarter at once. One line a model, then a
summary; an error above 1e-4 is a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnx

from benchmarks.excerpt import Excerpt, InseparableError, all_values, excerpt
from pysurgeon.errors import Refused, SurgeonError
from pysurgeon.graph import Array
from pysurgeon.model import Model, load
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.surgery import Calibration, Widen, apply_edit
from pysurgeon.surgery.edits.edit import Edit
from pysurgeon.surgery.operations.narrow import selection
from pysurgeon.widths.structure import Structure, Width

TOLERANCE = 1e-4
_WRONG = (SurgeonError, AssertionError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError)


@dataclass
class Row:
    """What was found for one model; errors are relative to the largest output."""

    model: str
    parameters: int = 0
    nodes: int = 0
    load_seconds: float = 0.0
    infer_seconds: float = 0.0
    widths: int = 0
    resizable: int = 0
    exact: int = 0
    covered: float = 0.0
    tried: int = 0
    largest_error: float = 0.0
    removed: float = 0.0
    failures: list[str] = field(default_factory=list)
    unusable: str = ""


def main() -> int:
    """Print a line a model and a summary; the exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for the widths of one model")
    parser.add_argument("--megabytes", type=float, default=float("inf"), help="leave out larger files")
    parser.add_argument("--out", type=Path, default=None, help="JSON lines; models that it holds already are left out")
    parser.add_argument("--whole", action="store_true", help="compare whole models, not what a width touches")
    arguments = parser.parse_args()
    files = [
        f
        for f in sorted(arguments.folder.glob("*.onnx"), key=lambda f: f.stat().st_size)
        if re.search(arguments.only, f.name)
    ]
    files = [f for f in files if f.stat().st_size <= arguments.megabytes * 1e6]
    rows = [Row(**json.loads(x)) for x in _lines(arguments.out)]
    known = {r.model for r in rows}
    for path in files:
        if path.stem in known:
            continue
        row = sweep(path, arguments.seconds, whole=arguments.whole)
        rows.append(row)
        print(_text(row), flush=True)
        if arguments.out is not None:
            with arguments.out.open("a") as out:
                out.write(json.dumps(asdict(row)) + "\n")
    return _summary(rows)


class Comparison:
    """A model on some input, and others beside it.

    Args:
        model: The model.
        whole: Compare whole models always.

    Raises:
        ModelError: The model cannot be run.
    """

    def __init__(self, model: Model, *, whole: bool) -> None:
        self.model = model
        self.feeds = random_feeds(model, batch=2)
        values = Session(model).run(self.feeds) if whole else all_values(model, self.feeds)
        self.reference = {p.name: values[p.name] for p in model.outputs}
        self._values = None if whole else values

    def error(self, other: Model) -> float:
        """The largest difference that another model makes, relative to the largest number of what is compared."""
        part = self._part(other)
        if part is not None:
            try:
                error = part.error(self._values or {})
            except SurgeonError:
                error = float("inf")
            if error <= TOLERANCE:  # else the whole model has to say it
                return error
        return output_error(self.reference, Session(other).run(self.feeds))

    def runs(self, other: Model) -> None:
        """The other model is valid, its shapes are consistent, and its outputs have the shapes that they had."""
        part = self._part(other)
        if part is not None:
            # A size that is worked out outside of a part enters it as it was, and values may lack the shapes that inputs must
            # have: what is wrong with a part is not always wrong with the whole.
            with contextlib.suppress(*_WRONG):
                _runs(part.after, self._of(part.inputs), self._of(part.outputs))
                return
        _runs(other, self.feeds, self.reference)

    def _of(self, names: Iterable[str]) -> dict[str, Array]:
        return {name: (self._values or {})[name] for name in names}

    def _part(self, other: Model) -> Excerpt | None:
        with contextlib.suppress(InseparableError):
            return None if self._values is None else excerpt(self.model, other)
        return None


def _runs(model: Model, feeds: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    if sum(model.tensor(t).nbytes for t in model.trainable()) < 2**28:
        onnx.checker.check_model(model.to_proto(), full_check=True)
    outputs = Session(model).run(feeds)
    assert all(outputs[name].shape == a.shape for name, a in expected.items())


def sweep(path: Path, seconds: float, *, whole: bool = False) -> Row:
    """All of it for one file."""
    row = Row(path.stem)
    began = time.perf_counter()
    try:
        model = load(path)
        row.load_seconds = time.perf_counter() - began
        began = time.perf_counter()
        structure = Structure(model)
        row.infer_seconds = time.perf_counter() - began
        _count(row, structure)
        beside = Comparison(model, whole=whole)
    except SurgeonError as error:
        row.unusable = str(error)[:200]
        return row
    if not all(np.isfinite(a).all() for a in beside.reference.values() if a.dtype.kind == "f"):
        row.unusable = "its outputs are not finite"
        return row
    free = [w for w in structure.widths if w.resizable]
    began = time.perf_counter()
    for width in spread(free):
        if time.perf_counter() - began > seconds:
            break
        row.tried += 1
        for check in (_widen, _back, _narrow):
            _attempt(row, width.name, lambda c=check, w=width: c(row, structure, w, beside), refused_as_said(width))
    _attempt(row, "all at once", lambda: _all_at_once(row, structure, free, beside), False)
    return row


def _attempt(row: Row, what: str, check: Callable[[], None], may_be_refused: bool) -> None:
    try:
        check()
    except Refused as refusal:
        if not may_be_refused:
            row.failures.append(f"{what}: {refusal}")
    except _WRONG as error:
        row.failures.append(f"{what}: {type(error).__name__} {str(error)[:200]}")


def refused_as_said(width: Width) -> bool:
    """Whether the width says of itself that widening it is not exact."""
    return not width.exact and not width.averaged


def _count(row: Row, structure: Structure) -> None:
    model = structure.model
    on = {t for w in structure.widths if w.resizable for t, _ in (*w.writers, *w.readers)}
    count = {name: model.tensor(name).size for name in model.trainable()}
    row.parameters, row.nodes = sum(count.values()), len(list(model.nodes))
    row.widths = len(structure.widths)
    row.resizable = sum(w.resizable for w in structure.widths)
    row.exact = sum(w.exact for w in structure.widths)
    row.covered = sum(n for t, n in count.items() if t in on) / max(1, row.parameters)


def spread(widths: list[Width]) -> list[Width]:
    """First, last, middle, quarters, ...: whenever one stops, what was tried is spread over the model."""
    order, step = [], 1
    while len(order) < len(widths):
        order += [round(k * (len(widths) - 1) / step) for k in range(step + 1)]
        order, step = list(dict.fromkeys(order)), step * 2
    return [widths[k] for k in order]


def _widen(row: Row, structure: Structure, width: Width, beside: Comparison) -> None:
    new = width.size + max(1, width.size // 4) if width.exact else 2 * width.size
    edit = Widen(width.name, new, how="split", seed=1).plan(structure, Calibration(structure.model, beside.feeds)).edit
    error = beside.error(apply_edit(edit))
    row.largest_error = max(row.largest_error, error)
    assert error <= TOLERANCE, f"{width.size} -> {new} changed the outputs by {error:.2g}"


def _back(row: Row, structure: Structure, width: Width, beside: Comparison) -> None:
    if not width.exact:
        return
    plan = Widen(width.name, width.size + max(1, width.size // 4)).plan(
        structure, Calibration(structure.model, beside.feeds)
    )
    wider = Structure(apply_edit(plan.edit))
    error = beside.error(wider.model)
    row.largest_error = max(row.largest_error, error)
    assert error <= TOLERANCE, f"{width.size} units and some fresh ones changed the outputs by {error:.2g}"
    if "copies" in plan.reason or any(0 < e < 1 for e in width.exponents.values()):
        return  # the old units gave a share of theirs away
    back = apply_edit(Edit(wider, tuple(selection(wider.width(width.name), np.arange(width.size)))))
    for name in structure.model.trainable():
        old, new = back.ir.graph.initializers[name].const_value, structure.model.ir.graph.initializers[name].const_value
        assert old is new or np.array_equal(back.tensor(name), structure.model.tensor(name)), (
            f"{name} did not come back"
        )


def _narrow(row: Row, structure: Structure, width: Width, beside: Comparison) -> None:  # noqa: ARG001
    if width.size > 1:
        kept = np.arange(width.size - max(1, width.size // 4))
        beside.runs(apply_edit(Edit(structure, tuple(selection(width, kept)))))


def _all_at_once(row: Row, structure: Structure, free: list[Width], beside: Comparison) -> None:
    maps = [m for w in free if w.size > 1 for m in selection(w, np.arange(w.size - max(1, w.size // 4)))]
    narrow = apply_edit(Edit(structure, tuple(maps)))
    beside.runs(narrow)
    row.removed = 1 - narrow.parameter_count() / max(1, row.parameters)


def _lines(path: Path | None) -> list[str]:
    return path.read_text().splitlines() if path is not None and path.exists() else []


def _text(row: Row) -> str:
    if row.unusable:
        return f"{row.model:58s} {row.unusable}"
    marks = "".join(f"\n    {f}" for f in row.failures)
    return (
        f"{row.model:58s} {row.parameters / 1e6:7.2f} M {row.nodes:5d} nodes, infer {row.infer_seconds:5.2f} s, "
        f"widths {row.resizable:3d}/{row.widths:3d}, tried {row.tried:3d}, on widths {row.covered:6.1%}, "
        f"error {row.largest_error:.0e}, removed {row.removed:6.1%}{marks}"
    )


def _summary(rows: list[Row]) -> int:
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.model.partition("__")[0], []).append(row)
    for family, members in families.items():
        usable = [r for r in members if not r.unusable and r.parameters]
        if not usable:
            continue
        covered = sum(r.covered > 0.9 for r in usable)
        print(
            f"{family:14s} {len(members):3d} models, {len(members) - len(usable)} not usable or without parameters; more than 90 % of "
            f"the parameters on widths in {covered} of {len(usable)}; widths tried {sum(r.tried for r in usable)} of "
            f"{sum(r.resizable for r in usable)}, failures {sum(len(r.failures) for r in usable)}, largest error "
            f"{max(r.largest_error for r in usable):.1e}; all narrowed by a quarter remove {np.mean([r.removed for r in usable]):.1%} "
            f"on average, nothing in {sum(r.removed < 0.005 for r in usable)}"
        )
    return int(any(r.failures for r in rows))


if __name__ == "__main__":
    sys.exit(main())
