"""The caller's end of a worker process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Pipe
from typing import IO, Any

from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.training.workers.shared_arrays import Parcel, parcel, receive

# Python code rather than a file or multiprocessing's spawn: the caller's main module must not be run again, so that scripts
# without a guard work.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from pysurgeon.training.workers.main import serve; serve(int(sys.argv[1]), sys.argv[3])"
)
_TAIL_BYTES = 4000
_TAIL_LINES = 12


class WorkerDied(Exception):  # noqa: N818  (an event, not a defect)
    """The process ended by itself; the message says by which signal and with which last words."""


class WorkerProcess:
    """A running worker.

    Attributes:
        connection: Where jobs go and answers come from.

    Args:
        threads: Threads that numerical libraries may use in it.
        trainer: The engine that it trains with.
    """

    def __init__(self, threads: int, trainer: TrainerName = DEFAULT_TRAINER) -> None:
        self.connection, theirs = Pipe(duplex=True)
        self._log: IO[bytes] = tempfile.TemporaryFile(prefix="pysurgeon-log-")  # noqa: SIM115  (close gives it back)
        self._data: Parcel | None = None
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
        with theirs:
            # A session of its own keeps the terminal's interrupt away: the caller decides what it means.
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path), trainer],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, data: Parcel, job: object) -> None:
        """Hand over a job, and the data first if it is not what the worker has.

        Raises:
            WorkerDied: The process has ended.
        """
        try:
            if self._data is not data:
                data.send(self.connection)
                self._data = data
            with parcel(job) as packed:
                packed.send(self.connection)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._died() from error

    def receive(self, timeout: float | None) -> Any:
        """Wait for an answer, `None` if there is none within `timeout` seconds.

        Raises:
            WorkerDied: The process has ended.
        """
        try:
            return receive(self.connection) if self.connection.poll(timeout) else None
        except (EOFError, ConnectionResetError) as error:
            raise self._died() from error

    def close(self) -> None:
        """End the process at once and give everything back. May be called from any thread, and more than once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()

    def _died(self) -> WorkerDied:
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            how = f"ended by {name}"
            if name == "SIGKILL":
                how += " (from outside; often because memory ran out)"
        else:
            how = f"ended with exit status {code}"
        tail = self._tail()
        return WorkerDied(f"the worker process {how}" + (f"; its last words:\n{tail}" if tail else ""))

    def _tail(self) -> str:
        if self._log.closed:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _TAIL_BYTES))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        # The list of loaded extension modules that Python ends a crash report with says nothing about the crash.
        return "\n".join([line for line in lines if line and not line.startswith("Extension modules:")][-_TAIL_LINES:])
