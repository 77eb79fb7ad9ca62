"""Operations at random, one after another: never an invalid model, never a silent change of the function.

`PYSURGEON_SEQUENCES=1000 pytest --timeout 3600 tests/surgery/test_sequences.py` tries so many sequences.
"""

from __future__ import annotations

import os

import numpy as np
from checks import assert_valid, attempt, difference
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from random_networks import networks

from pysurgeon.errors import Refused
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session
from pysurgeon.surgery import (
    AddBypass,
    Calibration,
    Factorize,
    InsertLayer,
    Narrow,
    Operation,
    RemoveLayer,
    Widen,
    parse,
)
from pysurgeon.surgery.layers.weight_matrices import form_of
from pysurgeon.surgery.operations.factorize import largest_rank
from pysurgeon.widths.structure import Structure

SEQUENCES = int(os.environ.get("PYSURGEON_SEQUENCES", "40"))
LENGTH, LARGEST = 10, 60


def drawn(structure: Structure, rng: np.random.Generator) -> Operation | None:
    """Any operation at any site, possible or not: sizes and ranks of one are as likely as others."""
    kind = str(rng.choice(["widen", "narrow", "insert", "bypass", "remove", "factorize"]))
    if kind in ("widen", "narrow"):
        if not structure.widths:
            return None
        width = structure.widths[int(rng.integers(len(structure.widths)))]
        if kind == "narrow":
            return Narrow(width.name, int(rng.integers(1, max(2, width.size))))
        how = rng.choice(["fresh", "split"])
        size = width.size * 2 if width.averaged else width.size + int(rng.integers(1, 5))
        return None if size > LARGEST else Widen(width.name, size, how=how, seed=int(rng.integers(100)))
    if not structure.layers:
        return None
    names = [x.name for x in structure.layers]
    name = str(rng.choice(names))
    if kind == "insert":
        return InsertLayer(name, seed=int(rng.integers(100)))
    if kind == "bypass":
        return AddBypass(name, str(rng.choice(["", *names])))
    return RemoveLayer(name) if kind == "remove" else Factorize(name, int(rng.integers(1, 4)))


def _largest(structure: Structure, name: str) -> int:
    """The largest rank that saves something."""
    try:
        form = form_of(structure, structure.layer(name))
    except Refused:
        return 1
    return max(1, largest_rank((form.rows, form.columns)))


@settings(max_examples=SEQUENCES, suppress_health_check=list(HealthCheck))
@given(model=networks(), seed=st.integers(0, 2**31))
def test_ten_operations_one_after_another(model, seed):
    rng = np.random.default_rng(seed)
    calibration = Calibration(
        model, random_feeds(model, batch=24, seed=1), holdout=random_feeds(model, batch=8, seed=2)
    )
    first = model
    for _ in range(LENGTH):
        operation = drawn(Structure(model), rng)
        if operation is None:
            continue
        if operation.kind == "factorize" and rng.random() < 0.3:
            operation = Factorize(operation.site, _largest(Structure(model), operation.site))
        done = attempt(model, operation, calibration)
        if isinstance(done, Refused):
            event(f"{operation.kind} refused")
            assert len(str(done)) > 20
            continue
        event(operation.kind)
        assert_valid(done.model, like=first)
        error = difference(model, done.model, seed=int(rng.integers(1000)), batch=3)
        assert np.isfinite(error)
        if operation.exact:
            assert error <= 2e-5, operation
        assert operation.kind == parse(str(operation)).kind
        assert operation.exact or done.record.predicted_error >= 0
        if operation.kind == "factorize":
            assert done.record.after.parameters < done.record.before.parameters
        assert (done.record.measured_error > 1e-5) <= (not operation.exact)
        outputs = [Session(m).run(random_feeds(m, batch=2, seed=5)) for m in (first, done.model)]
        assert [a.shape for a in outputs[0].values()] == [a.shape for a in outputs[1].values()]
        model = done.model
