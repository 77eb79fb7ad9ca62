"""Where new units come from, compared by what they learn.

    python -m benchmarks.new_units --data cifar10 svhn --data-dir DIR --out FOLDER [--seeds 3] [--limit 12000]

The networks of `trained.py` with half the units in every width are trained for a while; then every width is doubled, with new units that are
`fresh`, `split` or in `pairs`, and training goes on with the moments that they were given, on the same batches and at a constant learning
rate. Validation loss after as many steps more, beside that of the network which was not widened.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pysurgeon as ps
from benchmarks.trained import NETWORKS, cut, exported, keep_first, sites
from pysurgeon.evolution import load_data
from pysurgeon.graph import Model
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import Calibration, Widen, carry, operate
from pysurgeon.surgery.widen import How
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings

STEPS = (50, 100, 200, 400)
BEFORE = 300
WAYS: tuple[How, ...] = ("fresh", "split", "pairs")
RATE, BATCH = 1e-3, 32


def doubled(model: Model, state: State, how: How, seed: int) -> tuple[Model, State]:
    """Every width twice as large."""
    for name in sites(model):
        operation = Widen(name, 2 * Structure(model).width(name).size, how=how, seed=seed)
        done = operate(model, operation, Calibration(model))
        model, state = done.model, replace(state, moments=carry(done.edit, state.moments))
    return model, state


def measure(name: str, settings: ps.EvolveSettings, folder: Path) -> dict[str, Any]:
    """Validation losses by way and step for one network and one seed."""
    path = folder / f"{settings.data}-{name}-{settings.seed}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    with tempfile.TemporaryDirectory() as temporary:
        model = cut(exported(name, settings.seed, Path(temporary) / "start.onnx"), 0.5, keep_first)
    data, trainer = load_data(settings, model), LocalTrainer()
    training = TrainSettings(Schedule(RATE, 1, 50, "constant"), batch_size=BATCH, seed=settings.seed)
    trunk = trainer.train(model, data, training, state=State(), steps=BEFORE, evaluate_every=BEFORE)
    row: dict[str, Any] = {"data": settings.data, "network": name, "seed": settings.seed}
    row["before"] = trunk.history[-1].validation_loss
    for how in ("not widened", *WAYS):
        start = trunk.model, trunk.state
        grown, state = start if how == "not widened" else doubled(*start, how, settings.seed)
        done = trainer.train(grown, data, training, state=state, steps=STEPS[-1], evaluate_every=STEPS[0])
        losses = {p.step - BEFORE: p.validation_loss for p in done.history}
        row[how] = [losses[s] for s in STEPS]
    path.write_text(json.dumps(row))
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Markdown: means and standard deviations over the seeds."""
    print(f"\n| | new units | {' | '.join(f'{s} steps' for s in STEPS)} |\n|---|---|{'---|' * len(STEPS)}")
    for data, network in dict.fromkeys((r["data"], r["network"]) for r in rows):
        found = [r for r in rows if (r["data"], r["network"]) == (data, network)]
        for how in ("not widened", *WAYS):
            columns = zip(*(r[how] for r in found), strict=True)
            print(f"| {network} on {data} | {how} | {' | '.join(_cell(c) for c in columns)} |")


def _cell(values: tuple[float, ...]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["cifar10", "svhn"])
    parser.add_argument("--data-dir", type=str, default=None)
    parser.add_argument("--limit", type=int, default=12000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=["MLP", "CNN"])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(arguments.seeds):
        for data in arguments.data:
            settings = ps.EvolveSettings(data=data, data_dir=arguments.data_dir, limit=arguments.limit, seed=seed)
            rows += [measure(name, settings, arguments.out) for name in arguments.networks]
            print(f"{data}, seed {seed}: done", flush=True)
    show(rows)


if __name__ == "__main__":
    main()
