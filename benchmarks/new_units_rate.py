"""The learning rate of new units, compared by what they learn.

    python -m benchmarks.new_units_rate --data cifar10 svhn --data-dir DIR [--seeds 3] [--limit 12000] [--rates 0.25 1]

The start network of `examples/export_start.py` with twice its units is trained for 800 steps of AdamW. Then every width is doubled with fresh
units, and training goes on, on the same batches and schedule, with each of the rates. Validation loss after as many steps more, beside that
of the network which was not widened.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from examples.export_start import export
from pysurgeon.data import Dataset, load
from pysurgeon.graph import Model
from pysurgeon.graph import load as load_model
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import Widen, carry, operate
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings

BEFORE, EVERY, MORE = 800, 100, 400
SETTINGS = TrainSettings(Schedule(2e-3, 2000, warmup_steps=50), batch_size=128)


def doubled(model: Model, state: State, seed: int) -> tuple[Model, State]:
    """Every width twice as large."""
    for width in [w for w in Structure(model).widths if w.resizable]:
        done = operate(model, Widen(width.name, 2 * width.size, how="fresh", seed=seed))
        model, state = done.model, replace(state, moments=carry(done.edit, state.moments))
    return model, state


def measure(data: Dataset, name: str, seed: int, rates: list[float]) -> dict[str, list[float]]:
    """Validation losses by what was done."""
    with tempfile.TemporaryDirectory() as folder:
        export(name, Path(folder) / "start.onnx", seed=seed, scale=2)
        start = load_model(Path(folder) / "start.onnx")
    settings = replace(SETTINGS, seed=seed)
    trunk = LocalTrainer().train(start, data, settings, state=State(), steps=BEFORE, evaluate_every=0)
    wider = doubled(trunk.model, trunk.state, seed)
    branches = {"not widened": (trunk.model, trunk.state, 1.0)} | {f"rate {r:g}": (*wider, r) for r in rates}
    found = {}
    for what, (model, state, rate) in branches.items():
        result = LocalTrainer().train(
            model, data, replace(settings, new_units_rate=rate), state=state, steps=MORE, evaluate_every=EVERY
        )
        found[what] = [p.validation_loss for p in result.history]
        print(f"{name} seed {seed} {what:12s} {' '.join(f'{x:.4f}' for x in found[what])}", flush=True)
    return found


def main() -> None:
    """Print a line for every branch and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["cifar10", "svhn"])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=12000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0])
    arguments = parser.parse_args()
    for name in arguments.data:
        data = load(name, data_dir=arguments.data_dir, limit=arguments.limit)
        runs = [measure(data, name, seed, arguments.rates) for seed in range(arguments.seeds)]
        for what in runs[0]:
            means = [statistics.mean(run[what][k] for run in runs) for k in range(len(runs[0][what]))]
            print(f"{name} mean   {what:12s} {' '.join(f'{x:.4f}' for x in means)}", flush=True)


if __name__ == "__main__":
    main()
