"""How long models take, beside one another.

A model that is timed alone says what the machine did at that moment. So models take turns, and what is compared are the times of one round.
In a round every model is opened anew, in an order drawn by lot, and its time is the least of some passes: what disturbs a pass only makes it
longer. Of two models that are as fast as each other, either is then equally likely to be the slower one of a round, whatever the machine does
meanwhile, where their memory happens to lie, and whoever comes first. So signs alone decide, and the interval of a ratio is one of order
statistics, which supposes nothing about the noise.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.model import Model
from pysurgeon.model.session import Session, taken

Verdict = Literal["faster", "slower", "alike", "open"]
Pass = Callable[[], object]

# After so many rounds the question may be settled. Looking more often would find a difference by chance more often.
_LOOKS = (12, 18, 27, 40)
# How often, at one look, an interval misses the ratio. With 12 rounds it takes all of them to tell the faster one.
_MISSES = 0.0005
# Ratios that are nearer to one than that are of no use to anybody.
_ALIKE = math.log(1.03)
# What a model is not decided on, but told by.
_FEWEST = 3
# Passes in a row, of which the first find what the others have left in the caches; and turns in a round, as far as there is time.
_PASSES, _TURNS, _ROUND_SECONDS = 3, 10, 0.02
# From here on, wall time over processor time, other processes are in the way.
BUSY = 1.2

# Two threads that time at once would time each other.
_one_at_a_time = threading.Lock()


class Clock(Protocol):
    """What times are read from, in seconds."""

    def wall(self) -> float:
        """Of the clock on the wall."""

    def processor(self) -> float:
        """That this thread was given."""


class SystemClock:
    """The clocks of the machine."""

    def wall(self) -> float:
        """See `Clock`."""
        return time.perf_counter()

    def processor(self) -> float:
        """See `Clock`."""
        return time.thread_time()


@dataclass(frozen=True)
class Timing:
    """What a forward pass of a model takes, in milliseconds.

    Attributes:
        median: Over the rounds.
        low: One round in ten is below.
        high: One round in ten is above.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """How many times as long one model takes as another one.

    Attributes:
        median: Over the rounds.
        low: Lower end of its confidence interval; of the rounds where they are too few for one.
        high: Upper end.
        verdict: What that says of the one: `faster` or `slower` where the interval leaves no doubt, `alike` where it is within 3 %
            of one, `open` where it tells neither.
    """

    median: float
    low: float
    high: float
    verdict: Verdict

    @property
    def decided(self) -> bool:
        """Whether one of the two is faster."""
        return self.verdict in ("faster", "slower")


@dataclass(frozen=True)
class Timings:
    """Models that took turns.

    Attributes:
        rounds: Seconds of a forward pass, by round and model.
        load: Wall time over the processor time of the passes; 1 on a machine that does nothing else.
    """

    rounds: tuple[tuple[float, ...], ...]
    load: float

    def __getitem__(self, model: int) -> Timing:
        low, median, high = np.quantile([r[model] for r in self.rounds], (0.1, 0.5, 0.9)) * 1e3
        return Timing(float(median), float(low), float(high))

    def ratio(self, model: int, to: int = 0) -> Ratio:
        """Of the times of a model to those of another one, in the same rounds."""
        logs = sorted(math.log(r[model] / r[to]) for r in self.rounds)
        skipped = _skipped(len(logs))
        low, high = (logs[0], logs[-1]) if skipped is None else (logs[skipped], logs[-1 - skipped])
        verdict: Verdict = "open"
        if skipped is not None:
            if -_ALIKE <= low <= high <= _ALIKE:
                verdict = "alike"
            elif high < 0:
                verdict = "faster"
            elif low > 0:
                verdict = "slower"
        return Ratio(math.exp(float(np.median(logs))), math.exp(low), math.exp(high), verdict)


def timed(
    models: Sequence[Model], *, batch: int = 1, threads: int = 1, seconds: float = 10.0, clock: Clock | None = None
) -> Timings:
    """Time forward passes of models on random input, in turns, until it is told which are faster than the first one.

    Args:
        models: As they are; open sizes are those of `taken`.
        batch: Samples in a pass.
        threads: Threads inside an operator.
        seconds: Begin no further round after them, whatever is still open; there are at least three.
        clock: That of the machine if `None`.

    Raises:
        ModelError: onnxruntime cannot run a model.
    """
    return turns([_opener(m, batch, threads) for m in models], seconds=seconds, clock=clock or SystemClock())


def turns(models: Sequence[Callable[[], Pass]], *, seconds: float, clock: Clock) -> Timings:
    """What `timed` does, with anything that can be opened and then run again and again."""
    order = np.random.default_rng(0)
    rounds: list[tuple[float, ...]] = []
    spent = [0.0, 0.0]
    with _one_at_a_time:
        begin = clock.wall()
        while True:
            rounds.append(_round(models, order.permutation(len(models)).tolist(), clock, spent))
            found = Timings(tuple(rounds), spent[0] / spent[1] if spent[1] > 0 else 1.0)
            if len(rounds) == _LOOKS[-1] or (len(rounds) in _LOOKS and _settled(found, len(models))):
                return found
            if clock.wall() - begin > seconds and len(rounds) >= _FEWEST:
                return found


def _settled(found: Timings, models: int) -> bool:
    return all(found.ratio(k).verdict != "open" for k in range(1, models))


def _round(
    models: Sequence[Callable[[], Pass]], order: Sequence[int], clock: Clock, spent: list[float]
) -> tuple[float, ...]:
    """The shortest pass of every model; adds wall and processor time of all passes to what was spent."""
    passes = {k: models[k]() for k in order}
    best = [math.inf] * len(models)
    begin = clock.wall()
    for _ in range(_TURNS):
        for k in order:
            for _ in range(_PASSES):
                wall, processor = clock.wall(), clock.processor()
                passes[k]()
                taken_now = clock.wall() - wall
                spent[0] += taken_now
                spent[1] += clock.processor() - processor
                best[k] = min(best[k], taken_now)
        if clock.wall() - begin > _ROUND_SECONDS * len(models):
            break
    return tuple(best)


def _skipped(rounds: int) -> int | None:
    """How many rounds at either end are outside of the interval; `None` where there are too few for one.

    As many are below the median as coins show heads.
    """
    tail, skipped = 0.0, None
    for k in range(rounds // 2):
        tail += math.comb(rounds, k) / 2**rounds
        if 2 * tail > _MISSES:
            break
        skipped = k
    return skipped


def _opener(model: Model, batch: int, threads: int) -> Callable[[], Pass]:
    feeds = random_feeds(model, batch=batch, dimensions=taken(model))

    def opened() -> Pass:
        session = Session(model, threads=threads)
        return lambda: session.run(feeds)

    return opened


def latency(model: Model, *, threads: int = 1, seconds: float = 2.0) -> float:
    """The median time of a forward pass of one sample, in milliseconds, where nothing is compared; see `timed`."""
    return timed([model], threads=threads, seconds=seconds)[0].median
