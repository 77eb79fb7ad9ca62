"""Evolved against trained alone, on a start network that is too small, over several seeds.

    python -m benchmarks.evolve svhn --data-dir DIR --out FOLDER
    python -m benchmarks.evolve cifar10 --limit 10000 --augment flip-crop --data-dir DIR --out FOLDER

For every seed: the start (two convolutions of 4 filters, a dense layer of 8) is exported anew, evolved by recommendation
(`bic`), by chance (`random`) and by the schedule and score of Schiessler et al. (`paper`), trained alone for as many steps as the trunk took (a), and for as many as all branches of the `bic`
run took together (b). Selection never sees the test split. Everything is kept in FOLDER and done only once.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pysurgeon as ps
from pysurgeon import api
from pysurgeon.evolution import EvolveResult, Journal, read

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--data-dir", type=str, default=None)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--augment", default="none")
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(arguments.seeds):
        settings = ps.EvolveSettings(
            data=arguments.data,
            data_dir=arguments.data_dir,
            limit=arguments.limit,
            augment=arguments.augment,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            generations=arguments.generations,
            seed=seed,
        )
        rows.append(measure(settings, arguments.out / f"seed{seed}"))
        print_table(rows, settings)


def measure(settings: ps.EvolveSettings, folder: Path) -> dict[str, Any]:
    """All five ways for one seed."""
    folder.mkdir(exist_ok=True)
    start = folder / "start.onnx"
    if not start.exists():
        script = ROOT / "examples" / "export_start.py"
        subprocess.run([sys.executable, script, settings.data, start, "--seed", str(settings.seed)], check=True)
    model = ps.load(start)
    bic = evolved(model, settings, folder / "bic")
    chance = evolved(model, replace(settings, strategy="random"), folder / "random")
    paper = evolved(model, replace(settings, strategy="paper"), folder / "paper")
    total = replace(settings, epochs=None, steps=bic.steps.all_branches, workers=1)
    alone = trained(model, total, folder / "alone.json")
    return {"seed": settings.seed, "bic": bic, "random": chance, "paper": paper, "long": alone}


def evolved(model: ps.Model, settings: ps.EvolveSettings, folder: Path) -> EvolveResult:
    """The result of a run; finished or begun now if there is none."""
    if folder.exists():
        return read(Journal.open(folder)) or api.resume(folder)
    return api.evolve(model, settings=settings, run=folder)


def trained(model: ps.Model, settings: ps.EvolveSettings, path: Path) -> dict[str, Any]:
    """The start trained alone."""
    if not path.exists():
        outcome = api.train(model, settings=settings)
        path.write_text(json.dumps({"steps": outcome.steps, "test_accuracy": outcome.test_accuracy}))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def print_table(rows: list[dict[str, Any]], settings: ps.EvolveSettings) -> None:
    """Markdown, with what a reader needs to repeat it."""
    packages = ", ".join(f"{p} {version(p)}" for p in ("onnxruntime-training-cpu", "onnx", "onnx-ir", "numpy"))
    print(f"\n{platform.processor() or platform.machine()}, Python {platform.python_version()}, {packages}")
    print(json.dumps({k: v for k, v in asdict(settings).items() if k not in ("data_dir", "seed")}))
    print(
        "| seed | start alone (a) | as many steps as all branches (b) | by chance | by the paper | evolved | parameters | steps |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        bic = row["bic"]
        alone = bic.alone.test_accuracy if bic.alone else float("nan")
        others = (
            f"{r.result.test_accuracy:.1%} ({r.result.parameters:,}; {r.steps.all_branches:,} steps)"
            for r in (row["random"], row["paper"])
        )
        print(
            f"| {row['seed']} | {alone:.1%} | {row['long']['test_accuracy']:.1%} | {' | '.join(others)} | "
            f"{bic.result.test_accuracy:.1%} | {bic.start.parameters:,} -> {bic.result.parameters:,} | "
            f"{bic.steps.trunk:,} / {bic.steps.all_branches:,} |"
        )
    if len(rows) > 1:
        columns = (
            [r["bic"].alone.test_accuracy for r in rows],
            [r["long"]["test_accuracy"] for r in rows],
            *([r[way].result.test_accuracy for r in rows] for way in ("random", "paper", "bic")),
        )
        cells = (f"{statistics.mean(c):.1%} ± {statistics.stdev(c):.1%}" for c in columns)
        print(f"| mean ± sd | {' | '.join(cells)} | | |", flush=True)


if __name__ == "__main__":
    main()
