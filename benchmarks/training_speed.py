"""How long training takes beside torch, what two branches at once give, and whether memory stays flat.

    python -m benchmarks.training_speed epochs [--only NAME] [--threads T] [--rounds R] 2>/dev/null
    python -m benchmarks.training_speed trainers [--only NAME] [--threads T] [--rounds R] 2>/dev/null
    python -m benchmarks.training_speed cuda [--only NAME] [--rounds R] 2>/dev/null
    python -m benchmarks.training_speed branches [--seconds S]
    python -m benchmarks.training_speed memory [--branches N]

`epochs`: a step of torch (eager, fused AdamW), of the engine as its own API takes it (loss and gradients alone), of the engine as pysurgeon runs
it (the same), and of pysurgeon (with its batches, its optimizer and all that is around them), in turns on the same data and threads. It is the time of the processor, which does not count what
else goes on on the machine; on one thread and a quiet machine it is that of the clock. `trainers`: the same of torch and of pysurgeon on each of
its engines. `cuda`: the same on a GPU, by the clock. `branches`: steps a second of two workers on one thread each,
and of one worker on two threads. `memory`: resident memory of a worker that trains one branch after the other.
"""

from __future__ import annotations

import argparse
import io
import logging
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import torch
from torch import nn

from pysurgeon.data import Batches, Dataset, Split
from pysurgeon.errors import TrainingError
from pysurgeon.model import Model, from_proto
from pysurgeon.runtime import TrainerName, onnxruntime
from pysurgeon.training import (
    Device,
    LocalTrainer,
    Schedule,
    State,
    TrainSettings,
    WorkerTrainer,
    ensure_device,
    fit_input,
    training_graph,
)
from pysurgeon.training.engines.engine import make_engine
from pysurgeon.training.losses.making import make_loss

CLASSES, SIDE = 10, 32


class Residual(nn.Module):
    """The basic block of ResNet-18."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        same = stride == 1 and inside == outside
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Body and skip connection."""
        return torch.relu(self.body(x) + self.skip(x))


def mlp() -> nn.Module:
    """Three dense layers."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3072, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, CLASSES)
    )


def cnn() -> nn.Module:
    """Three convolutions and a dense layer."""
    layers: list[nn.Module] = []
    for inside, outside in ((3, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, CLASSES))


def vgg11() -> nn.Module:
    """VGG11 for images of 32 pixels, without normalization."""
    layers: list[nn.Module] = []
    inside = 3
    for outside in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        layers += [nn.MaxPool2d(2)] if not outside else [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU()]
        inside = outside or inside
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, CLASSES))


def resnet18() -> nn.Module:
    """ResNet-18 with the stem for images of 32 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    for inside, outside, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        layers += [Residual(inside, outside, stride), Residual(outside, outside, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mlp": (mlp, 128),
    "cnn": (cnn, 128),
    "vgg11": (vgg11, 64),
    "resnet18": (resnet18, 64),
}


def exported(module: nn.Module) -> Model:
    """As a user would export it, with batch normalization kept."""
    buffer = io.BytesIO()
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 3, SIDE, SIDE),),
            buffer,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=17,
        )
    return from_proto(onnx.load_model_from_string(buffer.getvalue()))


def images(count: int) -> Dataset:
    """Random bytes, and labels for them."""
    rng = np.random.default_rng(0)
    part = Split(rng.integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8), rng.integers(0, CLASSES, count))
    few = part.take(np.arange(64))
    return Dataset.build("random", train=part, validation=few, test=few, classes=tuple(map(str, range(CLASSES))))


