"""Executors: how the branches of a race are run. Where a branch runs cannot change what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Executor(Protocol):
    """Runs jobs that do not depend on one another."""

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        """The results in the order of the jobs.

        An exception of a job is raised once all that had begun have ended; the others do not begin.
        """


class SerialExecutor:
    """One job after the other: the default, and the oracle of the others."""

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        """See `Executor`."""
        return [function(job) for job in jobs]


class ThreadExecutor:
    """Several jobs at once, for jobs that wait for a worker process.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        """See `Executor`."""
        if len(jobs) < 2 or self._workers < 2:
            return [function(job) for job in jobs]
        pool = ThreadPoolExecutor(self._workers)
        try:
            futures = [pool.submit(function, job) for job in jobs]
            return [future.result() for future in futures]
        except Exception:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            # An interrupt waits for nobody: the jobs under way end with their workers, which the caller closes.
            pool.shutdown(wait=False, cancel_futures=True)
