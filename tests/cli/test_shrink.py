"""`pysurgeon shrink`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import IMAGES, Command, complains


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Without labels."""
    np.savez(tmp_path / "samples.npz", x_train=IMAGES)
    return tmp_path / "samples.npz"


def test_what_is_printed_and_written(command: Command, start: Path, samples: Path, tmp_path: Path) -> None:
    done = command("shrink", start, "--data", samples, "--to", "macs=0.5x", "-o", "small.onnx", "--json")
    found = done.document
    assert {"before", "after", "predicted_loss", "operations", "output"} <= set(found)
    for side in ("before", "after"):
        assert {"parameters", "macs", "latency_ms", "accuracy"} <= set(found[side])
    assert found["after"]["macs"] <= 0.5 * found["before"]["macs"]
    assert [o["operation"].partition("=")[0] for o in found["operations"]] == ["narrow:fc1"] * len(found["operations"])
    assert found["output"] == "small.onnx"
    assert command("inspect", "small.onnx", "--json").document["model"]["macs"] == found["after"]["macs"]
    text = command("shrink", start, "--data", samples, "--to", "params=300", "-o", "other.onnx")
    assert text.status == 0
    for words in ("fc1", "Parameters", "Latency", "predicted", "Written to other.onnx"):
        assert words in text.out


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ((), 2, "there is no goal"),
        (("--to", "macs=2x"), 2, "macs=0.5x"),
        (("--within", "1.5"), 2, "share from 0 to below 1"),
        (("--within", "0.01"), 3, "there are no labels"),
        (("--to", "params=1e9"), 3, "already"),
        (("--to", "params=3"), 3, "more than is allowed"),
        (("--to", "macs=0.5x", "--keep", "nope"), 2, "fits no width and no layer"),
        (("--to", "macs=0.5x", "--keep", "fc1"), 3, "no width that can be narrowed"),
        (("--to", "macs=0.5x", "--measure", "bench"), 2, "{model}"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    command: Command, start: Path, samples: Path, tmp_path: Path, options: tuple[str, ...], status: int, words: str
) -> None:
    complains(command("shrink", start, "--data", samples, "-o", "small.onnx", *options), status, words)
    assert not (tmp_path / "small.onnx").exists()
