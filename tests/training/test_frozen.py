"""Parameters that stay as they are, by patterns of their names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from starts import digits, text_model
from starts import mlp as digits_mlp

import pysurgeon as ps
from pysurgeon.errors import TrainingError, UsageError
from pysurgeon.model import from_proto
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings, WorkerTrainer
from pysurgeon.training.task.frozen import frozen

from .zoo import images, network

SETTINGS = TrainSettings(Schedule(1e-2, 20), batch_size=32)


@pytest.mark.parametrize(
    ("freeze", "train", "expected"),
    [
        (("conv1",), (), {"conv1.weight", "conv1.bias"}),
        (("conv*.weight",), (), {"conv1.weight", "conv2.weight"}),
        ((), ("fc",), {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}),
        (("fc.bias",), ("fc", "conv2"), {"conv1.weight", "conv1.bias", "fc.bias"}),
    ],
)
def test_what_is_frozen_stays_to_the_bit(
    trainer: LocalTrainer, freeze: tuple[str, ...], train: tuple[str, ...], expected: set[str]
) -> None:
    model, data = network("cnn", norm=False), images()
    settings = replace(SETTINGS, freeze=freeze, train=train)
    result = trainer.train(model, data, settings, state=State(), steps=8, evaluate_every=0).model
    same = {n for n in model.trainable() if np.array_equal(model.tensor(n), result.tensor(n))}
    assert same == expected
    assert frozen(model, settings.freeze, settings.train) == expected


def test_what_is_before_all_that_is_trained_needs_no_gradient() -> None:
    lines = ["a = MatMul (x, w)", "d = Det (a)", "f = Reshape (d, s)", "y = MatMul (f, v)"]
    tensors = {"w": np.random.default_rng(0).standard_normal((8, 8)), "s": np.array([-1, 3]), "v": np.ones((3, 5))}
    model = from_proto(text_model("m (float[N, 3, 8, 8] x) => (float[N, 5] y)", lines, tensors))
    with WorkerTrainer(trainer="ort") as worker:
        with pytest.raises(TrainingError, match="Det"):
            worker.check(model, images())
        worker.check(model, images(), replace(SETTINGS, freeze=("w",)))


def test_patterns_must_match_something_and_leave_something() -> None:
    model = network("cnn", norm=False)
    with pytest.raises(UsageError, match=r"no parameter matches 'backbone'; the parameters are conv1\.weight"):
        frozen(model, ["backbone"], [])
    with pytest.raises(UsageError, match="every parameter is frozen"):
        frozen(model, ["*"], [])


def test_train_takes_patterns_and_evolve_does_not() -> None:
    start = from_proto(digits_mlp((6,)))
    done = ps.train(start, digits(), steps=5, train="fc2").model
    np.testing.assert_array_equal(done.tensor("fc1.weight"), start.tensor("fc1.weight"))
    assert not np.array_equal(done.tensor("fc2.weight"), start.tensor("fc2.weight"))
    with pytest.raises(UsageError, match="use them with train"):
        ps.evolve(start, digits(), steps=5, freeze="fc1")
