"""What is shown while a run goes on: a live display on a terminal, a line a generation elsewhere."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pysurgeon.data import Dataset
from pysurgeon.evolution import EvolveSettings, Plan
from pysurgeon.evolution.strategy import Strategy
from pysurgeon.report import _format as fmt
from pysurgeon.training import score_text

if TYPE_CHECKING:
    from typing import Self

_OPERATIONS = 34  # columns for the operations of a branch
_LOOKING = "looking for operations"
_STYLES = {"racing": "", "stopped": "dim", "won": "bold green", "refused": "dim", "lost": "red"}


@dataclass(frozen=True)
class RunPlan:
    """How much there is to do.

    Attributes:
        strategy: Rounds and steps along the trunk.
    """

    strategy: Strategy

    @staticmethod
    def of(settings: EvolveSettings, data: Dataset) -> RunPlan:
        """The plan of a run."""
        return RunPlan(Plan.of(settings, data).strategy)

    @property
    def total(self) -> int:
        """Steps along the trunk."""
        return self.strategy.total

    @property
    def rounds(self) -> int:
        """How often the trunk branches."""
        return len(self.strategy.rounds)

    def steps_before(self, generation: int) -> int:
        """Steps that all branches together take before a generation, counted from 0."""
        taken, step, carried = 0, 0, 1
        for now in self.strategy.rounds[:generation]:
            taken += carried * (now.begin - step) + now.race.steps(now.begin, now.end, carried + now.branches)
            step, carried = now.end, now.race.carried
        following = self.strategy.rounds[generation : generation + 1]
        return taken + carried * ((following[0].begin if following else self.total) - step)

    @property
    def steps(self) -> int:
        """Steps of the whole run: races, the rest of the trunk, and the start trained alone."""
        return self.steps_before(self.rounds) + self.total


@dataclass
class _Row:
    """A branch on the display."""

    operations: str
    begin: int = 0
    step: int = 0
    loss: float | None = None
    accuracy: float | None = None
    parameters: int = 0
    fate: str = "racing"


@dataclass
class _State:
    """What is known about the run; guarded by the observer's lock."""

    rows: dict[str, _Row] = field(default_factory=dict)
    phase: str = "warming up"
    generation: int | None = None
    trunk: str = "start"
    trunk_step: int = 0
    base: int = 0  # steps of all branches before the current phase
    done: int = 0  # steps of ended stretches of the current phase
    at_first: int | None = None  # steps done when the first live step was seen, for the time that is left


