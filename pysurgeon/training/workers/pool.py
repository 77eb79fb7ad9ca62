"""A Trainer in processes of its own: what ends the process costs one branch, not the run."""

from __future__ import annotations

import queue
import tempfile
import threading
import time
import weakref
from types import TracebackType

from pysurgeon.data import Dataset
from pysurgeon.errors import TrainingError
from pysurgeon.model import Model
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.training.protocol import Outcome, State, TrainResult, TrainSettings
from pysurgeon.training.protocol import Progress as Report
from pysurgeon.training.task.binding import fit_input
from pysurgeon.training.workers.main import CheckJob, Failed, Progress, Sloped, SlopeJob, Trained, TrainJob
from pysurgeon.training.workers.process import WorkerDied, WorkerProcess
from pysurgeon.training.workers.shared_arrays import Parcel

# A worker notices its deadline within a step or an evaluation; one that does not answer so long after it hangs.
GRACE_SECONDS = 60.0
_CHECK_SECONDS = 300.0


class WorkerTrainer:
    """Trains in worker processes; may be called from several threads, each call takes a free worker or waits for one.

    Use it as a context manager. Data sets are kept until it is closed. Workers start on entry or when they are first needed, import the engine once, and get a data
    set once; they end with the context, with the trainer, and with this process however it ends.

    Args:
        workers: How many calls can train at the same time.
        threads: Threads that numerical libraries may use in a worker; those of the engine are in the settings.
        grace: Seconds that a worker may take to answer after its deadline before it is ended.
        trainer: The engine that gives loss and gradients in them.
    """

    def __init__(
        self,
        workers: int = 1,
        threads: int = 1,
        *,
        grace: float = GRACE_SECONDS,
        trainer: TrainerName = DEFAULT_TRAINER,
    ) -> None:
        if workers < 1:
            message = f"{workers} workers were asked for; at least one is needed"
            raise TrainingError(message)
        self._threads, self._grace, self._trainer = threads, grace, trainer
        self._slots: queue.LifoQueue[_Slot] = queue.LifoQueue()
        slots = [_Slot(trainer) for _ in range(workers)]
        for slot in slots:
            self._slots.put(slot)
        self._placed: list[tuple[Dataset, Parcel]] = []
        self._lock = threading.Lock()
        self._pool = slots
        self._finalizer = weakref.finalize(self, _close, slots, self._placed)

    def __enter__(self) -> WorkerTrainer:  # noqa: PYI034  (Self needs Python 3.11)
        for slot in self._pool:
            slot.start(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers at once; calls that are under way come back as lost."""
        self._finalizer()

    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that run."""
        return tuple(pid for slot in self._pool for pid in slot.pids())

    def check(self, model: Model, data: Dataset, settings: TrainSettings | None = None) -> None:
        """Refuse a model that cannot be trained on this data, by name of the operator or shape that is in the way.

        Raises:
            TrainingError: The engine cannot train it.
            DataError: The data does not fit its inputs or outputs.
        """
        fit_input(model, data)
        self._looked(data, CheckJob(model, settings))

    def slope(self, model: Model, data: Dataset, settings: TrainSettings) -> float:
        """L1 norm of the gradient; see `pysurgeon.training.Trainer`.

        Raises:
            TrainingError: The engine cannot train the model.
            DataError: The data does not fit its inputs or outputs.
        """
        answer = self._looked(data, SlopeJob(model, settings))
        assert isinstance(answer, Sloped)
        return answer.slope

    def train(
        self,
        model: Model,
        data: Dataset,
        settings: TrainSettings,
        *,
        state: State,
        steps: int,
        evaluate_every: int,
        progress: Report | None = None,
        deadline: float | None = None,
    ) -> TrainResult:
        """Take optimizer steps; see `pysurgeon.training.Trainer`.

        A worker that dies or hangs gives `Outcome.LOST`, and the next call gets a new one.

        Raises:
            TrainingError: The engine cannot train the model.
            DataError: The data does not fit its inputs or outputs.
            UsageError: The batch size or the seed is too small, or the augmentation does not fit the data.
        """
        began = time.monotonic()
        job = TrainJob(model, settings, state, steps, evaluate_every, deadline, progress is not None)
        try:
            answer = self._call(data, job, progress, deadline)
        except WorkerDied as death:
            return _lost(model, state, began, str(death))
        if isinstance(answer, Failed):
            return _lost(model, state, began, f"the worker failed:\n{answer.trace}")
        assert isinstance(answer, Trained)
        return TrainResult(
            answer.outcome,
            model.with_tensors(answer.tensors) if answer.tensors else model,
            state if answer.state is None else answer.state,
            answer.history,
            answer.steps,
            answer.seconds,
            answer.message,
        )

    def _looked(self, data: Dataset, job: CheckJob | SlopeJob) -> object:
        """The answer to a job that trains nothing.

        Raises:
            SurgeonError: What was raised in the worker, or a TrainingError where it ended.
        """
        try:
            answer = self._asked(data, job)
        except WorkerDied:
            # What ended the worker may have come from outside; a model that ends it does so again.
            try:
                answer = self._asked(data, job)
            except WorkerDied as death:
                message = f"the trainer {self._trainer} cannot train the model: {death}"
                raise TrainingError(message) from death
        if isinstance(answer, Failed):
            message = f"the worker failed:\n{answer.trace}"
            raise TrainingError(message)
        return answer

    def _asked(self, data: Dataset, job: CheckJob | SlopeJob) -> object:
        return self._call(data, job, None, time.monotonic() + _CHECK_SECONDS)

    def _call(
        self,
        data: Dataset,
        job: CheckJob | SlopeJob | TrainJob,
        progress: Report | None,
        deadline: float | None,
    ) -> object:
        """The worker's answer to a job.

        Raises:
            WorkerDied: It ended, or had to be.
            SurgeonError: What was raised in the worker.
        """
        placed = self._place(data)
        slot = self._slots.get()
        done = False
        try:
            worker = slot.start(self._threads)
            worker.send(placed, job)
            while True:
                limit = None if deadline is None else max(0.0, deadline + self._grace - time.monotonic())
                answer = worker.receive(limit)
                if answer is None:
                    message = f"the worker process did not answer within {self._grace:g} s after its time was up"
                    raise WorkerDied(message)
                if not isinstance(answer, Progress):
                    done = True
                    break
                if progress is not None:
                    progress(answer.step, answer.loss, answer.accuracy)
        finally:
            if not done:
                slot.stop()  # interrupted half-way, its next message would be of this job
            self._slots.put(slot)
        if isinstance(answer, Failed) and answer.error is not None:
            raise answer.error
        return answer

    def _place(self, data: Dataset) -> Parcel:
        with self._lock:
            for known, placed in self._placed:
                if known is data:
                    return placed
            # Not in memory, which is for what is in use: the system may write a file out and read it again.
            placed = Parcel(data, tempfile.TemporaryFile(prefix="pysurgeon-data-"))  # noqa: SIM115  (close gives it back)
            self._placed.append((data, placed))
            return placed


class _Slot:
    """A place for one worker, which is started when needed and replaced when dead."""

    def __init__(self, trainer: TrainerName) -> None:
        self._trainer = trainer
        self._worker: WorkerProcess | None = None
        self._closed = False
        self._lock = threading.Lock()

    def start(self, threads: int) -> WorkerProcess:
        with self._lock:
            if self._closed:
                message = "the trainer is closed"
                raise TrainingError(message)
            if self._worker is not None and not self._worker.alive():
                self._worker.close()
                self._worker = None
            if self._worker is None:
                self._worker = WorkerProcess(threads, self._trainer)
            return self._worker

    def pids(self) -> tuple[int, ...]:
        with self._lock:
            return (self._worker.pid,) if self._worker is not None and self._worker.alive() else ()

    def stop(self) -> None:
        with self._lock:
            if self._worker is not None:
                self._worker.close()
                self._worker = None

    def close(self) -> None:
        self.stop()
        with self._lock:
            self._closed = True


def _close(slots: list[_Slot], placed: list[tuple[Dataset, Parcel]]) -> None:
    for slot in slots:
        slot.close()
    for _, parcel in placed:
        parcel.close()


def _lost(model: Model, state: State, began: float, message: str) -> TrainResult:
    return TrainResult(Outcome.LOST, model, state, (), 0, time.monotonic() - began, message)
