"""Training in worker processes: the same result, and what ends a process costs one branch."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import needs_ort

from pysurgeon.errors import DataError, ModelError, TrainingError
from pysurgeon.graph import external_data
from pysurgeon.training import LocalTrainer, Outcome, Schedule, State, TrainSettings, WorkerTrainer
from pysurgeon.training.workers.process import WorkerProcess
from pysurgeon.training.workers.shared_arrays import Parcel, parcel, receive

from .zoo import exported, images, mlp, network

SETTINGS = TrainSettings(Schedule(5e-3, 60), batch_size=32)
DATA = images()
ENDLESS = 10**7


@pytest.fixture(scope="module")
def trainer() -> Iterator[WorkerTrainer]:
    with WorkerTrainer(workers=2) as workers:
        yield workers


def test_a_worker_gives_the_bits_of_this_process(trainer: WorkerTrainer) -> None:
    model = network("cnn", dynamo=True)
    here, there = (
        t.train(model, DATA, SETTINGS, state=State(), steps=12, evaluate_every=5) for t in (LocalTrainer(), trainer)
    )
    assert there.outcome is Outcome.DONE
    for name in model.tensors():
        np.testing.assert_array_equal(here.model.tensor(name), there.model.tensor(name))
    for moment, arrays in here.state.moments.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, there.state.moments[moment][name])
    figures = [
        [(p.step, p.train_loss, p.validation_loss, p.validation_accuracy) for p in r.history] for r in (here, there)
    ]
    assert figures[0] == figures[1]


def test_calls_from_several_threads(trainer: WorkerTrainer) -> None:
    models = [exported(mlp(seed=seed), 3, 8, 8) for seed in range(4)]

    def train(k: int) -> np.ndarray:  # type: ignore[type-arg]
        result = trainer.train(models[k], DATA, SETTINGS, state=State(), steps=8, evaluate_every=8)
        assert result.outcome is Outcome.DONE
        return result.model.tensor("1.weight")

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train, range(4)))
    for k in range(4):
        alone = LocalTrainer().train(models[k], DATA, SETTINGS, state=State(), steps=8, evaluate_every=8)
        np.testing.assert_array_equal(together[k], alone.model.tensor("1.weight"))


def test_progress_is_forwarded(trainer: WorkerTrainer) -> None:
    seen: list[tuple[int, float]] = []

    def progress(step: int, loss: float, accuracy: float | None) -> None:
        seen.append((step, loss))
        if len(seen) == 3:
            raise KeyboardInterrupt  # however long that takes on a busy machine

    with pytest.raises(KeyboardInterrupt):
        trainer.train(
            network("mlp"),
            DATA,
            SETTINGS,
            state=State(),
            steps=ENDLESS,
            evaluate_every=ENDLESS,
            progress=progress,
            deadline=time.monotonic() + 60,
        )
    assert sorted({step for step, _ in seen}) == [step for step, _ in seen]
    assert all(step > 0 and loss > 0 for step, loss in seen)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGFPE])
def test_a_worker_that_is_killed_is_a_lost_branch_and_the_next_job_works(
    trainer: WorkerTrainer, number: signal.Signals
) -> None:
    model, start = network("mlp"), State(step=2)

    def kill(step: int, loss: float, accuracy: float | None) -> None:
        for process in trainer.pids():
            os.kill(process, number)

    result = trainer.train(model, DATA, SETTINGS, state=start, steps=ENDLESS, evaluate_every=ENDLESS, progress=kill)
    assert result.outcome is Outcome.LOST
    assert number.name in result.message
    assert (result.history, result.steps) == ((), 0)
    assert result.model is model
    assert result.state is start
    if number is not signal.SIGKILL:
        assert "_onnxruntime.py" in result.message or "local.py" in result.message  # the last words of the crash
    after = trainer.train(model, DATA, SETTINGS, state=State(), steps=3, evaluate_every=3)
    assert after.outcome is Outcome.DONE


def busy_worker(trainer: WorkerTrainer) -> tuple[int, ...]:
    """A worker that has taken a job, so that imports are behind it."""
    trainer.check(network("mlp"), DATA)
    return trainer.pids()


def test_a_worker_that_hangs_is_ended() -> None:
    with WorkerTrainer(grace=0.5) as hasty:
        (pid,) = busy_worker(hasty)

        def stop(step: int, loss: float, accuracy: float | None) -> None:
            os.kill(pid, signal.SIGSTOP)

        result = hasty.train(
            network("mlp"),
            DATA,
            SETTINGS,
            state=State(),
            steps=ENDLESS,
            evaluate_every=ENDLESS,
            progress=stop,
            deadline=time.monotonic() + 2,
        )
        assert result.outcome is Outcome.LOST
        assert "did not answer" in result.message
        assert gone(pid)


def test_check_refuses_by_name(trainer: WorkerTrainer) -> None:
    trainer.check(network("cnn"), DATA)
    with pytest.raises(DataError, match=r"\(2, 8, 8\)"):
        trainer.check(network("cnn"), images((2, 8, 8)))


def test_errors_of_a_worker_are_raised_here(trainer: WorkerTrainer) -> None:
    model = network("mlp")
    wrong = State(moments={"m": {"1.weight": np.zeros(2, np.float32)}})
    with pytest.raises(TrainingError, match="must resize its moments"):
        trainer.train(model, DATA, SETTINGS, state=wrong, steps=1, evaluate_every=1)


def test_an_exception_in_a_callback_frees_the_worker(trainer: WorkerTrainer) -> None:
    model = network("mlp")

    def interrupt(step: int, loss: float, accuracy: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(model, DATA, SETTINGS, state=State(), steps=ENDLESS, evaluate_every=ENDLESS, progress=interrupt)
    assert trainer.train(model, DATA, SETTINGS, state=State(), steps=2, evaluate_every=2).outcome is Outcome.DONE


def test_another_data_set_replaces_the_first(trainer: WorkerTrainer) -> None:
    model = network("mlp")
    other = images(seed=5)
    for data in (DATA, other, DATA):
        here, there = (
            t.train(model, data, SETTINGS, state=State(), steps=3, evaluate_every=3) for t in (LocalTrainer(), trainer)
        )
        assert here.history[-1].validation_loss == there.history[-1].validation_loss


def test_closing_ends_the_workers_and_the_calls_under_way() -> None:
    workers = WorkerTrainer()
    pids = busy_worker(workers)
    timer = threading.Timer(0.5, workers.close)
    timer.start()
    result = workers.train(network("mlp"), DATA, SETTINGS, state=State(), steps=ENDLESS, evaluate_every=ENDLESS)
    timer.join()
    assert result.outcome is Outcome.LOST
    assert all(gone(pid) for pid in pids)
    with pytest.raises(TrainingError, match="closed"):
        workers.train(network("mlp"), DATA, SETTINGS, state=State(), steps=1, evaluate_every=1)


# The script has no `if __name__ == "__main__"`: a worker must not run it again.
SCRIPT = """
import os, sys, time
import numpy as np
from pysurgeon.data import Dataset, Split
from pysurgeon.training.workers.process import WorkerProcess
part = Split(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))
data = Dataset.build("d", train=part, validation=part, test=part, classes=("a", "b"))
worker = WorkerProcess(1)
print(worker.pid, flush=True)
time.sleep(600)
"""


def test_workers_do_not_outlive_a_caller_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, str(script)]
    caller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    with caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        assert not gone(pid, seconds=0.1)
        caller.kill()
    assert gone(pid)


def gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process ends in time; one that nobody has waited for yet counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_arrays_travel_beside_the_socket_and_arrive_read_only() -> None:
    ours, theirs = Pipe()
    with ours, theirs, parcel((DATA, network("mlp"), "last")) as sent:
        sent.send(ours)
        assert theirs.poll(10)
        data, model, last = receive(theirs)
        ours.close()
        with pytest.raises(EOFError):
            receive(theirs)
    assert last == "last"
    np.testing.assert_array_equal(data.train.x, DATA.train.x)
    np.testing.assert_array_equal(data.test.y, DATA.test.y)
    assert not data.train.x.flags.writeable
    for name, array in network("mlp").tensors().items():
        np.testing.assert_array_equal(model.tensor(name), array)


def test_what_goes_through_the_socket_is_small() -> None:
    # 64 x 64 floats and more, and images.
    assert sum(a.nbytes for a in network("mlp").tensors().values()) + DATA.train.x.nbytes > 50_000
    pickled = pickle.dumps((DATA, network("mlp")), protocol=5, buffer_callback=lambda _: None)
    assert len(pickled) < 10_000


def test_models_that_no_message_holds_train_in_a_worker(trainer: WorkerTrainer, monkeypatch: Any) -> None:
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", 4096)
    model = network("mlp")
    with pytest.raises(ModelError, match="2 GB"):
        model.to_bytes()
    for train in (LocalTrainer(), trainer):
        result = train.train(model, DATA, SETTINGS, state=State(), steps=2, evaluate_every=1)
        assert result.outcome is Outcome.DONE
        assert result.history[-1].validation_loss < result.history[0].validation_loss


@needs_ort
def test_what_is_not_trained_must_fit_into_a_message(monkeypatch: Any) -> None:
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", 4)
    frozen = replace(SETTINGS, statistics="frozen")  # which then are constants
    with pytest.raises(TrainingError, match="what is not trained of the model"):
        LocalTrainer().train(network("cnn", dynamo=True), DATA, frozen, state=State(), steps=1, evaluate_every=0)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_worker_that_is_killed_while_it_looks_at_a_model_costs_one_more_try(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    send, killed = WorkerProcess.send, []

    def sent_and_killed(process: WorkerProcess, data: Parcel, job: object) -> None:
        send(process, data, job)
        if len(killed) < times:
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)

    monkeypatch.setattr(WorkerProcess, "send", sent_and_killed)
    model = network("mlp")
    with WorkerTrainer() as workers:
        if times == 2:
            # What ends two workers is taken for the model's doing.
            with pytest.raises(TrainingError, match="ended by SIGKILL"):
                workers.slope(model, DATA, SETTINGS)
        else:
            assert workers.slope(model, DATA, SETTINGS) == LocalTrainer().slope(model, DATA, SETTINGS)
            workers.check(model, DATA)
    assert len(set(killed)) == times
