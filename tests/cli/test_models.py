"""Models that cannot be used are refused with the reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import models
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from starts import mlp, text_model

from tests.cli.commands import QUICK, Command, complains, put


def _text(path: Path) -> None:
    path.write_text("not a network\n" * 20)


def _png(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(300))


def _truncated(path: Path) -> None:
    content = mlp((6,)).SerializeToString()
    path.write_bytes(content[: len(content) // 2])


WRONG_FILES: dict[str, Callable[[Path], object]] = {
    "text": _text,
    "image": _png,
    "empty": Path.touch,
    "truncated": _truncated,
    "folder": Path.mkdir,
    "missing": lambda _: None,
}


@pytest.mark.parametrize("what", WRONG_FILES)
@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "M", "--json"),
        ("doctor", "M", "--json"),
        ("recommend", "M", "--data", "digits", "--json"),
        ("apply", "M", "widen:fc1=8", "--json"),
        ("shrink", "M", "--data", "digits", "--to", "macs=0.5x", "-o", "out.onnx", "--json"),
        ("train", "M", "--data", "digits", "-o", "out.onnx", "--json"),
        ("evolve", "M", "--data", "digits", "--run", "run", "--json"),
        ("compare", "M", "M", "--json"),
    ],
    ids=lambda a: a[0],
)
def test_what_is_no_model_is_refused(command: Command, tmp_path: Path, what: str, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "wrong.onnx"
    WRONG_FILES[what](path)
    before = sorted(tmp_path.iterdir())
    done = command(*(str(path) if a == "M" else a for a in arguments))
    complains(done, 1, "wrong.onnx", as_json=True)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_model_that_may_not_be_read(command: Command, start: Path) -> None:
    start.chmod(0)
    complains(command("inspect", start), 1, "start.onnx")
    start.chmod(stat.S_IRUSR | stat.S_IWUSR)


def operator(name: str) -> onnx.ModelProto:
    """A network for the digits with an operator of a domain that nobody knows, or with one without a gradient."""
    if name == "Mystery":
        return models.build("custom_domain")
    return models.build("unknown_operator")


@pytest.mark.parametrize("name", ["Mystery", "Normalizer"])
def test_an_operator_that_is_not_known_is_named(command: Command, tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "strange.onnx", operator(name))
    found = command("inspect", path, "--json").document
    frozen = [w for w in found["widths"] if not w["resizable"]]
    assert any(name in w["reason"] for w in frozen)
    diagnosis = command("doctor", path, "--json").document
    assert diagnosis["trains"] is False
    assert name in diagnosis["verdict"]
    rows = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x_train=rows, y_train=np.arange(60) % 2)
    for arguments in (("train", path, "-o", "out.onnx"), ("evolve", path, "--run", "run")):
        complains(command(*arguments, "--data", tmp_path / "rows.npz", "--steps", "2"), 1, name)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out.onnx").exists()


def test_a_new_operator_set_trains(command: Command, tmp_path: Path) -> None:
    proto = mlp((6,))
    proto.opset_import[0].version = 24
    path = put(tmp_path / "new.onnx", proto)
    assert command("inspect", path, "--json").document["model"]["opset"] == 24
    assert command("train", path, *QUICK, "-o", "out.onnx", "--json").document["steps"] == 20
    trained = onnx.load(tmp_path / "out.onnx")
    assert trained.opset_import[0].version == 24
    assert [n.op_type for n in trained.graph.node] == [n.op_type for n in proto.graph.node]


def test_two_inputs_are_named(command: Command, tmp_path: Path) -> None:
    lines = ["a = Add (x, z)", "b = Flatten (a)", "y = MatMul (b, w)"]
    signature = "two (float[N, 1, 8, 8] x, float[N, 1, 8, 8] z) => (float[N, 10] y)"
    path = put(tmp_path / "two.onnx", text_model(signature, lines, {"w": np.ones((64, 10))}))
    assert len(command("inspect", path, "--json").document["model"]["inputs"]) == 2
    for arguments in (("train", path, "-o", "out.onnx"), ("evolve", path), ("recommend", path)):
        complains(command(*arguments, "--data", "digits"), 1, "2 inputs (x, z)")


def test_weights_that_are_not_finite_are_named(command: Command, tmp_path: Path) -> None:
    proto = mlp((6,))
    tensor = proto.graph.initializer[0]
    array = np.array(numpy_helper.to_array(tensor))
    array[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    path = put(tmp_path / "nan.onnx", proto)
    said = ("'fc1.weight' (1 of 384)", "not a number")
    assert command("inspect", path, "--json").document["model"]["not_finite"] == {"fc1.weight": 1}
    checked = command("doctor", path, "--json").document
    assert checked["trains"] is False
    for name in said:
        assert name in checked["verdict"]
        assert name in command("inspect", path).out
        assert name in command("doctor", path).out
    complains(command("recommend", path, "--data", "digits"), 1, "fc1", "finite")
    for operation in ("widen:fc1=8", "narrow:fc1=4"):
        complains(command("apply", path, operation), 1, *said)
    complains(command("train", path, *QUICK, "-o", "out.onnx"), 1, *said)
    complains(command("evolve", path, *QUICK, "--run", "run"), 1, *said)
    assert not (tmp_path / "run").exists()


def test_models_are_compared_with_an_input_fixed_that_one_of_them_has(command: Command, tmp_path: Path) -> None:
    """What was made of a file with an input fixed has no such input any more, and is compared with the file all the same."""
    source = tmp_path / "branches.onnx"
    onnx.save(models.build("subgraph"), source)
    fixed = tmp_path / "fixed.onnx"
    assert command("apply", source, "widen:h=7", "--fix", "flag=1", "-o", fixed).status == 0
    for pair in ((source, fixed), (source, source), (fixed, source)):
        found = command("compare", *pair, "--fix", "flag=1", "--json")
        assert found.document["max_error"] < 1e-5
    complains(command("compare", fixed, fixed, "--fix", "flag=1"), 2, "no input 'flag'")
