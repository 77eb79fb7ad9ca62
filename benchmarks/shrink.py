"""What half and 30 % of the operations cost a trained network, beside Torch-Pruning.

    python -m benchmarks.shrink --data-dir DIR --out FOLDER [--seeds 1] [--epochs 6] [--recover 1] [--networks VGG ResNet-20 ViT]

A VGG with batch normalization, a ResNet-20 and a small vision transformer are trained on SVHN with torch. Then, each from the same trained weights,
down to 0.5 and 0.3 of the multiply-accumulate operations:

- *shrink*: all widths by their cost curves, readers refitted; in one cut (`stages=1`) and in several with fresh curves between them;
- *uniform*: every width to the same share of its size, with the same refit: the control;
- *magnitude* and *Taylor*: Torch-Pruning, global ranking, in steps of 1.6 % of the units, gradients taken anew at each.

Accuracy is that on the test part, before any further training and after so many epochs of it, with labels, AdamW and the same batches for all. Figures
are kept in FOLDER, and only what is missing is measured. Wants the dependency group `peers`.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import platform
import statistics
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import pysurgeon as ps
from benchmarks.trained import Attention, Transformer
from pysurgeon import data as sets
from pysurgeon.data import Batches, Dataset
from pysurgeon.diagnosis.cut import uniform
from pysurgeon.evolution import calibrated
from pysurgeon.evolution.shrink import cut_to, recovered
from pysurgeon.model import Model
from pysurgeon.model.costs import Costs, costs
from pysurgeon.training import evaluate

GOALS = (0.5, 0.3)
STAGES = (1, 2, 4)
BATCH, RATE = 64, 2e-3
RECOVERY_RATE = 5e-4


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def vgg() -> nn.Module:
    """Six convolutions of 16 to 64 filters with batch normalization, three poolings, and the mean over the image."""
    layers: list[nn.Module] = []
    for i, a, b in ((3, 16, 16), (16, 32, 32), (32, 64, 64)):
        layers += [_conv(i, a), _conv(a, b), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        second = _conv(outputs, outputs)[:2]
        self.inner = nn.Sequential(_conv(inputs, outputs, 3, stride), second)
        self.shortcut = nn.Identity() if inputs == outputs else _conv(inputs, outputs, 1, stride)[:2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of any shape."""
        return (self.inner(x) + self.shortcut(x)).relu()


def resnet() -> nn.Module:
    """Half of ResNet-20 (He et al., 2016): three stages of three blocks with 8, 16 and 32 channels."""
    blocks: list[nn.Module] = []
    for inputs, outputs, stride in ((8, 8, 1), (8, 16, 2), (16, 32, 2)):
        blocks += [Block(inputs, outputs, stride), Block(outputs, outputs, 1), Block(outputs, outputs, 1)]
    return nn.Sequential(_conv(3, 8), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"VGG": vgg, "ResNet-20": resnet, "ViT": Transformer}


def batches(data: Dataset, steps: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches that the program itself would train on."""
    source = Batches(data, BATCH, seed=seed)
    for step in range(steps):
        x, y = source.batch(step)
        yield torch.from_numpy(np.asarray(x)), torch.from_numpy(y)


def fit(network: nn.Module, data: Dataset, epochs: float, rate: float, seed: int) -> nn.Module:
    """The network after some epochs of AdamW with a cosine schedule."""
    steps = round(epochs * Batches(data, BATCH, seed=seed).steps_per_epoch)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    network.train()
    for x, y in batches(data, steps, seed):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def accuracy_of(network: nn.Module, data: Dataset) -> float:
    """On the test part."""
    network.eval()
    with torch.no_grad():
        right = [
            (network(torch.from_numpy(np.asarray(x))).argmax(1).numpy() == y)
            for x, y in data.evaluation_batches("test", 256)
        ]
    return float(np.concatenate(right).mean())


def exported(network: nn.Module, path: Path) -> Model:
    """The network as a file, with its batch normalization left as it is."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, 32, 32),),
            path,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["input"],
            dynamic_axes={"input": {0: "N"}},
        )
    return ps.load(path)


def trained(name: str, data: Dataset, epochs: float, seed: int, folder: Path) -> nn.Module:
    """The network of this name after training, trained now if the file is not there."""
    torch.manual_seed(seed)
    network, path = NETWORKS[name](), folder / f"{name}-{seed}.pt"
    if not path.exists():
        torch.save(fit(network, data, epochs, RATE, seed).state_dict(), path)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def macs(size: Costs) -> float:
    """What is saved."""
    return float(size.macs)


