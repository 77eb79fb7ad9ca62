"""What operations cost a trained network before it is trained again.

    python -m benchmarks.trained --data cifar10 svhn --data-dir DIR --out FOLDER [--seeds 3] [--limit 12000] [--epochs 6]

An MLP, a CNN with a residual block and a small vision transformer are trained for every seed. Then, each from the trained network and
without any further training:

- every width is narrowed by a quarter and by half, one after another: units chosen and readers refitted by `Narrow`; the same units without the
  refit; those with the largest weights; random ones; the first ones;
- one layer is removed: the one whose removal predicts the least error, and the mean over all that can be removed;
- every layer that can be is factorized to half of its parameters: by `Factorize`, and by the truncated SVD of its weight.

Accuracy is that on the test split, which nothing is chosen by. Last, how the predicted errors compare with those measured on samples that
nothing was fitted to. Networks and figures are kept in FOLDER, and only what is missing is done.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import pysurgeon as ps
from pysurgeon import api
from pysurgeon.errors import Refused
from pysurgeon.evolution import calibrated, load_data
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.surgery import Calibration, Factorize, Narrow, Operation, RemoveLayer, apply_edit, operate
from pysurgeon.surgery.edits.edit import Edit
from pysurgeon.surgery.layers.weight_matrices import form_of, weight_matrices
from pysurgeon.surgery.operations.factorize import factored
from pysurgeon.surgery.operations.narrow import elimination_of, selection
from pysurgeon.training import evaluate
from pysurgeon.widths.axis_layout import units
from pysurgeon.widths.structure import Structure, Width

SHARES = (0.25, 0.5)
DRAWS = 3


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of any shape."""
        return x + self.inner(x)


class Attention(nn.Module):
    """Self-attention with separate projections."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, dim // heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, dim) to the same."""
        n, t, _ = x.shape
        q, k, v = (f(x).reshape(n, t, self.heads, self.size).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = torch.softmax(q @ k.transpose(-1, -2) / self.size**0.5, -1) @ v
        return self.out(mixed.transpose(1, 2).reshape(n, t, self.heads * self.size))


class Transformer(nn.Module):
    """Patches of 8 x 8, two blocks of 64 units with four heads, mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 64, 8, 8)
        self.position = nn.Parameter(torch.randn(1, 16, 64) * 0.02)
        self.blocks = nn.Sequential(
            *(
                Residual(nn.Sequential(nn.LayerNorm(64), inner))
                for _ in range(2)
                for inner in (Attention(64, 4), nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)))
            )
        )
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10) of images (N, 3, 32, 32)."""
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def mlp() -> nn.Module:
    """3072-256-128-64-10."""
    sizes = (3072, 256, 128, 64)
    inner = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *inner, nn.Linear(64, 10))


def cnn() -> nn.Module:
    """Five convolutions of 32 to 64 filters, two of them in a residual block, and two dense layers."""
    block = nn.Sequential(nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1))
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), Residual(block), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {"MLP": mlp, "CNN": cnn, "transformer": Transformer}


def exported(name: str, seed: int, path: Path) -> Model:
    """The network of this name as it is before any training."""
    torch.manual_seed(seed)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            NETWORKS[name]().eval(),
            (torch.zeros(2, 3, 32, 32),),
            path,
            dynamo=False,
            input_names=["input"],
            dynamic_axes={"input": {0: "N"}},
        )
    return ps.load(path)


def trained(name: str, settings: ps.EvolveSettings, path: Path) -> Model:
    """The network of this name after training, made now if the file is not there."""
    if not path.exists():
        start = exported(name, settings.seed, path.with_suffix(".start.onnx"))
        api.train(start, settings=settings, output=path, force=True)
    return ps.load(path)


def keep_largest(structure: Structure, width: Width, count: int, _: np.random.Generator) -> Array:
    """The units whose weights are the largest, over all tensors that write them."""
    score = np.zeros(width.size)
    for tensor, axis in width.writers:
        rows = units(structure.model.tensor(tensor), axis, structure.term(tensor, axis), width.dim)
        score += np.square(rows.astype(np.float64)).sum(0)
    return np.sort(np.argsort(score)[width.size - count :])


def keep_random(_: Structure, width: Width, count: int, rng: np.random.Generator) -> Array:
    """Any."""
    return np.sort(rng.choice(width.size, count, replace=False))


def keep_first(_: Structure, width: Width, count: int, __: np.random.Generator) -> Array:
    """The first ones."""
    return np.arange(count) + 0 * width.size


def cut(model: Model, share: float, choose: Callable[..., Array], seed: int = 0) -> Model:
    """Every width narrowed, and nobody makes up for it."""
    rng = np.random.default_rng(seed)
    for name in sites(model):
        structure = Structure(model)
        width = structure.width(name)
        kept = choose(structure, width, max(1, round(width.size * (1 - share))), rng)
        model = apply_edit(Edit(structure, tuple(selection(width, kept))))
    return model


def sites(model: Model) -> list[str]:
    """Widths that can be narrowed."""
    return [w.name for w in Structure(model).widths if w.resizable and w.size > 1]