class _Shown(ABC):
    """What is shown on a terminal while something goes on; a context manager.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        self._began = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._display, refresh_per_second=5, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and leave the printed lines alone on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    @abstractmethod
    def _display(self) -> RenderableType:
        """What it looks like now."""


class LiveObserver(_Shown):
    """Shows how a run goes on; an `Observer` and a context manager. Any thread may call it.

    Args:
        console: Where to; one that writes to stderr.
        plan: How much there is to do; without it there is no time left to tell.
    """

    def __init__(self, console: Console, plan: RunPlan | None = None) -> None:
        super().__init__(console)
        self._plan = plan
        self._lock = threading.RLock()
        self._state = _State()
        self._metric = "accuracy"
        self._said: list[Text] = []

    def happened(self, event: dict[str, Any]) -> None:
        """See `Observer`."""
        with self._lock:
            handler = {
                "candidates": self._candidates,
                "branched": self._branched,
                "trained": self._trained,
                "rung": self._rung,
                "selected": self._selected,
                "tested": self._tested,
            }.get(event["event"])
            if handler is not None:
                handler(event)
            said, self._said = self._said, []
        # Printing waits for the display, which waits for this lock: so not while holding it.
        for line in said:
            # One line a message, whatever the width of a log.
            self._console.print(line, soft_wrap=True)

    def training(self, branch: str, step: int, loss: float) -> None:
        """See `Observer`."""
        with self._lock:
            row = self._row(branch)
            if branch == "alone":
                self._state.phase = "training the start alone"
            row.step, row.loss = step, loss
            if self._state.at_first is None:
                self._state.at_first = self._steps_done()
                self._began = time.monotonic()

    def _row(self, branch: str) -> _Row:
        row = self._state.rows.get(branch)
        if row is None:
            names = {"start": "the start", "alone": "the start alone"}
            row = self._state.rows[branch] = _Row(names.get(branch, "unchanged"))
        return row

    def _candidates(self, event: dict[str, Any]) -> None:
        state, generation = self._state, event["generation"]
        known = {name: state.rows[name].parameters for name in event["parents"] if name in state.rows}
        state.generation, state.phase, state.trunk = generation, "racing", event["parents"][0]
        if self._plan is not None:
            state.base, state.done, state.trunk_step = self._plan.steps_before(generation), 0, event["begin"]
        state.rows = {
            name: _Row("unchanged", state.trunk_step, state.trunk_step, parameters=known.get(name, 0))
            for name in event["parents"]
        }

    def _branched(self, event: dict[str, Any]) -> None:
        texts = [r["operation"] for r in event["records"]] or list(event["evidence"])
        row = _Row(", ".join(texts), self._state.trunk_step, self._state.trunk_step, parameters=event["parameters"])
        row.fate = "refused" if event["refused"] else "racing"
        self._state.rows[event["branch"]] = row

    def _trained(self, event: dict[str, Any]) -> None:
        row = self._row(event["branch"])
        row.begin = row.step = event["until"]
        row.accuracy, row.parameters = event["accuracy"], event["parameters"]
        self._metric = event.get("metric", self._metric)
        self._state.done += event["steps"]
        if self._state.generation is None and self._plan is not None and self._plan.rounds:
            self._state.phase = _LOOKING
        if event["outcome"] != "DONE":
            row.fate = "lost"
            self._say(f"{event['branch']} {event['outcome'].lower()}: {fmt.plain(row.operations)}", "yellow")

    def _rung(self, event: dict[str, Any]) -> None:
        for name, row in self._state.rows.items():
            if name not in event["survivors"] and row.fate == "racing":
                row.fate = "stopped"

    def _selected(self, event: dict[str, Any]) -> None:
        winner = self._row(event["winner"])
        number = event["generation"] + 1
        of = f" of {self._plan.rounds}" if self._plan is not None else ""
        what = "the parent, unchanged," if winner.operations == "unchanged" else fmt.plain(winner.operations)
        others = f"; {len(event['survivors'])} branches go on" if len(event["survivors"]) > 1 else ""
        self._say(
            f"generation {number}{of}: {what} won at step {fmt.count(event['until'])}, validation {self._metric} "
            f"{fmt.percent(winner.accuracy)}, {fmt.plural(winner.parameters, 'parameter')}{others}"
        )
        winner.fate = "won"
        state = self._state
        survivors = {name: self._row(name) for name in event["survivors"]}
        state.trunk, state.trunk_step = event["winner"], event["until"]
        last = self._plan is None or event["generation"] + 1 == self._plan.rounds
        state.phase = "training the trunk" if last else _LOOKING
        if self._plan is not None:
            later = self._plan.strategy.rounds[event["generation"] + 1 :]
            ahead = (later[0].begin if later else self._plan.total) - event["until"]
            state.base = self._plan.steps_before(event["generation"] + 1) - ahead * len(survivors)
            state.done = 0
        for row in survivors.values():
            row.begin = row.step = event["until"]
        state.rows = survivors

    def _tested(self, event: dict[str, Any]) -> None:
        alone = f", the start alone {fmt.percent(event['alone']['test_accuracy'])}" if event["alone"] else ""
        self._say(f"done: test {self._metric} {fmt.percent(event['result']['test_accuracy'])}{alone}", "bold")

    def _say(self, line: str, style: str = "") -> None:
        self._said.append(Text(line.replace(fmt.SPACE, " "), style))

    def _steps_done(self) -> int:
        state = self._state
        under_way = sum(max(0, row.step - row.begin) for row in state.rows.values())
        return state.base + state.done + under_way

    def _display(self) -> RenderableType:
        with self._lock:
            return Group(self._overall(), self._branches())

    def _overall(self) -> RenderableType:
        state, grid = self._state, Table.grid(padding=(0, 2))
        trunk = state.rows.get(state.trunk)
        step = max(state.trunk_step, trunk.step if trunk is not None else 0)
        if self._plan is None:
            grid.add_row(Text(self._phase(), "bold"), Text(f"step {fmt.count(step)}"))
            return grid
        done, total = min(self._steps_done(), self._plan.steps), self._plan.steps
        grid.add_row(
            Text(self._phase(), "bold"),
            ProgressBar(total, done, width=20),
            Text(f"step {fmt.count(min(step, self._plan.total))}/{fmt.count(self._plan.total)}"),
            Text(self._left(done, total), "dim"),
        )
        return grid

    def _phase(self) -> str:
        state = self._state
        if state.phase != "racing" or state.generation is None:
            return state.phase
        of = f"/{self._plan.rounds}" if self._plan is not None else ""
        return f"generation {state.generation + 1}{of}"

    def _left(self, done: int, total: int) -> str:
        first = self._state.at_first
        if first is None or done - first < 20:
            return ""
        seconds = (time.monotonic() - self._began) / (done - first) * (total - done)
        return f"about {fmt.duration(seconds)} left"

    def _branches(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right", "right"):
            grid.add_column(justify=justify, no_wrap=True)
        for name, row in self._state.rows.items():
            grid.add_row(
                Text(name),
                Text(fmt.shortened(fmt.plain(row.operations), _OPERATIONS)),
                "" if row.fate == "refused" else fmt.count(row.step),
                "" if row.loss is None else f"loss {row.loss:.3f}",
                row.fate if row.fate in ("refused", "lost") else fmt.percent(row.accuracy),
                style=_STYLES[row.fate],
            )
        return grid


class TrainProgress(_Shown):
    """Shows how the training of one model goes on; an `Observer` and a context manager.

    Args:
        console: Where to. A line stays for every epoch; on one that is no terminal, one for every tenth of the steps, too.
        steps: Steps to take.
    """

    def __init__(self, console: Console, steps: int) -> None:
        super().__init__(console)
        self._steps = steps
        self._lock = threading.Lock()
        self._step, self._loss = 0, float("nan")

    def happened(self, event: dict[str, Any]) -> None:
        """See `Observer`; one model has no lineage, but is measured on the validation part after every epoch."""
        if event["event"] != "measured":
            return
        measured = f"validation {event['metric']} {score_text(event['metric'], event['accuracy'], 1)}".replace(
            "%", " %"
        )
        with self._lock:
            self._step, self._loss = event["step"], event["loss"]
        count = f"step {fmt.count(event['step'])} of {fmt.count(self._steps)}"
        # Not while holding the lock: printing waits for the display, which waits for it. The lines stay, since whether the last
        # ones still rise is what a user wants to know.
        self._console.print(f"{count}, training loss {event['loss']:.3f}, {measured}", markup=False, soft_wrap=True)

    def training(self, branch: str, step: int, loss: float) -> None:  # noqa: ARG002 (there is only one)
        """See `Observer`."""
        with self._lock:
            tenths, before = 10 * step // self._steps, 10 * self._step // self._steps
            self._step, self._loss = step, loss
        if tenths > before and not self._console.is_terminal:
            count = f"step {fmt.count(step)} of {fmt.count(self._steps)}"
            self._console.print(f"{count}, training loss {loss:.3f}", markup=False)

    def _display(self) -> RenderableType:
        with self._lock:
            step, loss = self._step, self._loss
        left = (time.monotonic() - self._began) / step * (self._steps - step) if step else 0.0
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            Text("training", "bold"),
            ProgressBar(self._steps, min(step, self._steps), width=28),
            Text(f"step {fmt.count(step)}/{fmt.count(self._steps)}"),
            Text(f"loss {loss:.3f}" if step else ""),
            Text(f"about {fmt.duration(left)} left" if step else "", "dim"),
        )
        return grid