def epochs(only: str, threads: int, rounds: int) -> None:
    """Milliseconds a step, medians over turns."""
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), medians of {rounds} turns: ms of the processor a step")
    print(
        f"{'network':10s} {'batch':>5s} {'torch':>8s} {'its API':>8s} {'session':>8s} {'pysurgeon':>10s}   to torch  to its API  to session"
    )
    for name, (make, batch) in NETWORKS.items():
        if only and name != only:
            continue
        torch.manual_seed(0)
        module = make()
        model, data = exported(module), images(8 * batch)
        steps = max(2, min(20, 2000 // batch // 4))
        turns = [
            _torch(module, data, batch),
            *(make(model, data, batch, threads) for make in (_api, _engine)),
            _ours(model, data, batch, threads, LocalTrainer("ort")),
        ]
        times: list[list[float]] = [[] for _ in turns]
        for turn in range(rounds + 1):
            for k, run in enumerate(turns):
                seconds = run(steps)
                if turn:  # the first one makes everything ready
                    times[k].append(seconds / steps * 1e3)
        a, b, c, d = (float(np.median(t)) for t in times)
        to = [float(np.median([z / x for x, z in zip(times[k], times[3], strict=True)])) for k in range(3)]
        print(
            f"{name:10s} {batch:5d} {a:8.1f} {b:8.1f} {c:8.1f} {d:10.1f}   {to[0]:8.2f}  {to[1]:10.2f}  {to[2]:10.2f}",
            flush=True,
        )


def trainers(only: str, threads: int, rounds: int, device: Device = "cpu") -> None:
    """Milliseconds a step on each engine that can compute there, medians over turns."""
    torch.set_num_threads(threads)
    engines: list[TrainerName] = [name for name in get_args(TrainerName) if _computes(name, device)]
    of = f"{threads} thread(s), ms of the processor" if device == "cpu" else f"{torch.cuda.get_device_name()}, ms"
    print(f"{of} a step, medians of {rounds} turns, torch {torch.__version__}, onnxruntime {onnxruntime().__version__}")
    columns = [f"on {name}" for name in engines]
    print(f"{'network':10s} {'batch':>5s} {'torch':>8s}", *(f"{c:>9s}" for c in columns), "  to torch:", *columns)
    for name, (make, batch) in NETWORKS.items():
        if only and name != only:
            continue
        torch.manual_seed(0)
        module = make()
        model, data = exported(module), images(8 * batch)
        steps = max(2, min(20, 2000 // batch // 4)) * (1 if device == "cpu" else 5)
        turns = [
            _torch(module, data, batch, device),
            *(_ours(model, data, batch, threads, LocalTrainer(engine), device) for engine in engines),
        ]
        found = np.array([[run(steps) / steps * 1e3 for run in turns] for _ in range(rounds + 1)])[1:]
        times = np.median(found, axis=0)
        to = np.median(found[:, 1:] / found[:, :1], axis=0)
        print(
            f"{name:10s} {batch:5d} {times[0]:8.1f}",
            *(f"{t:9.1f}" for t in times[1:]),
            "           ",
            *(f"{r:{len(c)}.2f}" for r, c in zip(to, columns, strict=True)),
            flush=True,
        )


def _computes(engine: TrainerName, device: Device) -> bool:
    try:
        ensure_device(device, engine)
    except TrainingError:
        return False
    return True


def _now(device: Device) -> float:
    """Of the processor, or of the clock when a GPU has done what it was given."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _torch(module: nn.Module, data: Dataset, batch: int, device: Device = "cpu") -> Callable[[int], float]:
    module.to(device).train()
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3, fused=True)
    x = torch.from_numpy(data.normalized(data.train.x)).to(device)
    y = torch.from_numpy(data.train.y.copy()).to(device)

    def run(steps: int) -> float:
        began = _now(device)
        for step in range(steps):
            rows = slice(step * batch % len(y), step * batch % len(y) + batch)
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
        return _now(device) - began

    return run


def _api(model: Model, data: Dataset, batch: int, threads: int) -> Callable[[int], float]:
    ort = onnxruntime()
    from onnxruntime.training import artifacts
    from onnxruntime.training.api import CheckpointState, Module

    view = training_graph(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory() as folder:
        artifacts.generate_artifacts(
            view.proto,
            requires_grad=list(view.trainable),
            frozen_params=list(view.statistics),
            loss=artifacts.LossType.CrossEntropyLoss,
            artifact_directory=folder,
        )
        state = CheckpointState.load_checkpoint(f"{folder}/checkpoint")
        engine = Module(f"{folder}/training_model.onnx", state, None, "cpu", options)
    x, y = Batches(data, batch, seed=0).batch(0)

    def run(steps: int) -> float:
        began = time.process_time()
        for _ in range(steps):
            engine.lazy_reset_grad()
            engine(x, y)
        return time.process_time() - began

    return run


def _engine(model: Model, data: Dataset, batch: int, threads: int) -> Callable[[int], float]:
    loss, fit = make_loss(model, data), fit_input(model, data)
    engine = make_engine("ort", training_graph(model, loss), loss, threads=threads)
    x, y = Batches(data, batch, seed=0).batch(0)
    feeds, targets = fit.feeds(x), loss.arrays(y)

    def run(steps: int) -> float:
        began = time.process_time()
        for _ in range(steps):
            engine.step(feeds, targets)
        return time.process_time() - began

    return run


def _ours(
    model: Model, data: Dataset, batch: int, threads: int, trainer: LocalTrainer, device: Device = "cpu"
) -> Callable[[int], float]:
    settings = TrainSettings(Schedule(1e-3, 10**6), batch_size=batch, threads=threads, device=device)

    def run(steps: int) -> float:
        # Between two calls of the progress, the start of the engine and the evaluation left out.
        times: list[tuple[float, int]] = []

        def progress(step: int, loss: float, accuracy: float | None = None) -> None:  # noqa: ARG001
            if accuracy is None:  # the last call is after the evaluation
                times.append((_now(device), step))

        trainer.progress_seconds = 0.0
        trainer.train(model, data, settings, state=State(), steps=steps + 2, evaluate_every=0, progress=progress)
        (first, a), (last, b) = times[0], times[-1]
        return (last - first) / (b - a) * steps

    return run


def branches(seconds: float) -> None:
    """Steps a second of two workers of one thread, of one of two, and of one of one."""
    data, model = images(1024), exported(cnn())
    rates: dict[tuple[int, int], list[float]] = {}
    for _ in range(3):
        for workers, threads in ((2, 1), (1, 2), (1, 1)):
            rates.setdefault((workers, threads), []).append(_rate(model, data, workers, threads, seconds))
    for (workers, threads), found in rates.items():
        print(
            f"{workers} worker(s) of {threads} thread(s): {np.median(found):6.1f} steps/s ({', '.join(f'{r:.1f}' for r in found)})"
        )
    ratio = np.median([a / b for a, b in zip(rates[2, 1], rates[1, 2], strict=True)])
    print(f"two branches on a thread each are {ratio:.2f} times as fast as one on two threads")


def _rate(model: Model, data: Dataset, workers: int, threads: int, seconds: float) -> float:
    settings = TrainSettings(Schedule(1e-3, 10**6), batch_size=128, threads=threads)
    counts: list[tuple[int, float]] = []
    with WorkerTrainer(workers, threads) as trainer:
        trainer.check(model, data)

        def train() -> None:
            end = time.monotonic() + seconds
            result = trainer.train(model, data, settings, state=State(), steps=10**6, evaluate_every=0, deadline=end)
            counts.append((result.steps, result.seconds))

        running = [threading.Thread(target=train) for _ in range(workers)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    return sum(steps / spent for steps, spent in counts)


def memory(count: int) -> None:
    """Resident memory of one worker after every branch, in MB."""
    data, model = images(512), exported(cnn())
    settings = TrainSettings(Schedule(1e-3, 10**6), batch_size=64)
    sizes = []
    with WorkerTrainer() as trainer:
        state: Any = State()
        for _ in range(count):
            trainer.train(model, data, settings, state=state, steps=10, evaluate_every=5)
            (pid,) = trainer.pids()
            sizes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6)
    print(" ".join(f"{s:.0f}" for s in sizes))
    print(f"after {count // 3} branches {sizes[count // 3 - 1]:.0f} MB, after {count} {sizes[-1]:.0f} MB")


def main() -> None:
    """Run one of the five."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["epochs", "trainers", "cuda", "branches", "memory"])
    parser.add_argument("--only", default="", choices=["", *NETWORKS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--branches", type=int, default=30)
    arguments = parser.parse_args()
    if arguments.what == "epochs":
        epochs(arguments.only, arguments.threads, arguments.rounds)
    elif arguments.what == "trainers":
        trainers(arguments.only, arguments.threads, arguments.rounds)
    elif arguments.what == "cuda":
        trainers(arguments.only, arguments.threads, arguments.rounds, "cuda")
    elif arguments.what == "branches":
        branches(arguments.seconds)
    else:
        memory(arguments.branches)


if __name__ == "__main__":
    main()