def narrowed(
    model: Model, share: float, calibration: Calibration, pairs: list[tuple[str, float, float]]
) -> Iterator[Model]:
    """Every width narrowed by the operation; then the units that elimination keeps, without the refit."""
    plain = model
    for name in sites(model):
        structure = Structure(model)
        width = structure.width(name)
        operation = Narrow(name, max(1, round(width.size * (1 - share))))
        done = operate(model, operation, calibration)
        order = elimination_of(structure, width, calibration, most=np.inf).order
        kept = np.sort(order[width.size - operation.size :])
        note(pairs, done.record)
        model = done.model
        other = Structure(plain)
        plain = apply_edit(Edit(other, tuple(selection(other.width(name), kept))))
    yield model
    yield plain


def note(pairs: list[tuple[str, float, float]], record: Any) -> None:
    """Remember a predicted error and the one that was measured."""
    if record.site_error is not None:
        pairs.append((record.operation.partition(":")[0], record.predicted_error, record.site_error))


def removed(model: Model, calibration: Calibration, pairs: list[tuple[str, float, float]]) -> list[tuple[float, Model]]:
    """By predicted error, the model without one layer."""
    found = []
    for layer in Structure(model).layers:
        try:
            done = operate(model, RemoveLayer(layer.name), calibration)
        except Refused:
            continue
        note(pairs, done.record)
        found.append((done.record.predicted_error, done.model))
    return sorted(found, key=lambda x: x[0])


def factorized(model: Model, calibration: Calibration | None, pairs: list[tuple[str, float, float]]) -> Model:
    """Every layer that can be at half of its parameters; the plain SVD of the weight where there is no calibration."""
    for name in [x.name for x in Structure(model).layers]:
        structure = Structure(model)
        layer = structure.layer(name)
        try:
            form = form_of(structure, layer)
        except Refused:
            continue
        rank = form.rows * form.columns // (2 * (form.rows + form.columns))
        if rank < 1:
            continue
        if calibration is not None:
            operation: Operation = Factorize(name, rank)
            done = operate(model, operation, calibration)
            note(pairs, done.record)
            model = done.model
        else:
            u, s, vt = np.linalg.svd(weight_matrices(structure, layer, form), full_matrices=False)
            root = np.sqrt(s[:, None, :rank])
            model = apply_edit(
                factored(structure, layer, u[:, :, :rank] * root, vt[:, :rank] * root.transpose(0, 2, 1))
            )
    return model


def measure(name: str, settings: ps.EvolveSettings, folder: Path) -> dict[str, Any]:
    """All figures for one network and one seed."""
    path = folder / f"{settings.data}-{name}-{settings.seed}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    model = trained(name, settings, path.with_suffix(".onnx"))
    data = load_data(settings, model)
    calibration = calibrated(model, data, seed=settings.seed)

    def accuracy(other: Model) -> float:
        return float(evaluate(other, data, "test", threads=2).accuracy)

    pairs: list[tuple[str, float, float]] = []
    row: dict[str, Any] = {"data": settings.data, "network": name, "seed": settings.seed, "trained": accuracy(model)}
    for share in SHARES:
        ours, unfitted = (accuracy(m) for m in narrowed(model, share, calibration, pairs))
        row[f"{share:.0%}"] = {
            "Narrow": ours,
            "its units, no refit": unfitted,
            "largest weights": accuracy(cut(model, share, keep_largest)),
            "random": statistics.mean(accuracy(cut(model, share, keep_random, k)) for k in range(DRAWS)),
            "first": accuracy(cut(model, share, keep_first)),
        }
    without = [accuracy(m) for _, m in removed(model, calibration, pairs)]
    row["remove"] = {"least predicted": without[0], "mean": statistics.mean(without)} if without else {}
    row["factorize"] = {
        "Factorize": accuracy(factorized(model, calibration, pairs)),
        "SVD of the weight": accuracy(factorized(model, None, pairs)),
    }
    row["pairs"] = pairs
    path.write_text(json.dumps(row))
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Markdown: means and standard deviations over the seeds."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["network"]), []).append(row)
    for what in (*(f"{s:.0%}" for s in SHARES), "remove", "factorize"):
        columns = next((list(r[what]) for r in rows if r[what]), [])
        print(f"\n| {what} | trained | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
        for (data, network), found in groups.items():
            cells = [[r["trained"] for r in found], *([r[what][c] for r in found if c in r[what]] for c in columns)]
            print(f"| {network} on {data} | {' | '.join(_cell(c) for c in cells)} |")
    print()
    for kind in ("narrow", "remove", "factorize"):
        found = [(p, m) for r in rows for k, p, m in r["pairs"] if k == kind]
        within = sum(abs(p - m) <= 0.2 * m + 1e-4 for p, m in found)
        median = statistics.median(p / m for p, m in found if m > 0)
        print(
            f"{kind}: {len(found)} predicted errors, {within / len(found):.0%} within 20 % of the measured one, median ratio {median:.2f}"
        )


def _cell(values: list[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.1%}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1%}{spread}"


def main() -> None:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["cifar10", "svhn"])
    parser.add_argument("--data-dir", type=str, default=None)
    parser.add_argument("--limit", type=int, default=12000)
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    packages = ", ".join(f"{p} {version(p)}" for p in ("onnxruntime-training-cpu", "onnx", "numpy", "torch"))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {packages}", flush=True)
    rows = []
    for seed in range(arguments.seeds):
        for data in arguments.data:
            settings = ps.EvolveSettings(
                data=data, data_dir=arguments.data_dir, limit=arguments.limit, epochs=arguments.epochs, seed=seed
            )
            rows += [measure(name, settings, arguments.out) for name in arguments.networks]
            print(f"{data}, seed {seed}: done", flush=True)
    show(rows)


if __name__ == "__main__":
    main()
