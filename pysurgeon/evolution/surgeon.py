"""The Surgeon: branch the trunk, let the branches race, carry the winner on. This is the only loop that evolves."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

from pysurgeon.data import Dataset
from pysurgeon.errors import ModelError, Refused, RunError, TrainingError, VerificationError
from pysurgeon.evolution.branch import Branch, Candidate
from pysurgeon.evolution.calibration_data import calibrated, chance, slope
from pysurgeon.evolution.executor import Executor
from pysurgeon.evolution.fitness import Fitness
from pysurgeon.evolution.genome import shortened
from pysurgeon.evolution.journal import Journal
from pysurgeon.evolution.keep import Kept
from pysurgeon.evolution.plan import Plan
from pysurgeon.evolution.provenance import as_file
from pysurgeon.evolution.race import Arena
from pysurgeon.evolution.strategies.proposals import Context
from pysurgeon.evolution.strategy import Strategy
from pysurgeon.model import Model, load
from pysurgeon.model.costs import costs
from pysurgeon.model.fidelity import verify_result
from pysurgeon.model.timing import latency, timed
from pysurgeon.settings import EvolveSettings
from pysurgeon.surgery import carry, operate
from pysurgeon.training import (
    Evaluation,
    Outcome,
    State,
    Trainer,
    TrainResult,
    evaluate,
    metric,
    paired,
)
from pysurgeon.training.protocol import SLOPE_SAMPLES

# What a step takes, in forward passes: one, and the gradients by what goes in and by the weights.
GRADIENT = 3


class Observer(Protocol):
    """Is told what happens, to show it."""

    def happened(self, event: dict[str, Any]) -> None:
        """A line was added to the lineage."""

    def training(self, branch: str, step: int, loss: float) -> None:
        """A branch took steps. Called from several threads."""


@dataclass(frozen=True)
class Setup:
    """What a run works with; none of it can change what is found but `settings`, `data` and `strategy`.

    Attributes:
        settings: What it is asked to do.
        data: What it learns from.
        trainer: Trains branches.
        executor: Decides how many at once.
        observer: Is told what happens.
        strategy: In place of the one that the settings name.
    """

    settings: EvolveSettings
    data: Dataset
    trainer: Trainer
    executor: Executor
    observer: Observer
    strategy: Strategy | None = None


class Surgeon:
    """One run.

    Args:
        setup: What it works with.
        journal: Its folder; what is in there already is not done again.
    """

    def __init__(self, setup: Setup, journal: Journal) -> None:
        self.settings, self.data, self.journal = setup.settings, setup.data, journal
        self._trainer, self._executor, self._observer = setup.trainer, setup.executor, setup.observer
        self._start = load(journal.start)
        self._trainer.check(self._start, self.data)
        plan = Plan.of(self.settings, self.data)
        self._per_epoch, self._training = plan.steps_per_epoch, plan.training
        self._strategy = setup.strategy or plan.strategy
        self._fitness = Fitness(self.settings, costs(self._start), chance(self.data), len(self.data.validation))
        self._calibration = calibrated(self._start, self.data, seed=self.settings.seed)
        self._began = time.monotonic()

    def run(self) -> Branch:
        """Evolve to the end. Returns the trunk as it ended; the record is in the journal."""
        parents = [Branch("start", None, "start", (), self._start, State())]
        reference = -math.inf
        for generation, now in enumerate(self._strategy.rounds):
            parents = self._trained_to(parents, now.begin)
            reference = max([reference, *(b.accuracy for b in parents)])
            if self._time_is_up(generation):
                break
            parents = self._generation(parents, generation, reference)
            reference = max([reference, *(b.accuracy for b in parents)])
        else:
            parents = self._trained_to(parents, self._strategy.total)
        finalists = self._fitness.selected(parents, max(b.accuracy for b in parents), len(parents))
        self._report(finalists)
        return finalists[0]

    def _trained_to(self, branches: Sequence[Branch], step: int) -> list[Branch]:
        """Those of the branches that come through to a step, from wherever they stand."""
        if all(b.state.step == step for b in branches):
            return list(branches)
        return self._alive(self._executor.map(partial(self._train, until=step, vital=True), branches))

    def _generation(self, parents: Sequence[Branch], generation: int, reference: float) -> list[Branch]:
        """One round: propose, operate, race, select. Returns those that are carried on, the trunk first."""
        decided = self.journal.known(f"g{generation}/selected")
        if decided is not None:
            return self._survivors(decided)
        now = self._strategy.rounds[generation]
        named = {p.id: p for p in parents}
        operated = []
        for k, candidate in enumerate(self._candidates(parents, generation)):
            name, key = f"g{generation + 1}-{k + 1}", f"g{generation}/b{k + 1}"
            branch = self._operated(named[candidate.parent], candidate, name, key, within=now.within)
            if branch is not None:
                operated.append(branch)
        fitness = self._fitness if now.within else self._fitness.without_limits()
        arena = Arena(now.begin, now.end, reference, fitness, self._train_all, partial(self._rung, generation))
        survivors = now.race.run(parents, operated, arena)
        if not survivors:
            message = (
                f"every branch of generation {generation + 1} diverged or was lost; try a smaller --lr "
                f"(the reasons are in {self.journal.folder})"
            )
            raise TrainingError(message)
        event = self.journal.once(
            f"g{generation}/selected",
            "selected",
            lambda: {
                "generation": generation,
                "winner": survivors[0].id,
                "survivors": [b.id for b in survivors],
                "until": now.end,
                "branches": [b.id for b in (*parents, *operated)],
            },
        )
        self._observer.happened(event)
        return self._survivors(event)

    def _candidates(self, parents: Sequence[Branch], generation: int) -> list[Candidate]:
        """What to try, decided once."""

        def compute() -> dict[str, Any]:
            began, looked, compute = time.monotonic(), 0, self._calibration.compute

            def slopes(models: Sequence[Model]) -> list[float | None]:
                nonlocal looked
                looked += sum(costs(model).macs for model in models)
                return self._executor.map(lambda model: slope(self._trainer, model, self.data, self._training), models)

            kept = Kept(self.settings.keep)
            context = Context(self.settings, self._start, self.data, self._calibration, self._fitness, kept, slopes)
            now = self._strategy.rounds[generation]
            found = now.propose(parents, generation, self.journal.events, context)
            return {
                "generation": generation,
                "begin": now.begin,
                "parents": [p.id for p in parents],
                "candidates": [c.to_json() for c in found],
                "compute": self._calibration.compute - compute + GRADIENT * looked * SLOPE_SAMPLES,
                "seconds": round(time.monotonic() - began, 3),
            }

        event = self.journal.once(f"g{generation}/candidates", "candidates", compute)
        self._observer.happened(event)
        return [Candidate.from_json(c) for c in event["candidates"]]

    def _rung(self, generation: int, rung: int, survivors: Sequence[Branch]) -> None:
        self._remark("rung", generation=generation, rung=rung, survivors=[b.id for b in survivors])

    def _operated(self, trunk: Branch, candidate: Candidate, name: str, key: str, *, within: bool) -> Branch | None:
        """A branch made by a candidate's operations; `None` if one is refused, or breaks a limit that it must keep `within`."""
        model, state, records = trunk.model, trunk.state, []
        refusal, compute = "", 0
        try:
            for operation in candidate.parsed():
                done = operate(model, operation, self._calibration)
                # As if nothing had been kept: what a resumed run has to do again is no part of what a run takes.
                compute += (done.record.before.macs + done.record.after.macs) * self._calibration.samples()
                model = done.model
                state = replace(state, moments=carry(done.edit, state.moments))
                records.append(
                    {
                        "operation": done.record.operation,
                        "exact": done.record.exact,
                        "predicted_error": done.record.predicted_error,
                        "site_error": done.record.site_error,
                        "measured_error": done.record.measured_error,
                        "reason": done.record.reason,
                        "undo": done.record.undo,
                    }
                )
        except (Refused, VerificationError) as error:
            refusal = str(error)
        size = costs(model)
        measured = latency(model) if within and self.settings.max_latency is not None and not refusal else 0.0
        refusal = refusal or (self._fitness.allowed(size, measured) if within else "")
        event = self.journal.once(
            key,
            "branched",
            lambda: {
                "branch": name,
                "parent": trunk.id,
                "origin": candidate.origin,
                "expected_gain": candidate.expected_gain,
                "evidence": candidate.evidence,
                "records": records,
                "refused": refusal,
                "parameters": size.parameters,
                "macs": size.macs,
                "compute": compute,
            },
        )
        self._observer.happened(event)
        if event["refused"]:
            return None
        genome = shortened(self._start, trunk.genome, candidate.operations, self._calibration)
        return Branch(name, trunk.id, candidate.origin, genome, model, state, trunk.accuracy, trunk.loss)

    def _train(self, branch: Branch, until: int, *, vital: bool = False) -> Branch | None:
        """Train a branch up to a step of the trunk; `None` if it diverged or was lost.

        A vital one that was lost ends the run and is not written down, so that it is tried again when the run is resumed.
        """
        key = f"{branch.id}@{until}"
        event = self.journal.known(key)
        if event is None:
            result = self._attempt(branch, until)
            if result.outcome is Outcome.LOST:
                # What ended the worker may have come from outside; a model that ends it does so again.
                result = self._attempt(branch, until)
            if result.outcome is Outcome.LOST and vital:
                message = f"training the trunk failed twice, resume the run to try again: {result.message}"
                raise TrainingError(message)
            event = self._trained(branch, until, key, result)
        self._observer.happened(event)
        return self._stored(event) if event["outcome"] == Outcome.DONE.name else None

    def _train_all(self, jobs: Sequence[tuple[Branch, int]]) -> list[Branch]:
        """Train branches, each up to its own step; those that came through."""
        trained = self._executor.map(lambda job: self._train(*job), jobs)
        return [branch for branch in trained if branch is not None]

    def _attempt(self, branch: Branch, until: int) -> TrainResult:
        steps = until - branch.state.step
        try:
            return self._trainer.train(
                branch.model,
                self.data,
                self._training,
                state=branch.state,
                steps=steps,
                evaluate_every=max(1, min(self._per_epoch, steps)),
                progress=lambda step, loss, _=None: self._observer.training(branch.id, step, loss),
            )
        except (TrainingError, ModelError) as error:
            if not branch.genome:
                raise
            # What the engine will not train any more after an operation costs the branch, not the run.
            return TrainResult(Outcome.LOST, branch.model, branch.state, (), 0, 0.0, str(error))

    def _trained(self, branch: Branch, until: int, key: str, result: TrainResult) -> dict[str, Any]:
        if result.outcome is Outcome.DONE:
            self._store(key, result)
        last = result.history[-1] if result.history else None
        return self.journal.append(
            {
                "event": "trained",
                "key": key,
                "branch": branch.id,
                "parent": branch.parent,
                "origin": branch.origin,
                "genome": list(branch.genome),
                "metric": metric(self.data),
                "from": branch.state.step,
                "until": until,
                "outcome": result.outcome.name,
                "message": result.message,
                "steps": result.steps,
                "seconds": round(result.seconds, 3),
                "history": [
                    [p.step, _finite(p.train_loss), _finite(p.validation_loss), p.validation_accuracy]
                    for p in result.history
                ],
                "accuracy": last.validation_accuracy if last else None,
                "loss": _finite(last.validation_loss) if last else None,
                "latency": latency(result.model) if self.settings.wants_latency and last else 0.0,
                "parameters": costs(result.model).parameters,
                "macs": costs(result.model).macs,
                "compute": self._compute(result),
            }
        )

    def _compute(self, result: TrainResult) -> int:
        """Multiply-accumulate operations of a stretch of training, its evaluations included."""
        trained = GRADIENT * result.steps * self.settings.batch_size
        return costs(result.model).macs * (trained + len(result.history) * len(self.data.validation))

    def _store(self, key: str, result: TrainResult) -> None:
        arrays = {f"{kind}:{name}": a for kind, named in result.state.moments.items() for name, a in named.items()}
        self.journal.save_arrays(f"branches/{key}.npz", arrays)
        self.journal.save_file(f"branches/{key}.onnx", result.model.to_bytes())

    def _survivors(self, event: dict[str, Any]) -> list[Branch]:
        """The branches that a generation hands on."""
        found = []
        for name in event["survivors"]:
            known = self.journal.known(f"{name}@{event['until']}")
            if known is None:
                message = f"the lineage in {self.journal.folder} selects {name}, whose training is missing"
                raise RunError(message)
            found.append(self._stored(known))
        return found

    def _stored(self, event: dict[str, Any]) -> Branch:
        """A trained branch as its files tell. Running on and resuming both go through here, so they cannot differ."""
        moments: dict[str, dict[str, Any]] = {}
        for name, array in self.journal.load_arrays(f"branches/{event['key']}.npz").items():
            kind, _, tensor = name.partition(":")
            moments.setdefault(kind, {})[tensor] = array
        file = self.journal.folder / f"branches/{event['key']}.onnx"
        try:
            model = load(file)
        except ModelError as error:
            message = f"{file} is missing or damaged; the run cannot be resumed from it"
            raise RunError(message) from error
        return Branch(
            id=event["branch"],
            parent=event["parent"],
            origin=event["origin"],
            genome=tuple(event["genome"]),
            model=model,
            state=State(event["until"], moments),
            accuracy=event["accuracy"],
            loss=math.inf if event["loss"] is None else event["loss"],
            latency=event["latency"],
        )

    def _report(self, finalists: Sequence[Branch]) -> None:
        """Read the test split, once: the trunk and the rest of its front, the start, and the start trained alone for as many steps."""
        trunk = finalists[0]
        front = finalists if self.settings.objective == "pareto" else ()
        alone = Branch("alone", None, "alone", (), self._start, State())
        trained = self._train(alone, trunk.state.step)
        deviations: dict[str, float] = {}
        seen: dict[str, Evaluation] = {}

        def compute() -> dict[str, Any]:
            timed_ones = {"result": trunk.model, "start": self._start, **({"alone": trained.model} if trained else {})}
            timed_ones |= {b.id: b.model for b in front}
            timings = timed(list(timed_ones.values()), seconds=30.0)
            at = {name: k for k, name in enumerate(timed_ones)}

            def figures(name: str, model: Model) -> dict[str, Any]:
                size = costs(model)
                found = seen[name] = evaluate(model, self.data, "test", threads=self.settings.threads)
                deviations[name] = float(found.scores.std())
                return {
                    "parameters": size.parameters,
                    "macs": size.macs,
                    "test_accuracy": found.accuracy,
                    "latency_ms": timings[at[name]].median,
                }

            return {
                "start": figures("start", self._start),
                "alone": figures("alone", trained.model) if trained is not None else None,
                "result": figures("result", trunk.model),
                "metric": metric(self.data),
                "front": [{"branch": b.id, "genome": list(b.genome), "figures": figures(b.id, b.model)} for b in front],
                "deviations": deviations,
                # Of the result to the others: all have seen the same samples.
                "paired": {n: asdict(paired(seen[n], seen["result"])) for n in ("start", "alone") if n in seen},
                "genome": list(trunk.genome),
                "branch": trunk.id,
                "trunk_steps": trunk.state.step,
                "samples": len(self.data.test),
                # Of the times of the result to theirs: all have taken turns.
                "speeds": {n: asdict(timings.ratio(0, to=at[n])) for n in ("start", "alone") if n in at},
                "load": timings.load,
            }

        event = self.journal.once("tested", "tested", compute)
        for file, branch in (("result.onnx", trunk), *((f"front/{b.id}.onnx", b) for b in front)):
            verify_result(branch.model, self._start, exact=False)
            figures = next((m["figures"] for m in event["front"] if m["branch"] == branch.id), event["result"])
            facts = branch.state.step, self.journal.made_from, figures, branch.genome
            told = as_file(branch.model, self.data, "evolve", *facts)
            self.journal.save_file(file, told.to_bytes())
        self._observer.happened(event)

    def _time_is_up(self, generation: int) -> bool:
        if self.settings.time is None:
            return False
        limit = self.settings.time

        def compute() -> dict[str, Any]:
            spent = sum(e["seconds"] for e in self.journal.events if e["event"] == "trained") / self.settings.workers
            return {"over": max(spent, time.monotonic() - self._began) > limit}

        return bool(self.journal.once(f"g{generation}/time", "time", compute)["over"])

    def _alive(self, trained: Sequence[Branch | None]) -> list[Branch]:
        """The branches that came through; none is the end."""
        found = [branch for branch in trained if branch is not None]
        if found:
            return found
        last = [e for e in self.journal.events if e["event"] == "trained"][-1]
        message = f"training the trunk failed: {Outcome[last['outcome']].value}. {last['message']}".strip()
        raise TrainingError(message)

    def _remark(self, event: str, **facts: Any) -> None:
        self._observer.happened({"event": event, **facts})


class Silent:
    """An observer that shows nothing."""

    def happened(self, event: dict[str, Any]) -> None:
        """See `Observer`."""

    def training(self, branch: str, step: int, loss: float) -> None:
        """See `Observer`."""


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
