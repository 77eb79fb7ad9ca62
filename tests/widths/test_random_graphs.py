"""Networks put together at random from blocks: every width is widened exactly or refused, and narrowed to a valid model."""

from __future__ import annotations

from checks import assert_valid, attempt, difference
from hypothesis import event, given, settings
from hypothesis import strategies as st
from random_networks import networks

from pysurgeon.errors import Refused
from pysurgeon.surgery import Narrow, Widen
from pysurgeon.widths.structure import Structure


@settings(max_examples=60)
@given(model=networks(), how=st.sampled_from(["fresh", "split"]), more=st.integers(1, 4))
def test_every_width_is_exact_or_refused(model, how, more):
    before = model.to_bytes()
    widths = Structure(model).widths
    event(f"{sum(w.exact for w in widths)} exact widths")
    for width in widths:
        done = attempt(model, Widen(width.name, width.size + more, how=how, seed=more))
        if width.exact:
            assert not isinstance(done, Refused), str(done)
        if not isinstance(done, Refused):
            assert difference(model, done.model) <= 2e-5
            assert_valid(done.model, like=model)
        if width.averaged:
            doubled = attempt(model, Widen(width.name, 2 * width.size, how=how, seed=more))
            assert not isinstance(doubled, Refused), str(doubled)
            assert difference(model, doubled.model) <= 2e-5
    assert model.to_bytes() == before


@settings(max_examples=40)
@given(model=networks())
def test_every_width_that_can_be_resized_can_be_narrowed(model):
    for width in Structure(model).widths:
        if width.resizable and width.size > 1:
            done = attempt(model, Narrow(width.name, width.size - 1))
            assert not isinstance(done, Refused), str(done)
            assert_valid(done.model, like=model)
            assert done.model.parameter_count() < model.parameter_count()
