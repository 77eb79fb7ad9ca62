"""Evolved, beside what its user would do by hand, at equal compute.

    python -m benchmarks.evolve --out FOLDER [--starts CNN MLP residual transformer] [--scale 1] [--data svhn] [--seeds 3]
                                [--objective accuracy] [--controls] [--data-dir DIR] [--show]

For every seed a start is exported anew (`benchmarks.growth`; `--scale` makes all its widths larger) and evolved. Beside it:

- *alone*: the start, trained for as many steps as the trunk;
- *alone, same compute*: for as many as take what all branches took, on a schedule of that length;
- *sweep*: 1, 2, 4 and 8 times its widths by successive halving, the same compute; the best by the validation part;
- *born*: the shape of the result from its first step, for as many steps as the trunk;
- with `--controls`, *by chance* (`--strategy random`) and *by the paper* (`--strategy paper`).

Test accuracy, mean and standard deviation over the seeds; significance by a paired t-test over the seeds, evolved against each.
Selection never sees the test split. Every figure is kept in FOLDER and measured only once.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scipy.stats import ttest_rel

import pysurgeon as ps
from benchmarks.growth import DATA, NETWORKS
from benchmarks.growth import born as exported
from pysurgeon.evolution import EvolveResult, Journal, calibrated, load_data, read
from pysurgeon.evolution.plan import Plan
from pysurgeon.evolution.rivals import FACTORS, born, scaled, sweep
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.training import LocalTrainer, State, TrainSettings, evaluate

Row = dict[str, Any]
WAYS = ("alone", "alone, same compute", "sweep", "born", "by chance", "by the paper", "evolved")


@dataclass(frozen=True)
class Job:
    """One start.

    Attributes:
        start: Key of `NETWORKS`.
        scale: Of its widths.
        data: Key of `DATA`.
        objective: What it is evolved for.
        seed: Of the start, the batches and all else.
    """

    start: str
    scale: int
    data: str
    objective: str
    seed: int

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.data}-{self.start}{self.scale}-{self.objective}-{self.seed}"

    def settings(self, data_dir: str | None) -> ps.EvolveSettings:
        """How it is trained."""
        given = ps.EvolveSettings(self.data, data_dir=data_dir, seed=self.seed, workers=1, **DATA[self.data])
        return replace(given, objective=self.objective)  # type: ignore[arg-type]


def measure(job: Job, settings: ps.EvolveSettings, folder: Path, *, controls: bool) -> Iterator[tuple[str, Row]]:
    """Every way for one start."""
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "figures.json"
    found: dict[str, Row] = json.loads(known.read_text()) if known.exists() else {}
    start = exported(job.start, job.data, job.seed, job.scale)

    def once(way: str, compute: Callable[[], Row]) -> Row:
        if way not in found:
            found[way] = compute()
            known.write_text(json.dumps(found, indent=1))
        return found[way]

    result = evolved(start, settings, folder / "run")
    data, trainer = load_data(settings, start), LocalTrainer()

    def schedule(steps: int) -> TrainSettings:
        return Plan.of(replace(settings, epochs=None, steps=steps), data).training

    def trained(model: Model, steps: int) -> Row:
        how = schedule(steps)
        done = trainer.train(model, data, how, state=State(), steps=steps, evaluate_every=0)
        compute = 3 * costs(model).macs * steps * settings.batch_size
        return row(evaluate(done.model, data, "test").accuracy, done.model, compute)

    step = 3 * costs(start).macs * settings.batch_size
    yield "alone", once("alone", lambda: trained(start, result.steps.trunk))
    yield (
        "alone, same compute",
        once("alone, same compute", lambda: trained(start, result.compute.all_branches // step)),
    )

    def swept() -> Row:
        calibration = calibrated(start, data, seed=settings.seed)
        networks = {f: start if f == 1 else scaled(start, f, calibration, job.seed) for f in FACTORS}
        best = sweep(networks, data, trainer, schedule, result.compute.all_branches)
        return {
            **row(evaluate(best.result.model, data, "test").accuracy, best.result.model, best.compute),
            "factor": best.factor,
            "steps": best.steps,
        }

    yield "sweep", once("sweep", swept)
    shape = born(ps.load(result.output), start, job.seed)
    yield "born", once("born", lambda: trained(shape, result.steps.trunk))
    for way, strategy in (("by chance", "random"), ("by the paper", "paper")) if controls else ():
        other = evolved(start, replace(settings, strategy=strategy), folder / strategy)  # type: ignore[arg-type]
        yield way, figures(other)
    yield "evolved", figures(result)


def figures(result: EvolveResult) -> Row:
    """Of a run."""
    return {
        "test": result.result.test_accuracy,
        "parameters": result.result.parameters,
        "macs": result.result.macs,
        "compute": result.compute.all_branches,
        "trunk": result.compute.trunk,
    }


def row(accuracy: float, model: Model, compute: int) -> Row:
    """Of a training."""
    size = costs(model)
    return {"test": accuracy, "parameters": size.parameters, "macs": size.macs, "compute": compute}


def evolved(model: Model, settings: ps.EvolveSettings, folder: Path) -> EvolveResult:
    """The result of a run; finished or begun now if there is none."""
    if (folder / "lineage.jsonl").exists():
        return read(Journal.open(folder)) or ps.resume(folder)
    return ps.evolve(model, settings=settings, run=folder)


def show(title: str, rows: Sequence[dict[str, Row]]) -> None:
    """Markdown, one line a way."""
    print(f"\n{title}, seeds: {len(rows)}\n")
    print("| | test | parameters | MACs | compute / that of the start alone | evolved less this | p |")
    print("|---|---|---|---|---|---|---|")
    for way in WAYS:
        found = [r for r in rows if way in r and "evolved" in r]
        if not found:
            continue
        tests = [100 * r[way]["test"] for r in found]
        less = [100 * (r["evolved"]["test"] - r[way]["test"]) for r in found]
        p = (
            ttest_rel([r["evolved"]["test"] for r in found], [r[way]["test"] for r in found]).pvalue
            if len(found) > 2
            else None
        )
        cost = statistics.mean(r[way]["compute"] / r["alone"]["compute"] for r in found)
        sizes = [f"{spread([r[way][k] for r in found])}" for k in ("parameters", "macs")]
        mine = way == "evolved"
        decided = "" if mine or p is None else f"{p:.2g}"
        difference = "" if mine else f"{statistics.mean(less):+.1f}"
        print(f"| {way} | {deviation(tests)} % | {' | '.join(sizes)} | {cost:.3g} | {difference} | {decided} |")
    ratio = [r["evolved"]["compute"] / r["evolved"]["trunk"] for r in rows if "evolved" in r]
    print(f"\nCompute of all branches: {deviation(ratio, 2)} times the trunk's.", flush=True)


def deviation(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation."""
    more = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{more}"


def spread(values: Sequence[int]) -> str:
    """The smallest to the largest."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=["svhn"])
    parser.add_argument("--data-dir", type=str, default=None)
    parser.add_argument("--objective", choices=["accuracy", "size", "latency"], default="accuracy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    packages = ", ".join(f"{p} {version(p)}" for p in ("onnxruntime-training-cpu", "onnx", "onnx-ir", "numpy"))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {packages}")
    for data in arguments.data:
        for start in arguments.starts:
            rows: list[dict[str, Row]] = []
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                job = Job(start, arguments.scale, data, arguments.objective, seed)
                settings = job.settings(arguments.data_dir)
                rows.append(dict(measure(job, settings, arguments.out / job.key, controls=arguments.controls)))
            show(f"{data}, {start} x{arguments.scale}, {arguments.objective}", rows)


if __name__ == "__main__":
    main()
