"""Operations as text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysurgeon.errors import UsageError
from pysurgeon.surgery import Factorize, InsertLayer, Narrow, RemoveLayer, Widen, parse

SITES = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12)
SIZES = st.integers(0, 999_999_999)
OPERATIONS = st.one_of(
    st.builds(Widen, SITES, SIZES),
    st.builds(Narrow, SITES, SIZES),
    st.builds(Factorize, SITES, SIZES),
    st.builds(InsertLayer, SITES),
    st.builds(RemoveLayer, SITES),
)


@given(operation=OPERATIONS)
def test_round_trip(operation):
    assert parse(str(operation)) == operation


def test_the_forms():
    assert parse("widen:conv1=64", seed=3) == Widen("conv1", 64, seed=3)
    assert parse("narrow:features.0=5") == Narrow("features.0", 5)
    assert parse("insert:fc:1", seed=2) == InsertLayer("fc:1", seed=2)
    assert parse("remove:a=b") == RemoveLayer("a=b")
    assert parse("factorize:a=b=3") == Factorize("a=b", 3)
    assert parse("widen:a=007") == Widen("a", 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "widen",
        "widen:",
        "widen:a",
        "widen:a=",
        "widen:=3",
        "widen:a=-3",
        "widen:a=3.5",
        "widen:a=b",
        "widen:a=\u00b2",
        "widen:a=\u0663",
        "widen:a= 3",
        "widen:a=" + "9" * 5000,
        "widen=a:3",
        "narrow:a=0x10",
        "factorize:a",
        "insert",
        "insert:",
        "remove:",
        "Widen:a=3",
        "explode:a=3",
        "explode:a",
        ":a=3",
    ],
)
def test_what_is_no_operation(text):
    with pytest.raises(UsageError) as error:
        parse(text)
    assert error.value.exit_status == 2
    assert "is not" in str(error.value)


@pytest.mark.parametrize("prefix", ["", "widen:", "widen:a=", "insert:"])
@given(text=st.text(max_size=30))
def test_any_text_is_an_operation_or_a_usage_error(prefix, text):
    with contextlib.suppress(UsageError):
        parse(prefix + text)
