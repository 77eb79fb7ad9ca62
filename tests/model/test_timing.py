"""Timing models in turns, on a clock that is told what everything takes: nothing is timed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from checks import loaded

from pysurgeon.model.timing import BUSY, Timings, latency, timed, turns


class Machine:
    """A clock, and models that move it.

    Args:
        seed: Of all chance.
        noise: A pass is interrupted that often, for up to twenty times as long.
        layout: How much sessions of one model differ by where their memory happens to lie.
        drift: By how much the machine gets slower with every second.
        first: By how much longer what was opened first in a round takes.
        share: Of the processor that is left to this process.
    """

    def __init__(
        self,
        seed: int,
        *,
        noise: float = 0.0,
        layout: float = 0.0,
        drift: float = 0.0,
        first: float = 0.0,
        share: float = 1.0,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._noise, self._layout, self._drift, self._first, self._share = noise, layout, drift, first, share
        self._wall = self._processor = 0.0
        self.opened: list[float] = []

    def wall(self) -> float:
        return self._wall

    def processor(self) -> float:
        return self._processor

    def model(self, seconds: float) -> Callable[[], Callable[[], None]]:
        """One whose pass takes so long, undisturbed."""

        def opened() -> Callable[[], None]:
            mine = seconds * float(np.exp(self._layout * self._rng.standard_normal()))
            mine *= 1 + self._first * (len(self.opened) % 2 == 0)
            self.opened.append(seconds)

            def run() -> None:
                took = mine * (1 + self._drift * self._wall) * (1 + 0.02 * self._rng.exponential())
                if self._rng.random() < self._noise:
                    took *= self._rng.uniform(1, 20)
                self._processor += took
                self._wall += took / self._share

            return run

        return opened

    def timed(self, *seconds: float, limit: float = 100.0) -> Timings:
        return turns([self.model(s) for s in seconds], seconds=limit, clock=self)


UNQUIET = {
    "quiet": {},
    "interrupted": {"noise": 0.5},
    "nearly always interrupted": {"noise": 0.98},
    "luck of memory": {"layout": 0.2},
    "slower and slower": {"drift": 2.0},
    "who comes first is slow": {"first": 0.3},
    "busy": {"share": 0.3, "noise": 0.5},
}


@pytest.mark.parametrize("kind", UNQUIET)
def test_a_model_is_never_faster_than_itself(kind: str) -> None:
    for seed in range(40):
        found = Machine(seed, **UNQUIET[kind]).timed(0.004, 0.004)
        assert not found.ratio(1).decided
        assert found.ratio(1).low < 1.03
        assert found.ratio(1).high > 1 / 1.03


@pytest.mark.parametrize("kind", UNQUIET)
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_one_that_takes_twice_as_long_is_told(kind: str, factor: float) -> None:
    """Or it stays open, where hardly a pass is left alone. It is never told the wrong way."""
    told = {"slower" if factor > 1 else "faster"} | (
        {"open"} if kind in ("nearly always interrupted", "busy") else set()
    )
    for seed in range(10):
        ratio = Machine(seed, **UNQUIET[kind]).timed(0.004, 0.004 * factor).ratio(1)
        assert ratio.verdict in told
        assert ratio.low <= factor * 1.03
        assert ratio.high >= factor / 1.03


def test_what_differs_by_little_is_alike_on_a_quiet_machine() -> None:
    found = Machine(0).timed(0.004, 0.00401)
    assert found.ratio(1).verdict == "alike"
    assert len(found.rounds) == 12


def test_what_is_not_told_stays_open() -> None:
    found = Machine(0, layout=0.2).timed(0.004, 0.0041)
    assert found.ratio(1).verdict == "open"
    assert len(found.rounds) == 40


def test_few_rounds_decide_nothing() -> None:
    found = Machine(0).timed(1.0, 5.0, limit=0.1)
    assert len(found.rounds) == 3
    assert found.ratio(1).verdict == "open"
    assert found.ratio(1).low > 4


def test_the_limit_is_kept_but_for_the_round_under_way() -> None:
    machine = Machine(0, layout=0.2)
    machine.timed(0.2, 0.2, limit=20.0)
    assert 20.0 < machine.wall() < 20.0 + 2 * 2 * 3 * 0.2 * 2


@pytest.mark.parametrize(("share", "busy"), [(1.0, False), (0.9, False), (0.5, True)])
def test_a_busy_machine_is_noticed(share: float, busy: bool) -> None:
    found = Machine(0, share=share).timed(0.004, 0.004)
    assert (found.load > BUSY) == busy
    assert found.load == pytest.approx(1 / share)


def test_models_are_opened_anew_in_every_round_by_lot() -> None:
    machine = Machine(0, layout=0.2)
    found = machine.timed(0.004, 0.0041)
    assert len(machine.opened) == 2 * len(found.rounds)
    assert 10 < sum(s == 0.004 for s in machine.opened[::2]) < 30


def test_the_spread_is_that_of_the_rounds() -> None:
    found = Timings(tuple((k / 1000.0,) for k in range(1, 12)), 1.0)[0]
    assert (found.low, found.median, found.high) == pytest.approx((2.0, 6.0, 10.0))


def test_real_models_are_run() -> None:
    model = loaded("mlp_relu.legacy")
    found = timed([model, model], seconds=0.0)
    assert len(found.rounds) == 3
    assert min(min(r) for r in found.rounds) > 0
    assert latency(model, seconds=0.0) > 0
