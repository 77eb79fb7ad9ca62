"""A process that judges graphs, started anew when it has ended."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator
from multiprocessing.connection import Connection

from benchmarks.graphs.checking import Verdict, judged

SECONDS = 900.0  # for one graph, other work beside it
MEMORY = 6 << 30


def run(seed: int, numbers: range, most: int) -> Iterator[Verdict]:
    """Judge graphs in a process of its own; where that ends or hangs, in the next one."""
    context = multiprocessing.get_context("spawn")
    process = pipe = None
    for number in numbers:
        if process is None or pipe is None:
            pipe, other = context.Pipe()
            process = context.Process(target=serve, args=(other, seed, most), daemon=False)
            process.start()
            other.close()
        pipe.send(number)
        try:
            verdict = pipe.recv() if pipe.poll(SECONDS) else Verdict(number, faults=[("hangs", f"{SECONDS:g} s")])
        except (EOFError, OSError):
            process.join()
            verdict = Verdict(number, faults=[("the process ends", f"exit status {process.exitcode}")])
        if any(kind in ("hangs", "the process ends") for kind, _ in verdict.faults):
            process.kill()
            process = None
        yield verdict
    if process is not None and pipe is not None:
        pipe.close()
        process.join()


def serve(pipe: Connection, seed: int, most: int) -> None:
    """Answer numbers with verdicts until nobody asks any more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        pipe.send(judged(seed, number, most))
