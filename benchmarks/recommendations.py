"""How good the ranking of operations is: every candidate of a generation is trained to the end of its race.

    python -m benchmarks.recommendations digits --out FOLDER [--seeds 2 3]
    python -m benchmarks.recommendations svhn --epochs 10 --data-dir DIR --out FOLDER
    python -m benchmarks.recommendations cifar10 --limit 10000 --epochs 16 --data-dir DIR --out FOLDER

Starts are too small everywhere (*natural*) or in one place only (*planted*). In each of a few generations all operations that should gain and six of
the others are tried, every one of them is trained as long as a winner would be, and the best is carried on. Orders are compared by

- the mean rank correlation (Spearman) with the merit that the branches end with, less the price;
- how far the one ranked first falls short of the best, and how far the best of the first three does, in points of merit;
- how often the one ranked first is the best.

*Both* is the ranking of `recommend`; *units* is that without gradients, *gradients* that by nothing else; *larger* takes the largest network first.
Runs are kept in FOLDER and done only once. Nothing sees the test split before the end of a run.
"""

from __future__ import annotations

import argparse
import logging
import math
import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import pysurgeon as ps
from pysurgeon.evolution import Journal, Plan, SerialExecutor, Setup, Silent, Surgeon, begin, load_data
from pysurgeon.evolution.branch import Branch, Candidate
from pysurgeon.evolution.fitness import merit
from pysurgeon.evolution.race import Arena
from pysurgeon.evolution.strategies.proposals import Context, Events, recommendations
from pysurgeon.graph import Array
from pysurgeon.training import LocalTrainer
from pysurgeon.widths.structure import Structure

SHAPES = {"digits": (1, 8, 8), "svhn": (3, 32, 32), "cifar10": (3, 32, 32), "fashion-mnist": (1, 28, 28)}
# Of operations that are expected to lose, how many are drawn.
LOSING = 6


