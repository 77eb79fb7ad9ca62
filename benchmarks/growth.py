"""Does a network that has grown train as well as one that was born at that size?

    python -m benchmarks.growth --data-dir DIR --out FOLDER [--networks CNN residual MLP transformer] [--data svhn] [--factors 2 4 8]
                                [--at 0.05 0.25 0.5] [--seeds 3] [--optimizer adamw] [--what widened inserted cut] [--ablations]

A small network is trained for a share of the schedule, then operated on, then trained to the end of the same schedule. Beside it: the network
*born* at the size that comes out, and the *start alone*, each for as many steps. Test accuracy, mean and standard deviation over the seeds;
start, batches and new weights all differ by the seed. Selection sees nothing: there is none.

- *widened*: every width to its size in the network that was born a factor wider.
- *inserted*: layers into a network that was born a factor wider; *deeper* is the network that was born that deep, *born* the same without them.
- *cut*: a network born twice as wide, every width halved, one after another; born is the network of the halved widths.

With `--ablations`, also what the optimizer did before: *no ages* corrects the moments of new units, and warms them up, as if they were as old
as the trunk. Every figure is kept in FOLDER, and only what is missing is measured. Compute is in multiply-accumulate operations, 3 for a
parameter's use in a step.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import pysurgeon as ps
from benchmarks.trained import Attention, Residual
from examples.export_start import Start
from pysurgeon.data import Dataset
from pysurgeon.evolution import calibrated, load_data
from pysurgeon.evolution.plan import Plan
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.surgery import InsertLayer, Narrow, Operation, Widen, carry, operate
from pysurgeon.surgery.edits.apply import AGE
from pysurgeon.training import LocalTrainer, State, evaluate
from pysurgeon.widths.structure import Structure

Shape = tuple[int, int, int]

# Epochs, and what of the data is used, so that a run is minutes on one core.
DATA: dict[str, dict[str, Any]] = {
    "svhn": {"epochs": 10},
    "cifar10": {"epochs": 20, "limit": 10_000, "augment": "flip-crop"},
    "fashion-mnist": {"epochs": 6, "limit": 12_000},
}
SHAPES: dict[str, Shape] = {"svhn": (3, 32, 32), "cifar10": (3, 32, 32), "fashion-mnist": (1, 28, 28)}


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class CNN(Start):
    """4 and 4 filters, 8 units; deeper by a convolution behind the second and a dense layer behind the third."""

    def __init__(self, shape: Shape, scale: int, *, deeper: bool = False) -> None:
        super().__init__(shape, 4 * scale, 8 * scale)
        self.deep_conv = nn.Conv2d(4 * scale, 4 * scale, 3, padding=1) if deeper else None
        self.deep_fc = nn.Linear(8 * scale, 8 * scale) if deeper else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10)."""
        x = self.conv2(self.pool(self.conv1(x).relu())).relu()
        x = self.pool(x if self.deep_conv is None else self.deep_conv(x).relu())
        x = self.fc1(x.flatten(1)).relu()
        return self.fc2(x if self.deep_fc is None else self.deep_fc(x).relu())


def residual(shape: Shape, scale: int, *, deeper: bool = False) -> nn.Module:
    """Batch normalization everywhere, two residual blocks of 4 and 8 filters; deeper by a convolution behind the first block."""
    a, b = 4 * scale, 8 * scale

    def block(n: int) -> nn.Sequential:
        return nn.Sequential(Residual(nn.Sequential(_conv(n, n), nn.ReLU(), _conv(n, n))), nn.ReLU())

    deep = [nn.Conv2d(a, a, 3, 1, 1), nn.ReLU()] if deeper else []
    return nn.Sequential(
        *(_conv(shape[0], a), nn.ReLU(), nn.MaxPool2d(2), block(a), *deep, _conv(a, b, 2), nn.ReLU(), block(b)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(b, 10)),
    )


def mlp(shape: Shape, scale: int, *, deeper: bool = False) -> nn.Module:
    """Two hidden layers of 8 units; deeper by a third."""
    n = 8 * scale
    deep = [nn.Linear(n, n), nn.ReLU()] if deeper else []
    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(shape)), n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), *deep, nn.Linear(n, 10)
    )


