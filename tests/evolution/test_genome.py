"""A genome replays to the topology that it stands for, however it was shortened."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from starts import cnn, mlp, model

from pysurgeon.errors import Refused
from pysurgeon.evolution.genome import replay, shortened, topology
from pysurgeon.model import Model
from pysurgeon.surgery import Calibration, operate, parse
from pysurgeon.widths.structure import Structure


@functools.cache
def start(name: str) -> tuple[Model, Calibration]:
    network = model({"mlp": lambda: mlp((6, 5)), "cnn": cnn}[name]())
    return network, Calibration(network)


@pytest.mark.parametrize(
    ("genome", "operations", "expected"),
    [
        (["widen:fc1=9"], ["narrow:fc1=6"], ()),
        (["widen:fc1=9", "insert:fc2"], ["narrow:fc1=6"], ("insert:fc2",)),
        (["insert:fc1", "widen:fc2=8"], ["remove:fc1.next"], ("widen:fc2=8",)),
        (["widen:fc1=9"], ["widen:fc2=8", "narrow:fc1=6", "narrow:fc2=5"], ()),
        (["widen:fc1=9", "widen:fc1=12"], ["narrow:fc1=9"], ("widen:fc1=9",)),
        (["widen:fc1=9", "widen:fc1=12"], ["narrow:fc1=9", "narrow:fc1=6"], ()),
        (["widen:fc1=9"], ["narrow:fc1=7"], ("widen:fc1=9", "narrow:fc1=7")),
        (["narrow:fc1=4"], ["widen:fc1=6"], ("narrow:fc1=4", "widen:fc1=6")),  # units that went were not random ones
        # The new layer has as many units as there were then.
        (["widen:fc1=9", "insert:fc1"], ["narrow:fc1=6"], ("widen:fc1=9", "insert:fc1", "narrow:fc1=6")),
        # Another size lies between, which cannot be had by narrowing from the one at the start.
        (["widen:fc1=9", "narrow:fc1=7"], ["narrow:fc1=6"], ("widen:fc1=9", "narrow:fc1=7", "narrow:fc1=6")),
    ],
)
def test_what_was_taken_back_goes(genome, operations, expected):
    network, calibration = start("mlp")
    assert shortened(network, genome, operations, calibration) == expected


@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
@given(name=st.sampled_from(["mlp", "cnn"]), seed=st.integers(0, 2**31))
def test_it_replays_to_the_same_topology(name, seed):
    network, calibration = start(name)
    rng = np.random.default_rng(seed)
    now, genome = network, ()
    for _ in range(5):
        structure = Structure(now)
        widths, layers = [w for w in structure.widths if w.resizable], [x.name for x in structure.layers]
        if not widths:
            break
        width = widths[int(rng.integers(len(widths)))]
        undo = [text for text in replay(network, genome, calibration).undo if text]
        texts = [
            f"widen:{width.name}={width.size + int(rng.integers(1, 4))}",
            f"narrow:{width.name}={max(1, width.size - 2)}",
            f"{rng.choice(['insert', 'bypass', 'remove'])}:{rng.choice(layers)}",
            *undo,
        ]
        text = str(texts[int(rng.integers(len(texts)))])
        try:
            now = operate(now, parse(text), calibration).model
        except Refused:
            continue
        longer = (*genome, text)
        genome = shortened(network, genome, [text], calibration)
        event("shorter" if len(genome) < len(longer) else "longer")
        again = network
        for entry in genome:
            again = operate(again, parse(entry), calibration).model
        assert topology(again) == topology(now)
        assert replay(network, genome, calibration).topology == topology(now)
