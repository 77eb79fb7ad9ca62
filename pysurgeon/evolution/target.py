"""What a network is to be shrunk to, and how long it takes where that is the question: measured here, or by a command of the user's own."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from pysurgeon.diagnosis import cut as planning
from pysurgeon.errors import Refused, UsageError
from pysurgeon.model import Model, save
from pysurgeon.model.costs import Costs
from pysurgeon.model.timing import Ratio, Timing, timed
from pysurgeon.surgery.size_costs import SizeCosts
from pysurgeon.widths.structure import Structure

Quantity = Literal["macs", "params", "latency"]

_TARGET = re.compile(r"(macs|params|latency)=([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)(x?)")
# Seconds for a look at a shape on the way, and how many shapes are looked at.
_SECONDS, _LOOKS = 4.0, 6
# The smallest share of the operations that a search for a latency goes to.
_LEAST = 0.02


@dataclass(frozen=True)
class Target:
    """How far to shrink.

    Attributes:
        quantity: Multiply-accumulate operations of a sample, parameters, or the time of a sample in milliseconds.
        value: What it may be afterwards: a number, or a share of what it is.
        relative: Whether it is a share.
    """

    quantity: Quantity
    value: float
    relative: bool

    @staticmethod
    def parse(text: str) -> Target:
        """A target as it is written: `macs=0.5x`, `latency=0.5x`, `params=30000`.

        Raises:
            UsageError: It is not written so, or no smaller than what there is.
        """
        found = _TARGET.fullmatch(text.strip().lower())
        if found is None or float(found[2]) <= 0 or (found[3] and float(found[2]) >= 1):
            message = (
                f"the goal {text!r} cannot be read; write macs, params or latency, and what it may be: a share below one such as "
                "macs=0.5x, or a number such as params=30000 (latency in milliseconds)"
            )
            raise UsageError(message)
        return Target(cast(Quantity, found[1]), float(found[2]), bool(found[3]))

    def __str__(self) -> str:
        return f"{self.quantity}={self.value:g}{'x' * self.relative}"

    def measure(self, size: Costs) -> float:
        """What is to be saved; of a latency, the operations stand for it."""
        return float(size.parameters if self.quantity == "params" else size.macs)

    def most(self, now: float) -> float:
        """What it may be.

        Args:
            now: What it is.

        Raises:
            Refused: It is that already.
        """
        allowed = self.value * now if self.relative else self.value
        if now <= allowed:
            message = f"the model has {now:,.6g} {_WORDS[self.quantity]} already, no more than the {allowed:,.6g} that were asked for"
            raise Refused(message)
        return allowed


_WORDS: dict[Quantity, str] = {
    "macs": "multiply-accumulate operations",
    "params": "parameters",
    "latency": "milliseconds of latency",
}


@dataclass(frozen=True)
class Speed:
    """How long two models take.

    Attributes:
        before: The first one.
        after: The second one.
        ratio: Of the second one's time to the first one's.
        load: Wall time over processor time of what was timed; 1 where a command measured.
    """

    before: Timing
    after: Timing
    ratio: Ratio
    load: float

    def reaches(self, most: Callable[[float], float]) -> bool:
        """Whether the second one is faster beyond doubt, and takes no longer than it may.

        Args:
            most: The time that is allowed, of what the first one takes.
        """
        return self.ratio.verdict == "faster" and self.ratio.median * self.before.median <= most(self.before.median)


Stopwatch = Callable[[Model, Model, float], Speed]
"""Times two models for about so many seconds."""


def in_turns(threads: int) -> Stopwatch:
    """The time of one sample in onnxruntime on this machine; see `graph.timing`."""

    def measured(before: Model, after: Model, seconds: float) -> Speed:
        found = timed([before, after], threads=threads, seconds=seconds)
        return Speed(found[0], found[1], found.ratio(1), found.load)

    return measured


def by_command(command: str) -> Stopwatch:
    """The last number that a command of the user's own prints for a file, `{model}` in it; once for each model.

    Raises:
        UsageError: There is no `{model}` in it.
    """
    if "{model}" not in command:
        message = f"--measure {command!r} does not say where the file goes; write {{model}} there, as in 'ssh board bench {{model}}'"
        raise UsageError(message)
    known: dict[int, tuple[Model, float]] = {}

    def one(model: Model) -> float:
        if id(model) not in known:
            known[id(model)] = model, _printed(command, model)
        return known[id(model)][1]

    def measured(before: Model, after: Model, seconds: float) -> Speed:  # noqa: ARG001 (it takes what it takes)
        a, b = one(before), one(after)
        verdict = "faster" if b < a else "slower" if b > a else "alike"
        return Speed(Timing(a, a, a), Timing(b, b, b), Ratio(b / a, b / a, b / a, verdict), 1.0)  # type: ignore[arg-type]

    return measured


def _printed(command: str, model: Model) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = save(model, Path(folder) / "candidate.onnx")
        words = [word.replace("{model}", str(path)) for word in shlex.split(command)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 (the user's own)
        except OSError as error:
            message = f"--measure {command!r} cannot be run: {error.strerror}"
            raise UsageError(message) from error
    numbers = re.findall(r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?", done.stdout)
    if done.returncode or not numbers or not float(numbers[-1]) > 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        message = (
            f"--measure {command!r} ended with status {done.returncode} and printed {'no number' if not numbers else numbers[-1]}"
            f"{f': {said[-1]:.120}' if said else ''}; it has to print a time above 0 last"
        )
        raise Refused(message)
    return float(numbers[-1])


def operations_for(
    structure: Structure,
    found: list[planning.Curve],
    watch: Stopwatch,
    most: Callable[[float], float],
    multiple: int,
) -> float:
    """The most multiply-accumulate operations with which a model takes no longer than it may.

    Shapes are timed, whatever their weights: the model beside plans of its widths, from a bisection of the share of its operations.

    Args:
        structure: Of the model.
        found: Its curves.
        watch: What times.
        most: The time that is allowed, of what the model takes.
        multiple: See `diagnosis.cut.cut`.

    Raises:
        Refused: No shape is that fast, or none is faster beyond doubt.
    """
    everything = float(SizeCosts(structure)({}).macs)
    speeds: list[Speed] = []
    reached, low, high = None, _LEAST, 1.0
    for look in range(_LOOKS):
        share = math.sqrt(low * high) if look else low
        planned = _smallest(structure, found, share * everything, multiple)
        speed = watch(structure.model, planning.outlined(structure, planned.sizes), _SECONDS)
        speeds.append(speed)
        if speed.reaches(most):
            reached, low = float(planned.costs.macs), share
        elif look:
            high = share
        else:
            break  # not even the smallest one
    if reached is None:
        raise Refused(too_slow(min(speeds, key=lambda s: s.ratio.median)))
    return reached


def _smallest(structure: Structure, found: list[planning.Curve], most: float, multiple: int) -> planning.Cut:
    """A plan with so few operations, or with as few as there can be."""
    try:
        return planning.cut(structure, found, _operations, most, multiple=multiple)
    except Refused:
        return planning.smallest(structure, found, multiple=multiple)


def _operations(size: Costs) -> float:
    return float(size.macs)


def too_slow(fastest: Speed) -> str:
    """Why a goal is not reached, for a message."""
    ratio = fastest.ratio
    if ratio.verdict != "faster":
        return (
            f"no plan is faster than the model beyond doubt: the best takes {ratio.median:.2f} times as long, between {ratio.low:.2f} and "
            f"{ratio.high:.2f}; ask for fewer operations or parameters instead, or measure on a machine that does nothing else"
        )
    return f"no plan is fast enough: the fastest takes {ratio.median:.2f} times as long as the model; ask for less"