class Transformer(nn.Module):
    """Sixteen patches, two blocks of 8 units with two heads, mean over the tokens; deeper by a dense layer behind the first of a block."""

    def __init__(self, shape: Shape, scale: int, *, deeper: bool = False) -> None:
        super().__init__()
        d, patch = 8 * scale, shape[1] // 4
        self.patch = nn.Conv2d(shape[0], d, patch, patch)
        self.position = nn.Parameter(torch.randn(1, 16, d) * 0.02)

        def dense() -> nn.Sequential:
            deep = [nn.Linear(2 * d, 2 * d), nn.GELU()] if deeper else []
            return nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), *deep, nn.Linear(2 * d, d))

        inner = (part for _ in range(2) for part in (Attention(d, 2), dense()))
        self.blocks = nn.Sequential(*(Residual(nn.Sequential(nn.LayerNorm(d), part)) for part in inner))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10)."""
        return self.head(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2) + self.position)).mean(1))


@dataclass(frozen=True)
class Network:
    """A network that can be made at any width.

    Attributes:
        make: Of the shape of a sample and a factor for all widths.
        deepened: Names of the layers behind which the deeper one has another, as they are exported.
    """

    make: Callable[..., nn.Module]
    deepened: tuple[str, ...]


NETWORKS = {
    "CNN": Network(CNN, ("conv2", "fc1")),
    "residual": Network(residual, ("3.0.inner.2.0",)),
    "MLP": Network(mlp, ("3",)),
    "transformer": Network(Transformer, ("blocks.1.inner.1.0", "blocks.3.inner.1.0")),
}


def born(network: str, data: str, seed: int, scale: int = 1, *, deeper: bool = False) -> Model:
    """A network before any training, exported with its batch normalization."""
    torch.manual_seed(seed)
    shape = SHAPES[data]
    module = NETWORKS[network].make(shape, scale, deeper=deeper)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "start.onnx"
        torch.onnx.export(
            module,
            (torch.zeros(2, *shape),),
            str(path),
            dynamo=False,
            opset_version=17,
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
        return ps.load(path)


def resizings(model: Model, like: Model, seed: int) -> Iterator[Operation]:
    """Every width to the size that it has in another network of the same layers."""
    for width in Structure(like).widths:
        now = Structure(model).width(width.name).size
        if now < width.size:
            yield Widen(width.name, width.size, seed=seed)
        elif now > width.size:
            yield Narrow(width.name, width.size)


def insertions(network: str, seed: int) -> Iterator[Operation]:
    """The layers that the deeper network has."""
    for layer in NETWORKS[network].deepened:
        yield InsertLayer(layer, seed=seed)


@dataclass(frozen=True)
class Job:
    """One network that is trained to the end.

    Attributes:
        network: Key of `NETWORKS`.
        data: Key of `DATA`.
        seed: Of the start, the batches and new weights.
        optimizer: By which it is trained.
        what: `alone`, `born`, `deeper` (born that deep), `widened`, `inserted` or `cut`.
        factor: Of the widths: of the network that is born, or by which one is widened; a network that is cut is born at twice that, one
            with new layers at that.
        at: Share of the steps before the operation.
        ages: Whether the optimizer knows how old an element is.
    """

    network: str
    data: str
    seed: int
    optimizer: str
    what: str
    factor: int = 1
    at: float = 0.0
    ages: bool = True

    @property
    def key(self) -> str:
        """Name of its file."""
        where = f"-at{self.at:g}" if self.at else ""
        ages = "" if self.ages else "-no-ages"
        return f"{self.data}-{self.network}-{self.optimizer}-{self.what}{self.factor}{where}{ages}-{self.seed}"


RATES = {"adamw": 2e-3, "sgd": 5e-2, "nesterov": 5e-2}


def operated(job: Job, model: Model, state: State, data: Dataset) -> tuple[Model, State]:
    """What the job does in the middle of the training."""
    if job.what == "inserted":
        planned = insertions(job.network, job.seed)
    else:
        planned = resizings(model, born(job.network, job.data, job.seed, job.factor), job.seed)
    for operation in list(planned):
        done = operate(model, operation, calibrated(model, data, seed=job.seed))
        model, state = done.model, replace(state, moments=carry(done.edit, state.moments))
    if not job.ages:
        old = {name: np.array(float(state.step), np.float32) for name in model.trainable()}
        state = replace(state, moments={**state.moments, AGE: old})
    return model, state


def measure(job: Job, data_dir: str | None) -> dict[str, Any]:
    """Train a network as the job says; figures of its end."""
    settings = ps.EvolveSettings(
        job.data,
        data_dir=data_dir,
        seed=job.seed,
        optimizer=job.optimizer,  # type: ignore[arg-type]
        lr=RATES[job.optimizer],
        **DATA[job.data],
    )
    scale = {"alone": 1, "widened": 1, "cut": 2 * job.factor}.get(job.what, job.factor)
    model = born(job.network, job.data, job.seed, scale, deeper=job.what == "deeper")
    data, trainer = load_data(settings, model), LocalTrainer()
    training = Plan.of(settings, data).training
    total, state, macs = training.schedule.total_steps, State(), 0
    until = max(1, round(job.at * total)) if job.at else total
    for last in (until,) if until == total else (until, total):
        steps = last - state.step
        macs += 3 * costs(model).macs * steps * settings.batch_size
        result = trainer.train(model, data, training, state=state, steps=steps, evaluate_every=0)
        model, state = result.model, result.state
        if last < total:
            model, state = operated(job, model, state, data)
    return {
        "test_accuracy": evaluate(model, data, "test").accuracy,
        "validation_loss": result.history[-1].validation_loss if result.history else float("nan"),
        "outcome": result.outcome.name,
        "parameters": costs(model).parameters,
        "macs": costs(model).macs,
        "training_macs": macs,
        "steps": total,
    }


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """All that the command line asks for."""
    ways = (True, False) if arguments.ablations else (True,)
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for data in arguments.data:
            for network in arguments.networks:
                base = Job(network, data, seed, arguments.optimizer, "alone")
                yield base
                if "widened" in arguments.what:
                    for factor in arguments.factors:
                        yield replace(base, what="born", factor=factor)
                        for at in arguments.at:
                            yield from (replace(base, what="widened", factor=factor, at=at, ages=w) for w in ways)
                if "inserted" in arguments.what:
                    for factor in arguments.factors:
                        yield replace(base, what="born", factor=factor)
                        yield replace(base, what="deeper", factor=factor)
                        for at in arguments.at:
                            yield from (replace(base, what="inserted", factor=factor, at=at, ages=w) for w in ways)
                if "cut" in arguments.what:
                    for factor in arguments.factors:
                        yield replace(base, what="born", factor=factor)
                        yield from (replace(base, what="cut", factor=factor, at=at) for at in arguments.at)


def show(found: dict[Job, dict[str, Any]]) -> None:
    """Markdown: means and standard deviations over the seeds, in points of test accuracy."""
    print(
        "\n| data, network, optimizer | what | test accuracy | seeds | parameters | MACs of the training |\n|---|---|---|---|---|---|"
    )
    groups: dict[Job, list[dict[str, Any]]] = {}
    for job, row in found.items():
        groups.setdefault(replace(job, seed=0), []).append(row)
    for job, rows in sorted(groups.items(), key=lambda g: g[0].key):
        values = [100 * r["test_accuracy"] for r in rows]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        what = job.what if job.what == "alone" else f"{job.what} x{job.factor}"
        what += f" at {100 * job.at:g} %" if job.at else ""
        what += "" if job.ages else ", no ages"
        mean = f"{statistics.mean(values):.1f}{spread} %"
        print(
            f"| {job.data}, {job.network}, {job.optimizer} | {what} | {mean} | {len(rows)} | {rows[0]['parameters']:,} | "
            f"{rows[0]['training_macs']:.2g} |"
        )


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=["svhn"])
    parser.add_argument("--data-dir", type=str, default=None)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--factors", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--at", nargs="+", type=float, default=[0.05, 0.25, 0.5])
    parser.add_argument("--what", nargs="+", choices=["widened", "inserted", "cut"], default=["widened", "inserted"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--optimizer", choices=list(RATES), default="adamw")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--show", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: dict[Job, dict[str, Any]] = {}
    for job in dict.fromkeys(jobs(arguments)):
        path = arguments.out / f"{job.key}.json"
        if not path.exists():
            if arguments.show:
                continue
            path.write_text(json.dumps(measure(job, arguments.data_dir)))
        found[job] = json.loads(path.read_text())
        if not arguments.show:
            print(f"{job.key}: {100 * found[job]['test_accuracy']:.1f} %", flush=True)
    show(found)


if __name__ == "__main__":
    main()
