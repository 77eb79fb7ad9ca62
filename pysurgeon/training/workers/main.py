"""What runs in a worker process: it waits for jobs on a socket and trains. Nothing of the calling program is imported."""

from __future__ import annotations

import faulthandler
import importlib
import os
import threading
import traceback
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection

from pysurgeon.data import Dataset
from pysurgeon.errors import SurgeonError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.runtime import TrainerName, onnxruntime
from pysurgeon.training.local import LocalTrainer
from pysurgeon.training.protocol import Outcome, Point, State, TrainSettings
from pysurgeon.training.workers.shared_arrays import parcel, receive


@dataclass(frozen=True)
class CheckJob:
    """See `Trainer.check`; the data is what was sent last."""

    model: Model
    settings: TrainSettings | None = None


@dataclass(frozen=True)
class TrainJob:
    """See `Trainer.train`; the data is what was sent last. The deadline is of the clock that all processes share."""

    model: Model
    settings: TrainSettings
    state: State
    steps: int
    evaluate_every: int
    deadline: float | None
    wants_progress: bool


@dataclass(frozen=True)
class SlopeJob:
    """See `Trainer.slope`; the data is what was sent last."""

    model: Model
    settings: TrainSettings


@dataclass(frozen=True)
class Progress:
    """See `pysurgeon.training.protocol.Progress`."""

    step: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Trained:
    """A result without the graph, which the caller has: `tensors` holds what was learnt, nothing if nothing was."""

    outcome: Outcome
    tensors: dict[str, Array]
    state: State | None
    history: tuple[Point, ...]
    steps: int
    seconds: float
    message: str


@dataclass(frozen=True)
class Sloped:
    """The L1 norm of a gradient."""

    slope: float


@dataclass(frozen=True)
class Failed:
    """An exception: one of pysurgeon's own, or the trace of another one."""

    error: SurgeonError | None
    trace: str = ""


@dataclass(frozen=True)
class Checked:
    """The model can be trained."""


def serve(descriptor: int, name: TrainerName) -> None:
    """Take jobs from a socket until it is closed.

    Args:
        descriptor: Of the socket. Standard input is the lifeline: its end means that the caller is gone.
        name: The engine.
    """
    threading.Thread(target=_end_with_caller, daemon=True).start()
    faulthandler.enable()
    warnings.simplefilter("ignore")
    connection = Connection(descriptor)
    _import_engine(name)
    trainer = LocalTrainer(name)
    data: Dataset | None = None
    while True:
        try:
            job = receive(connection)
        except EOFError:
            return
        if isinstance(job, Dataset):
            data = job
            continue
        assert data is not None
        answer: Checked | Sloped | Trained | Failed
        try:
            answer = _do(connection, trainer, job, data)
        except SurgeonError as error:
            answer = Failed(error)
        except Exception:  # noqa: BLE001  (the caller decides; this process goes on)
            answer = Failed(None, traceback.format_exc())
        with parcel(answer) as packed:
            packed.send(connection)


def _do(
    connection: Connection, trainer: LocalTrainer, job: CheckJob | SlopeJob | TrainJob, data: Dataset
) -> Checked | Sloped | Trained:
    model = job.model
    if isinstance(job, CheckJob):
        trainer.check(model, data, job.settings)
        return Checked()
    if isinstance(job, SlopeJob):
        return Sloped(trainer.slope(model, data, job.settings))

    def progress(step: int, loss: float, accuracy: float | None = None, /) -> None:
        connection.send(Progress(step, loss, accuracy))

    result = trainer.train(
        model,
        data,
        job.settings,
        state=job.state,
        steps=job.steps,
        evaluate_every=job.evaluate_every,
        progress=progress if job.wants_progress else None,
        deadline=job.deadline,
    )
    learnt = result.model is not model
    names = (*model.trainable(), *model.statistics()) if learnt else ()
    return Trained(
        result.outcome,
        {name: result.model.tensor(name) for name in names},
        result.state if learnt else None,
        result.history,
        result.steps,
        result.seconds,
        result.message,
    )


def _import_engine(name: TrainerName) -> None:
    """Before the first job arrives."""
    import onnx  # noqa: F401

    onnxruntime()
    # Where it is missing, the first job says so.
    if name == "torch" and find_spec("torch") is not None:
        importlib.import_module("torch")


def _end_with_caller() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)
