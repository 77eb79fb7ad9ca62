"""The Surgeon: branch the trunk, let the branches race, carry the winner on. This is the only loop that evolves."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.diagnosis import Recommendation, diagnose, recommend
from pysurgeon.errors import ModelError, Refused, RunError, TrainingError, VerificationError
from pysurgeon.evolution.executor import Executor
from pysurgeon.evolution.experience import experience
from pysurgeon.evolution.fitness import Fitness, best, ranked
from pysurgeon.evolution.genome import replay, shortened
from pysurgeon.evolution.journal import Journal, write_file
from pysurgeon.evolution.plan import Plan
from pysurgeon.evolution.population import Branch, Candidate, random_candidate, recommended
from pysurgeon.evolution.sample import calibrated, missed
from pysurgeon.evolution.settings import EvolveSettings
from pysurgeon.evolution.timeline import survivors
from pysurgeon.graph import Model, load
from pysurgeon.graph.costs import costs
from pysurgeon.graph.session import latency
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import carry, operate
from pysurgeon.training import (
    Outcome,
    State,
    Trainer,
    TrainResult,
    evaluate,
    metric,
    with_input_metadata,
)


class Observer(Protocol):
    """Is told what happens, to show it."""

    def happened(self, event: dict[str, Any]) -> None:
        """A line was added to the lineage."""

    def training(self, branch: str, step: int, loss: float) -> None:
        """A branch took steps. Called from several threads."""


@dataclass(frozen=True)
class Setup:
    """What a run works with; none of it can change what is found but `settings` and `data`."""

    settings: EvolveSettings
    data: Dataset
    trainer: Trainer
    executor: Executor
    observer: Observer


class Surgeon:
    """One run.

    Args:
        setup: What it works with.
        journal: Its folder; what is in there already is not done again.
    """

    def __init__(self, setup: Setup, journal: Journal) -> None:
        self.settings, self.data, self.journal = setup.settings, setup.data, journal
        self._trainer, self._executor, self._observer = setup.trainer, setup.executor, setup.observer
        self._start = load(journal.folder / "start.onnx")
        self._trainer.check(self._start, self.data)
        plan = Plan.of(self.settings, self.data)
        self._per_epoch, self.timeline, self._training = plan.steps_per_epoch, plan.timeline, plan.training
        self._fitness = Fitness(self.settings, costs(self._start))
        self._calibration = calibrated(self._start, self.data, seed=self.settings.seed)
        self._began = time.monotonic()

    def run(self) -> Branch:
        """Evolve to the end. Returns the trunk as it ended; the record is in the journal."""
        trunk = Branch("start", None, "start", (), self._start, State())
        trunk = self._alive(self._train(trunk, self.timeline.warm_up, vital=True))
        reference = trunk.accuracy
        for generation in range(self.timeline.generations):
            if self._time_is_up(generation):
                break
            trunk = self._generation(trunk, generation, reference)
            reference = max(reference, trunk.accuracy)
        else:
            trunk = self._alive(self._train(trunk, self.timeline.total, vital=True))
        self._report(trunk)
        return trunk

    def _generation(self, trunk: Branch, generation: int, reference: float) -> Branch:
        """One round: diagnose, branch, race, select."""
        decided = self.journal.known(f"g{generation}/selected")
        if decided is not None:
            return self._stored(decided)
        candidates = self._candidates(trunk, generation)
        branches = [trunk]
        for k, candidate in enumerate(candidates):
            branch = self._operated(trunk, candidate, f"g{generation + 1}-{k + 1}", f"g{generation}/b{k + 1}")
            if branch is not None:
                branches.append(branch)
        racing = branches
        for rung, until in enumerate(self.timeline.race(generation)):
            trained = self._executor.map(partial(self._train, until=until), racing)
            racing = ranked([b for b in trained if b is not None], self._fitness, reference)
            if not racing:
                message = (
                    f"every branch of generation {generation + 1} diverged or was lost; try a smaller --lr "
                    f"(the reasons are in {self.journal.folder})"
                )
                raise TrainingError(message)
            if until != self.timeline.race(generation)[-1]:
                racing = racing[: survivors(len(racing))]
                self._remark("rung", generation=generation, rung=rung, survivors=[b.id for b in racing])
        winner = best(racing, self._fitness, max(reference, *(b.accuracy for b in racing)))
        event = self.journal.once(
            f"g{generation}/selected",
            "selected",
            lambda: {
                "generation": generation,
                "winner": winner.id,
                "until": winner.state.step,
                "branches": [b.id for b in branches],
                "finalists": [b.id for b in racing],
            },
        )
        self._observer.happened(event)
        return self._stored(event)

    def _candidates(self, trunk: Branch, generation: int) -> list[Candidate]:
        """What to try: recommendations and one random operation, or random ones alone."""

        def compute() -> dict[str, Any]:
            structure = Structure(trunk.model)
            rng = np.random.default_rng([self.settings.seed, generation, 7])
            found: list[Candidate] = []
            if self.settings.strategy == "bic":
                ranking = self._recommend(structure, trunk, generation)
                seed = int(rng.integers(2**31))
                tried = self._tried(trunk)
                branches = self.settings.branches
                found += recommended(ranking, structure, self._calibration, count=branches, seed=seed, tried=tried)
            while len(found) < self.settings.branches + 1:
                candidate = random_candidate(structure, self._calibration, self.settings, rng)
                if candidate is None:
                    break
                found.append(candidate)
            return {"generation": generation, "trunk": trunk.id, "candidates": [c.to_json() for c in found]}

        event = self.journal.once(f"g{generation}/candidates", "candidates", compute)
        self._observer.happened(event)
        return [Candidate.from_json(c) for c in event["candidates"]]

    def _tried(self, trunk: Branch) -> set[tuple[str, ...]]:
        """Operations of branches of this trunk, which it has outlived."""
        return {
            tuple(record["operation"] for record in event["records"])
            for event in self.journal.events
            if event["event"] == "branched" and event["parent"] == trunk.id
        }

    def _undo(self, trunk: Branch) -> list[str]:
        """What takes operations of the trunk back."""
        try:
            return [text for text in replay(self._start, trunk.genome, self._calibration).undo if text]
        except Refused:
            return []

    def _recommend(self, structure: Structure, trunk: Branch, generation: int) -> list[Recommendation]:
        errors = missed(trunk.model, self.data, self._calibration)
        diagnosis = diagnose(structure, self._calibration, errors=errors, threads=self.settings.threads)
        ranking = recommend(
            diagnosis,
            self._calibration,
            accuracy=max(0.0, trunk.accuracy),  # numbers may be predicted worse than by their mean
            objective=self.settings.objective,
            price=self.settings.price,
            experience=experience(self.journal.events),
            undo=self._undo(trunk),
            seed=self.settings.seed + generation,
        )
        within = []
        size = costs(trunk.model)
        for r in ranking:
            after = replace(size, parameters=size.parameters + r.parameters, macs=size.macs + r.macs)
            if not self._fitness.allowed(after, 0.0):
                within.append(r)
        return within

    def _operated(self, trunk: Branch, candidate: Candidate, name: str, key: str) -> Branch | None:
        """A branch made by a candidate's operations; `None` if one is refused or breaks a limit."""
        model, state, records = trunk.model, trunk.state, []
        refusal = ""
        try:
            for operation in candidate.parsed():
                done = operate(model, operation, self._calibration)
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
        measured = latency(model) if self.settings.max_latency is not None and not refusal else 0.0
        refusal = refusal or self._fitness.allowed(size, measured)
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
                progress=lambda step, loss: self._observer.training(branch.id, step, loss),
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
        wants_latency = self.settings.objective == "latency" or self.settings.max_latency is not None
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
                "updates": result.state.updates,
                "history": [
                    [p.step, _finite(p.train_loss), _finite(p.validation_loss), p.validation_accuracy]
                    for p in result.history
                ],
                "accuracy": last.validation_accuracy if last else None,
                "loss": _finite(last.validation_loss) if last else None,
                "latency": latency(result.model) if wants_latency and last else 0.0,
                "parameters": costs(result.model).parameters,
                "macs": costs(result.model).macs,
            }
        )

    def _store(self, key: str, result: TrainResult) -> None:
        arrays = {f"{kind}:{name}": a for kind, named in result.state.moments.items() for name, a in named.items()}
        self.journal.save_arrays(f"branches/{key}.npz", arrays)
        write_file(self.journal.folder / f"branches/{key}.onnx", result.model.to_bytes())

    def _stored(self, event: dict[str, Any]) -> Branch:
        """A trained branch as its files tell. Running on and resuming both go through here, so they cannot differ."""
        if event["event"] == "selected":
            known = self.journal.known(f"{event['winner']}@{event['until']}")
            if known is None:
                message = f"the lineage in {self.journal.folder} selects {event['winner']}, whose training is missing"
                raise RunError(message)
            event = known
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
            state=State(event["until"], event["updates"], moments),
            accuracy=event["accuracy"],
            loss=math.inf if event["loss"] is None else event["loss"],
            latency=event["latency"],
        )

    def _report(self, trunk: Branch) -> None:
        """Read the test split, once: the winner, the start, and the start trained alone for as many steps."""
        alone = Branch("alone", None, "alone", (), self._start, State())
        trained = self._train(alone, trunk.state.step)

        deviations: dict[str, float] = {}

        def figures(name: str, model: Model) -> dict[str, Any]:
            size = costs(model)
            found = evaluate(model, self.data, "test", threads=self.settings.threads)
            deviations[name] = float(found.scores.std())
            return {
                "parameters": size.parameters,
                "macs": size.macs,
                "test_accuracy": found.accuracy,
                "latency_ms": latency(model),
            }

        event = self.journal.once(
            "tested",
            "tested",
            lambda: {
                "start": figures("start", self._start),
                "alone": figures("alone", trained.model) if trained is not None else None,
                "result": figures("result", trunk.model),
                "metric": metric(self.data),
                "deviations": deviations,
                "genome": list(trunk.genome),
                "branch": trunk.id,
                "trunk_steps": trunk.state.step,
                "samples": len(self.data.test),
            },
        )
        result = with_input_metadata(trunk.model, self.data)
        write_file(self.journal.folder / "result.onnx", result.to_bytes())
        self._observer.happened(event)

    def _time_is_up(self, generation: int) -> bool:
        if self.settings.time_limit is None:
            return False
        limit = self.settings.time_limit

        def compute() -> dict[str, Any]:
            spent = sum(e["seconds"] for e in self.journal.events if e["event"] == "trained") / self.settings.workers
            return {"over": max(spent, time.monotonic() - self._began) > limit}

        return bool(self.journal.once(f"g{generation}/time", "time", compute)["over"])

    def _alive(self, trunk: Branch | None) -> Branch:
        if trunk is not None:
            return trunk
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
