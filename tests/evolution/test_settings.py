"""Settings: ranges, words, and the way through JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysurgeon.errors import RunError, UsageError
from pysurgeon.settings import EvolveSettings
from pysurgeon.settings_schema import Range, settings_in

maybe = st.one_of(st.none(), st.integers(1, 10**9))
share = st.floats(0, 1e3)

settings = st.builds(
    EvolveSettings,
    data=st.text(min_size=1),
    data_dir=st.one_of(st.none(), st.text(min_size=1)),
    limit=st.one_of(st.none(), st.integers(2, 10**6)),
    normalize=st.sampled_from(["standard", "unit", "none"]),
    validation=st.floats(0.01, 0.99),
    epochs=st.floats(1e-3, 1e3),
    generations=st.integers(0, 99),
    branches=st.integers(0, 99),
    strategy=st.sampled_from(["surgeon", "random"]),
    keep=st.lists(st.text(min_size=1)).map(tuple),
    objective=st.sampled_from(["accuracy", "size", "latency", "pareto"]),
    tolerance=share,
    price=share,
    max_params=maybe,
    max_macs=maybe,
    max_latency=st.one_of(st.none(), share),
    lr=st.floats(1e-9, 1.0),
    optimizer=st.sampled_from(["adamw", "sgd"]),
    seed=st.integers(0, 2**63),
    time=st.one_of(st.none(), share),
)


def test_paths_and_numbers_of_numpy_are_written_as_text_and_as_python_s() -> None:
    exact = EvolveSettings("digits", data_dir="somewhere", seed=3, lr=0.5)
    loose = EvolveSettings("digits", data_dir=Path("somewhere"), seed=np.int64(3), lr=np.float32(0.5))  # type: ignore[arg-type]
    assert loose == exact
    assert json.dumps(loose.to_json()) == json.dumps(exact.to_json())


@given(settings)
def test_settings_survive_json(found: EvolveSettings) -> None:
    assert EvolveSettings.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


@given(settings, st.data())
def test_settings_of_an_older_version_get_the_defaults(found: EvolveSettings, data: st.DataObject) -> None:
    names = [
        f.name for f in fields(EvolveSettings) if f.name not in ("data", "epochs", "steps", "strategy", "objective")
    ]
    missing = data.draw(st.sets(st.sampled_from(names)))
    written = {name: value for name, value in found.to_json().items() if name not in missing}
    defaults = {f.name: f.default for f in fields(EvolveSettings) if f.name in missing}
    assert EvolveSettings.from_json(written) == replace(found, **defaults)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"price_of_fish": 1, "more": 2}, "another version of pysurgeon .they hold more, price_of_fish."),
        ({"price": "dear"}, "damaged: price is 'dear'; it must be a number"),
        ({"workers": 0}, "damaged: workers is 0"),
    ],
)
def test_settings_of_a_newer_version_and_damaged_ones_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(RunError, match=words):
        EvolveSettings.from_json({**EvolveSettings("digits").to_json(), **change})
    with pytest.raises(RunError, match="name no data"):
        EvolveSettings.from_json({})


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "wrong",
    [
        {"branches": -1},
        {"generations": -1},
        {"batch_size": 0},
        {"threads": 0},
        {"workers": 0},
        {"seed": -1},
        {"epochs": 0},
        {"epochs": -1.0},
        {"epochs": NAN},
        {"epochs": INF},
        {"epochs": 1, "steps": 1},
        {"epochs": None, "steps": 0},
        {"epochs": None, "steps": -3},
        {"lr": 0.0},
        {"lr": NAN},
        {"lr": INF},
        {"lr": -1e-3},
        {"weight_decay": -0.1},
        {"weight_decay": NAN},
        {"tolerance": -0.1},
        {"tolerance": NAN},
        {"price": -1.0},
        {"price": INF},
        {"max_latency": -1.0},
        {"max_latency": NAN},
        {"time": -1.0},
        {"time": NAN},
        {"validation": 0.0},
        {"validation": 1.0},
        {"validation": NAN},
        {"strategy": "best"},
        {"objective": "beauty"},
        {"strategy": "paper", "objective": "size"},
        {"optimizer": "adam"},
        {"augment": "mixup"},
        {"normalize": "Standard"},
        {"keep": "conv1"},
        {"keep": ("",)},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        EvolveSettings("digits", **wrong)
    words = str(caught.value)
    assert "\n" not in words
    assert any(name in words for name in wrong) or "either" in words or "share" in words


def test_old_names_are_taken_with_a_warning_and_read_from_older_runs() -> None:
    now = EvolveSettings("digits", lr=0.5, max_params=9, time=3.0)
    with pytest.warns(DeprecationWarning, match="the setting rate is called lr now"):
        assert EvolveSettings("digits", rate=0.5, max_params=9, time=3.0) == now  # type: ignore[call-arg]
    written = now.to_json()
    for name, was in (("lr", "rate"), ("max_params", "max_parameters"), ("time", "time_limit")):
        written[was] = written.pop(name)
    assert EvolveSettings.from_json(written) == now


def test_every_setting_is_explained_once() -> None:
    for name, said in settings_in(EvolveSettings).items():
        assert said.text.endswith("."), name
        assert f"    {name}: {said.text}" in str(EvolveSettings.__doc__)


@given(st.floats(allow_nan=True), st.floats(-9, 9), st.booleans())
def test_ranges_hold_what_they_say(number: float, low: float, above: bool) -> None:
    within = Range(above=low) if above else Range(at_least=low)
    assert within.holds(number) == (low < number < INF if above else low <= number < INF)