def ours(model: Model, data: Dataset, share: float, seed: int) -> Iterator[tuple[str, Model, float]]:
    """By name, what pysurgeon makes of a model, and the error that it expected."""
    for stages in STAGES:
        done = cut_to(model, calibrated(model, data, seed=seed), macs, share * costs(model).macs, stages=stages)
        yield f"shrink, {stages} cut{'s' if stages > 1 else ''}", done.model, done.error
    calibration = calibrated(model, data, seed=seed)
    done = cut_to(model, calibration, macs, share * costs(model).macs, stages=1, plan=uniform)
    yield "uniform", done.model, done.error


def peers(network: nn.Module, data: Dataset, share: float) -> Iterator[tuple[str, nn.Module]]:
    """By name, what Torch-Pruning makes of a network: in small steps, until it has so few operations."""
    import torch_pruning as tp

    example = torch.zeros(1, 3, 32, 32)
    most = share * tp.utils.count_ops_and_params(network, example)[0]
    for what in ("magnitude", "Taylor"):
        pruned = copy.deepcopy(network)
        heads = [m for m in pruned.modules() if isinstance(m, Attention)]
        options: dict[str, Any] = {}
        if isinstance(pruned, Transformer):
            options["num_heads"] = {f: a.heads for a in heads for f in (a.q, a.k, a.v)}
            options["unwrapped_parameters"] = [(pruned.position, 2)]
        taylor = what == "Taylor"
        importance = tp.importance.TaylorImportance() if taylor else tp.importance.GroupMagnitudeImportance(p=2)
        last = [m for m in pruned.modules() if isinstance(m, nn.Linear)][-1]
        pruner = tp.pruner.BasePruner(
            *(pruned, example, importance),
            global_pruning=True,
            pruning_ratio=0.95,
            iterative_steps=_STEPS,
            ignored_layers=[last],
            **options,
        )
        for _ in range(_STEPS):
            if tp.utils.count_ops_and_params(pruned, example)[0] <= most:
                break
            if taylor:
                pruned.zero_grad()
                for x, y in batches(data, 4, 0):
                    functional.cross_entropy(pruned(x), y).backward()
            pruner.step()
            for attention in heads:
                attention.size = attention.q.out_features // attention.heads
        yield what, pruned


_STEPS = 60


def measure(name: str, data: Dataset, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All figures for one network and one seed."""
    path = options.out / f"{name}-{seed}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    network = trained(name, data, options.epochs, seed, options.out)
    start = exported(network, path.with_suffix(".onnx"))
    row: dict[str, Any] = {"network": name, "seed": seed, "trained": accuracy_of(network, data)}
    settings = ps.EvolveSettings(
        data=data.name,
        epochs=options.recover,
        lr=RECOVERY_RATE,
        batch_size=BATCH,
        seed=seed,
        workers=1,
        trainer="torch",
    )
    for share in GOALS:
        rows = row[f"{share:.0%}"] = {}
        for how, small, error in ours(start, data, share, seed):
            figures = {"macs": costs(small).macs / costs(start).macs, "predicted": error}
            figures["before"] = evaluate(small, data, "test").accuracy
            figures["after"] = evaluate(recovered(small, data, settings)[0], data, "test").accuracy
            rows[how] = figures
            print(name, seed, share, how, figures, flush=True)
        try:
            for how, pruned in peers(network, data, share):
                size = costs(exported(pruned, path.with_suffix(".peer.onnx"))).macs / costs(start).macs
                figures = {"macs": size, "before": accuracy_of(pruned, data)}
                fit(pruned, data, options.recover, RECOVERY_RATE, seed)
                figures["after"] = accuracy_of(pruned, data)
                rows[how] = figures
                print(name, seed, share, how, figures, flush=True)
        except (RuntimeError, ValueError, ImportError, AttributeError, IndexError) as error:
            print(f"Torch-Pruning does not take {name}: {error}", flush=True)
    path.write_text(json.dumps(row))
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Markdown: means over the seeds."""
    for share in (f"{s:.0%}" for s in GOALS):
        print(
            f"\n| {share} of the operations | trained | how | operations left | before | after |\n|---|---|---|---|---|---|"
        )
        for name in dict.fromkeys(r["network"] for r in rows):
            found = [r for r in rows if r["network"] == name]
            start = statistics.mean(r["trained"] for r in found)
            for how in dict.fromkeys(h for r in found for h in r[share]):
                cells = [
                    statistics.mean(r[share][how][k] for r in found if how in r[share])
                    for k in ("macs", "before", "after")
                ]
                print(f"| {name} | {start:.1%} | {how} | {' | '.join(f'{c:.1%}' for c in cells)} |")


def main() -> None:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=str, default=None)
    parser.add_argument("--limit", type=int, default=12000)
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--recover", type=float, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "torch-pruning", "onnx", "numpy"))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {packages}", flush=True)
    data = sets.load("svhn", data_dir=options.data_dir, limit=options.limit, normalize="standard")
    show([measure(name, data, seed, options) for seed in range(options.seeds) for name in options.networks])


if __name__ == "__main__":
    main()
