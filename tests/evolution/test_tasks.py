"""Evolving for labels and numbers: the same run, its figures by their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starts import mlp, model

import pysurgeon as ps
from pysurgeon.data import Dataset, Split
from pysurgeon.evolution import EvolveSettings, Journal
from pysurgeon.report.run_summary import from_journal


def dataset(task: Any) -> Dataset:
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((64, 10)) / 8

    def split(count: int) -> Split:
        x = rng.standard_normal((count, 1, 8, 8)).astype(np.float32)
        y = x.reshape(count, -1) @ mix
        return Split(x, ((y > 0) if task == "multi-label" else 1000 * y - 3000).astype(np.float32))

    names = tuple(f"target {k}" for k in range(10))
    return Dataset.build(task, train=split(200), validation=split(60), test=split(60), classes=names, task=task)


@pytest.mark.parametrize(("task", "metric"), [("multi-label", "label accuracy"), ("regression", "R²")])
def test_a_run_for_labels_or_numbers(task: Any, metric: str, tmp_path: Path) -> None:
    settings = EvolveSettings(
        task, epochs=None, steps=120, batch_size=32, lr=2e-2, generations=2, branches=2, workers=1
    )
    data = dataset(task)
    result = ps.evolve(model(mlp((4,))), data, settings=settings, run=tmp_path / "run")
    assert result.metric == metric
    assert result.start.test_accuracy < result.result.test_accuracy <= 1
    record = from_journal(Journal.open(tmp_path / "run"))
    assert record.metric == metric
    assert record.result is not None
    low, high = record.result.interval
    assert low < result.result.test_accuracy < high <= 1
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"Test {metric}" in page
    assert "test accuracy" not in page.lower().replace(f"test {metric}".lower(), "")
    assert json.loads((tmp_path / "run" / "lineage.jsonl").read_text().splitlines()[-1])["metric"] == metric
    assert ps.recommend(ps.load(result.output), data).recommendations


def test_numbers_that_are_predicted_worse_than_by_their_mean_can_still_be_diagnosed() -> None:
    found = ps.recommend(model(mlp((4,))), dataset("regression"))
    assert found.validation_accuracy < 0
    assert found.recommendations