class Convolutional(nn.Module):
    """Two convolutions, each followed by pooling, and two dense layers."""

    def __init__(self, shape: tuple[int, int, int], first: int, second: int, units: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(second * (height // 4) * (width // 4), units)
        self.fc2 = nn.Linear(units, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10) of images (N, C, H, W)."""
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.conv2(x).relu())
        return self.fc2(self.fc1(x.flatten(1)).relu())


def dense(shape: tuple[int, int, int], *hidden: int) -> nn.Module:
    """Dense layers with ReLU between them."""
    sizes = (math.prod(shape), *hidden)
    inner = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *inner, nn.Linear(sizes[-1], 10))


# By data set and name; the planted ones name the layer that is too small.
Make = Callable[[tuple[int, int, int]], nn.Module]
NATURAL: dict[str, dict[str, Make]] = {
    "digits": {"dense": lambda s: dense(s, 12, 12), "conv": lambda s: Convolutional(s, 3, 3, 6)},
    "svhn": {"conv": lambda s: Convolutional(s, 4, 4, 8)},
    "cifar10": {"conv": lambda s: Convolutional(s, 4, 4, 8)},
    "fashion-mnist": {"dense": lambda s: dense(s, 6, 6, 6)},
}
PLANTED: dict[str, dict[str, Make]] = {
    "digits": {
        "dense 1": lambda s: dense(s, 2, 24, 24),
        "dense 2": lambda s: dense(s, 24, 2, 24),
        "dense 3": lambda s: dense(s, 24, 24, 2),
        "conv 1": lambda s: Convolutional(s, 1, 12, 24),
        "conv 2": lambda s: Convolutional(s, 8, 1, 24),
        "conv 3": lambda s: Convolutional(s, 8, 8, 2),
    },
    "svhn": {"conv 1": lambda s: Convolutional(s, 2, 12, 32)},
    "cifar10": {"conv 2": lambda s: Convolutional(s, 12, 2, 32), "dense 2": lambda s: dense(s, 48, 3, 48)},
    "fashion-mnist": {},
}


@dataclass(frozen=True)
class Tried:
    """A candidate at the end of its race.

    Attributes:
        gain: Merit less that of the parent, less the price of the growth.
        score: What `recommend` ranked it by.
        steeper: What it was expected to gain by its gradients.
        growing: Whether it was expected to gain at all, or brings new parameters.
        size: Logarithm of the growth.
    """

    gain: float
    score: float
    steeper: float
    growing: bool
    size: float


ORDERS: dict[str, Callable[[Tried], float]] = {
    "both": lambda t: t.score,
    "units": lambda t: t.score - t.steeper,
    "gradients": lambda t: t.steeper,
    "larger": lambda t: t.size,
}


def everything(parents: Sequence[Branch], generation: int, events: Events, context: Context) -> list[Candidate]:  # noqa: ARG001
    """All operations that should gain, and some that should not."""
    (parent,) = parents
    found = recommendations(Structure(parent.model), parent, "accuracy", context.settings.seed + generation, context)
    draw = np.random.default_rng([context.settings.seed, generation, 99])
    losing = [r for r in found if r.expected_gain <= 0 and "steeper" not in r.evidence]
    drawn = {id(losing[k]) for k in draw.permutation(len(losing))[:LOSING]}
    return [
        Candidate(
            "recommended",
            (str(r.operation),),
            1000 * generation + k,
            r.expected_gain,
            {str(r.operation): r.evidence | {"score": r.score}},
            parent=parent.id,
        )
        for k, r in enumerate(found)
        if r.expected_gain > 0 or "steeper" in r.evidence or id(r) in drawn
    ]


class Everyone:
    """A race without an end for anybody."""

    carried = 1

    def run(self, parents: Sequence[Branch], operated: Sequence[Branch], arena: Arena) -> list[Branch]:
        """See `Race`."""
        racing = arena.train([(b, arena.end) for b in (*parents, *operated)])
        return arena.fitness.selected(racing, max([arena.reference, *(b.accuracy for b in racing)]), 1)

    def steps(self, begin: int, end: int, branches: int) -> int:
        """See `Race`."""
        return (end - begin) * branches


def explored(name: str, make: Make, settings: ps.EvolveSettings, out: Path) -> list[list[Tried]]:
    """The generations of one run, made now if they are not there."""
    folder = out / f"{settings.data} {name} {settings.seed}"
    if not folder.exists():
        out.mkdir(parents=True, exist_ok=True)
        start = folder.with_suffix(".onnx")
        torch.manual_seed(settings.seed)
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        shape = SHAPES[settings.data]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                make(shape).eval(),
                (torch.zeros(2, *shape),),
                start,
                dynamo=False,
                input_names=["input"],
                dynamic_axes={"input": {0: "N"}},
            )
        begin(ps.load(start), settings, folder)
    journal = Journal.open(folder)
    data = load_data(settings, ps.load(journal.start))
    chance = Plan.of(replace(settings, strategy="random"), data).strategy
    rounds = tuple(replace(now, propose=everything, race=Everyone()) for now in chance.rounds)
    strategy = replace(chance, rounds=rounds)
    Surgeon(Setup(settings, data, LocalTrainer(), SerialExecutor(), Silent(), strategy), journal).run()
    return [_tried(journal.events, event, settings.price) for event in journal.events if event["event"] == "selected"]


def _tried(events: Events, selected: dict[str, Any], rate: float) -> list[Tried]:
    ended = {e["branch"]: e for e in events if e["event"] == "trained" and e["until"] == selected["until"]}
    branched = {e["branch"]: e for e in events if e["event"] == "branched"}
    raced = [b for b in selected["branches"] if ended.get(b, {}).get("loss") is not None]
    parent = ended[next(b for b in selected["branches"] if b not in branched or branched[b]["parent"] not in raced)]
    found = []
    for name in raced:
        branch = branched.get(name)
        if branch is None or branch["parent"] != parent["branch"] or name == parent["branch"]:
            continue
        (evidence,) = branch["evidence"].values()
        end = ended[name]
        sizes = [math.log(end[k] / max(1, parent[k])) for k in ("parameters", "macs")]
        gain = merit(end["accuracy"], end["loss"]) - merit(parent["accuracy"], parent["loss"])
        price = 100 * rate * sum(sizes) / 2
        headroom = 1.0 - _accuracy(events, parent["branch"], selected["until"])
        steeper = 0.1 * headroom * math.log1p(evidence.get("steeper", 0.0))
        growing = branch["expected_gain"] > 0 or "steeper" in evidence
        found.append(Tried(gain - price, evidence["score"], steeper, growing, sum(sizes) / 2))
    return found


def _accuracy(events: Events, branch: str, until: int) -> float:
    """Of a parent when its children were proposed."""
    before = [e for e in events if e["event"] == "trained" and e["branch"] == branch and e["until"] < until]
    return float(max(before, key=lambda e: int(e["until"]))["accuracy"])


def judged(generations: Sequence[Sequence[Tried]], order: Callable[[Tried], float]) -> tuple[float, float, float, int]:
    """Mean rank correlation, mean shortfall of the first and of the best of the first three, and how often the first is the best."""
    correlations, first, of_three, best = [], [], [], 0
    for tried in generations:
        gains, keys = np.array([t.gain for t in tried]), np.array([order(t) for t in tried])
        ranked = np.argsort(-keys, kind="stable")
        correlations.append(float(np.corrcoef(_ranks(gains), _ranks(keys))[0, 1]) if np.ptp(keys) > 0 else 0.0)
        first.append(gains.max() - gains[ranked[0]])
        of_three.append(gains.max() - gains[ranked[:3]].max())
        best += bool(gains[ranked[0]] == gains.max())
    return float(np.mean(correlations)), float(np.mean(first)), float(np.mean(of_three)), best


def _ranks(values: Array) -> Array:
    """With the mean rank for equals."""
    order = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(order[2])
    ranks: Array = (ends - (order[2] - 1) / 2)[order[1]]
    return ranks


def print_table(title: str, generations: Sequence[Sequence[Tried]]) -> None:
    """One line an order, and one of chance."""
    print(f"\n{title}: {len(generations)} generations, {sum(map(len, generations))} candidates")
    print("| order | rank correlation | first short by | best of three short by | first is the best |")
    print("|---|---|---|---|---|")
    for name, order in ORDERS.items():
        correlation, first, three, best = judged(generations, order)
        print(f"| {name} | {correlation:.2f} | {100 * first:.2f} | {100 * three:.2f} | {best} |")
    gains = [np.array([t.gain for t in tried]) for tried in generations]
    short = np.mean([g.max() - g.mean() for g in gains])
    draw = np.random.default_rng(0)
    three = np.mean([np.mean([g.max() - draw.choice(g, 3, replace=False).max() for _ in range(500)]) for g in gains])
    print(f"| by chance | 0 | {100 * short:.2f} | {100 * three:.2f} | {sum(1 / len(g) for g in gains):.1f} |")


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=list(SHAPES))
    parser.add_argument("--data-dir", type=str, default=None)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    jobs = [
        (kind, partial(explored, name, make), seed)
        for kind, starts in (("natural", NATURAL), ("planted", PLANTED))
        for name, make in starts[arguments.data].items()
        for seed in arguments.seeds
    ]
    settings = ps.EvolveSettings(
        arguments.data,
        data_dir=arguments.data_dir,
        limit=arguments.limit,
        epochs=arguments.epochs,
        batch_size=64 if arguments.data == "digits" else 128,
        generations=arguments.generations,
        workers=1,
    )
    print(
        f"{platform.machine()}, onnxruntime-training-cpu {version('onnxruntime-training-cpu')}, torch {torch.__version__}"
    )
    found: dict[str, list[list[Tried]]] = {"natural": [], "planted": []}
    for kind, run, seed in jobs:
        found[kind] += run(replace(settings, seed=seed), arguments.out)
        print(".", end="", flush=True)
    for kind, generations in found.items():
        whole = [g for g in generations if len(g) > LOSING]
        if whole:
            print_table(f"{arguments.data}, {kind}, all candidates", whole)
            print_table(f"{arguments.data}, {kind}, new parameters", [[t for t in g if t.growing] for g in whole])


if __name__ == "__main__":
    main()
