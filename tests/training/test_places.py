"""Networks that say something of every place, exported as users do: a tagger of tokens, a segmenter of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysurgeon as ps
from pysurgeon import data as datasets
from pysurgeon.data import Dataset
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.session import Session
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings, as_expected, evaluate

from .zoo import exported, quiet, seeded

PADDING = -100


def sentences(count: int = 240) -> dict[str, Array]:
    """A token's tag depends on it and on the one before; sentences end early, and what is behind has no tag."""
    rng = np.random.default_rng(0)
    ids, ends = rng.integers(1, 12, (count, 10)), rng.integers(4, 11, count)
    tags = (ids + np.roll(ids, 1, axis=1) * (np.arange(10) > 0)) % 3
    behind = np.arange(10) >= ends[:, None]
    return {"x_train": np.where(behind, 0, ids), "y_train": np.where(behind, PADDING, tags)}


def tagger() -> Model:
    """An embedding, a bidirectional GRU and a dense layer."""
    import io

    import onnx
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.cell = nn.Embedding(12, 16), nn.GRU(16, 24, batch_first=True, bidirectional=True)
            self.head = nn.Linear(48, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.cell(self.embed(x))[0])

    buffer = io.BytesIO()
    with quiet():
        torch.onnx.export(
            seeded(0, Net).eval(),
            (torch.zeros(2, 10, dtype=torch.int64),),
            buffer,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch", 1: "time"}, "y": {0: "batch", 1: "time"}},
            opset_version=17,
        )
    return from_proto(onnx.load_model_from_string(buffer.getvalue()))


def discs(count: int = 120) -> dict[str, Array]:
    """A disc and a square in noise; the rim of the image is not to be looked at."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:16, :16]
    x, y = rng.standard_normal((count, 1, 16, 16)) * 0.3, np.zeros((count, 16, 16), np.int64)
    for k in range(count):
        (a, b), (c, d) = rng.integers(3, 13, (2, 2))
        square, disc = (abs(rows - c) < 3) & (abs(columns - d) < 3), (rows - a) ** 2 + (columns - b) ** 2 < 10
        for label, (where, value) in enumerate(((square, -1.0), (disc, 1.0)), 1):
            x[k, 0][where], y[k][where] = x[k, 0][where] + value, label
    y[:, [0, -1]] = 255
    return {"x_train": x.astype(np.float32), "y_train": y, "ignore": np.array(255)}


def unet() -> Any:
    """Two scales and a connection between them."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.deep = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
            self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
            self.join, self.head = nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

        def forward(self, x: Any) -> Any:
            fine = torch.relu(self.down(x))
            coarse = torch.relu(self.deep(nn.functional.max_pool2d(fine, 2)))
            joined = torch.cat([fine, torch.relu(self.up(coarse))], 1)
            return self.head(torch.relu(self.join(joined)))

    return seeded(0, Net)


def trained(trainer: LocalTrainer, model: Model, data: Dataset, steps: int) -> tuple[Model, float, float]:
    """The model after some steps, and its accuracy on the test part before and after."""
    settings = TrainSettings(Schedule(1e-2, steps), batch_size=32)
    result = trainer.train(model, data, settings, state=State(), steps=steps, evaluate_every=0)
    return result.model, *(evaluate(m, data, "test").accuracy for m in (model, result.model))


def test_a_tagger_learns_tags_of_tokens(trainer: LocalTrainer) -> None:
    data = datasets.load(sentences())
    model, before, after = trained(trainer, tagger(), data, 150)
    assert before < 0.5
    assert after > 0.95
    # It is the share of all tokens that have a tag, however long their sentences are.
    x, y = data.test.x, data.test.y
    right = Session(model).run(x)["y"].argmax(axis=2) == y
    assert after == pytest.approx(right[y >= 0].mean())


def test_a_segmenter_learns_classes_of_pixels(trainer: LocalTrainer) -> None:
    data = datasets.load(discs(), normalize="none")
    model, before, after = trained(trainer, exported(unet(), 1, 16, 16), data, 120)
    assert before < 0.6
    assert after > 0.93
    x, y = data.test.x, data.test.y
    right = Session(model).run(x)["y"].argmax(axis=1) == y
    assert after == pytest.approx(right[y >= 0].mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokens", "pixels"])
def test_networks_of_places_are_evolved(tmp_path: Path, kind: str) -> None:
    """From labels, and then smaller without any."""
    model, arrays = (tagger(), sentences()) if kind == "tokens" else (exported(unet(), 1, 16, 16), discs())
    learnt = ps.train(model, arrays, steps=150, lr=1e-2, batch_size=32)
    assert learnt.test_accuracy > 0.9
    options: dict[str, Any] = {"steps": 90, "generations": 2, "branches": 2, "workers": 1, "batch_size": 32}
    found = ps.evolve(
        learnt.model, {"x_train": arrays["x_train"]}, teacher="start", objective="size", tolerance=0.1, run=tmp_path / "r", **options
    )  # fmt: skip
    small = ps.load(found.output)
    assert found.result.parameters < 0.95 * found.start.parameters
    data = datasets.load(arrays, normalize="none" if kind == "tokens" else "auto")
    ours, theirs = (evaluate(m, as_expected(m, data), "test").accuracy for m in (small, learnt.model))
    assert ours > theirs - 0.1
