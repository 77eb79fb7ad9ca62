"""Weights in data files: mapped, edited and saved without a second copy, and never half written."""

from __future__ import annotations

import mmap
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from checks import difference, loaded
from onnx import TensorProto, helper, numpy_helper

from pysurgeon.errors import ModelError, OutputExistsError
from pysurgeon.graph import external_data
from pysurgeon.model import Model, ensure_free, from_proto, load, save
from pysurgeon.model.session import Session
from pysurgeon.runtime import can_differentiate
from pysurgeon.surgery import Widen, operate


def moved_out(proto: onnx.ModelProto, folder: Path, *, name: str = "m.onnx", location: str = "weights.bin") -> Path:
    """Write a message with the bytes of all its initializers in a data file."""
    onnx.save_model(proto, str(folder / name), save_as_external_data=True, location=location, size_threshold=0)
    return folder / name


def wide(width: int = 40) -> onnx.ModelProto:
    """Two dense layers with weights of more than a page and biases that are smaller than what goes outside."""
    return models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> wide (float[N, 30] x) => (float[N, 30] y) {
            a = Gemm (x, w1, b1)
            h = Relu (a)
            y = Gemm (h, w2, b2)
        }""",
        w1=(30, width),
        b1=(width,),
        w2=(width, 30),
        b2=(30,),
    )


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a message hold so little that every model of the zoo is too large for one."""
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", 100)


def same(a: Model, b: Model) -> bool:
    return a.tensors().keys() == b.tensors().keys() and all(
        np.array_equal(array, b.tensor(name)) and array.dtype == b.tensor(name).dtype
        for name, array in a.tensors().items()
    )


def is_mapped(array: np.ndarray) -> bool:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


def references(path: Path) -> dict[str, dict[str, str]]:
    """What an `.onnx` file says about the tensors that are not in it."""
    proto = onnx.load_model(str(path), load_external_data=False)
    return {
        t.name: {e.key: e.value for e in t.external_data}
        for t in proto.graph.initializer
        if t.data_location == TensorProto.EXTERNAL
    }


def test_weights_in_a_data_file_are_mapped(tmp_path):
    model = load(moved_out(wide(), tmp_path))
    assert model.external
    assert same(model, from_proto(wide()))
    assert not from_proto(wide()).external
    for name, array in model.tensors().items():
        assert is_mapped(array), name
        assert not array.flags.writeable
    (tmp_path / "weights.bin").unlink()
    assert same(model, from_proto(wide()))


def test_weights_inside_do_not_keep_the_message():
    """Or every model would be in memory twice, once as protobuf has it."""
    model = from_proto(wide())
    assert isinstance(model.ir.graph.initializers["w1"].const_value, ir.Tensor)
    assert model.tensor("w1") is model.tensor("w1")
    assert not model.tensor("w1").flags.writeable


def test_what_was_outside_stays_outside(tmp_path):
    model = load(moved_out(wide(), tmp_path))
    edited = operate(model, Widen("a", 50)).model
    path = save(edited, tmp_path / "out" / "wider.onnx")
    assert sorted(f.name for f in path.parent.iterdir()) == ["wider.onnx", "wider.onnx.data"]
    assert path.stat().st_size < 2000
    found = references(path)
    assert set(found) == {"w1", "w2"}  # a bias is smaller than its reference and its page
    for entry in found.values():
        assert entry["location"] == "wider.onnx.data"
        assert int(entry["offset"]) % 4096 == 0
    again = load(path)
    assert same(again, edited)
    assert again.to_bytes() == edited.to_bytes()
    assert difference(again, model) < 1e-5
    onnx.checker.check_model(str(path), full_check=True)
    theirs = onnx.load_model(str(path))
    for tensor in theirs.graph.initializer:
        assert np.array_equal(numpy_helper.to_array(tensor), edited.tensor(tensor.name))


@pytest.mark.parametrize("name", models.RUNNABLE)
def test_round_trip_with_a_data_file(name, tmp_path, monkeypatch, large):
    monkeypatch.setattr(external_data, "SMALLEST", 48)
    model = loaded(name)
    path = save(model, tmp_path / "m.onnx")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    again = load(path)
    assert again.external
    assert same(again, model)
    assert difference(again, model) == 0.0
    assert not loaded(name).external


@pytest.mark.parametrize("name", models.RUNNABLE)
def test_a_pickled_model_is_the_same(name):
    model = loaded(name)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert same(model, again)
    assert again.notes == model.notes
    assert [(p.name, p.shape, p.dtype) for p in again.outputs] == [(p.name, p.shape, p.dtype) for p in model.outputs]
    for node, twin in zip(model.nodes, again.nodes, strict=True):
        assert [(v.name, v.shape, v.dtype) for v in node.outputs] == [(v.name, v.shape, v.dtype) for v in twin.outputs]


def test_nothing_large_enough_for_a_data_file(tmp_path):
    small = load(moved_out(models.build("mlp_relu.legacy"), tmp_path))
    assert max(t.nbytes for t in small.tensors().values()) < 1024
    assert not references(save(small, tmp_path / "small.onnx"))
    assert not (tmp_path / "small.onnx.data").exists()


def test_a_message_that_would_be_too_large(large):
    model = from_proto(wide())
    for attempt in (model.to_bytes, model.to_proto):
        with pytest.raises(ModelError, match="at most 2 GB: save it to a file"):
            attempt()


def test_saving_in_place(tmp_path):
    """The model that is saved is mapped from the very file that its data file replaces."""
    path = save(load(moved_out(wide(), tmp_path)), tmp_path / "model.onnx")
    expected = from_proto(wide())
    model = load(path)
    for k in range(3):
        save(model, path, force=True)
        assert same(model, expected)
        assert same(load(path), expected)
        data = [f.name for f in tmp_path.iterdir() if f.name.startswith("model.onnx")]
        assert len(data) == 2, (k, data)  # the old data file is gone
    smaller = from_proto(wide(width=35))
    save(smaller, path, force=True)
    assert same(load(path), smaller)
    assert same(model, expected)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["m.onnx", "model.onnx", "weights.bin"]


def test_saving_over_a_file_whose_data_has_another_name(tmp_path):
    path = moved_out(wide(), tmp_path)
    model = load(path)
    edited = model.with_tensors({"w1": model.tensor("w1") * 2})
    save(edited, path, force=True)
    assert same(load(path), edited)
    assert same(model, from_proto(wide()))
    assert sorted(f.name for f in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data", "weights.bin"]


@pytest.mark.parametrize("outside", [True, False])
def test_whenever_it_stops_the_files_fit_together(tmp_path, monkeypatch, outside):
    """Before and after every rename there is a whole model: the old one, or the new one."""
    old = load(moved_out(wide(), tmp_path))
    path = save(old, tmp_path / "model.onnx")
    new = from_proto(wide(width=35))
    if outside:
        new = load(moved_out(wide(width=35), tmp_path, name="n.onnx", location="others.bin"))
    seen = []

    def look() -> None:
        now = load(path)
        assert same(now, old) or same(now, new)
        seen.append(same(now, new))

    for operation in ("replace", "unlink", "touch"):
        real = getattr(Path, operation)

        def watched(self: Path, *args: object, _real: object = real, **keywords: object) -> object:
            look()
            result = _real(self, *args, **keywords)  # type: ignore[operator]
            look()
            return result

        monkeypatch.setattr(Path, operation, watched)
    save(new, path, force=True)
    look()
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


@pytest.mark.parametrize("failing", range(1, 5))
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, failing):
    """`fsync` fails at its nth call: for the data file, its folder, the `.onnx` file, the folder again."""
    path = save(load(moved_out(wide(), tmp_path)), tmp_path / "model.onnx")
    old, new = load(path), load(moved_out(wide(width=35), tmp_path, name="n.onnx", location="others.bin"))
    before = sorted(tmp_path.iterdir())
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            message = "no space left on device"
            raise OSError(message)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    if failing in (1, 3):
        with pytest.raises(ModelError, match="no space left"):
            save(new, path, force=True)
        assert same(load(path), old)
        assert sorted(tmp_path.iterdir()) == before
    else:  # not every file system can write down names at once
        save(new, path, force=True)
        assert same(load(path), new)
        assert len(list(tmp_path.iterdir())) == len(before)


def test_neither_file_is_overwritten_unasked(tmp_path, large):
    (tmp_path / "a.onnx.data").write_text("mine")
    (tmp_path / "b.onnx").write_text("mine")
    for name in ("a.onnx", "b.onnx"):
        with pytest.raises(OutputExistsError, match="--force"):
            save(from_proto(wide()), tmp_path / name)
        with pytest.raises(OutputExistsError, match="--force"):
            ensure_free([tmp_path / name], force=False)
        ensure_free([tmp_path / name], force=True)
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a.onnx.data": "mine", "b.onnx": "mine"}


def test_tied_weights_are_written_once(tmp_path, large):
    model = from_proto(wide(width=30))
    clone = model.ir.clone()
    clone.graph.initializers["w2"].const_value = clone.graph.initializers["w1"].const_value
    path = save(Model(clone), tmp_path / "m.onnx")
    found = references(path)
    assert found["w1"] == found["w2"]
    assert (tmp_path / "m.onnx.data").stat().st_size == 30 * 30 * 4
    again = load(path)
    assert np.array_equal(again.tensor("w1"), again.tensor("w2"))


def external(name: str, array: np.ndarray, data_type: int, **entries: object) -> TensorProto:
    tensor = TensorProto(name=name, data_type=data_type, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return tensor


def with_reference(tmp_path: Path, **entries: object) -> Path:
    proto = wide()
    weight = numpy_helper.to_array(proto.graph.initializer[0])
    proto.graph.initializer[0].CopyFrom(external("w1", weight, TensorProto.FLOAT, **entries))
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_offsets_that_no_float_can_be_read_from(tmp_path):
    weight = numpy_helper.to_array(wide().graph.initializer[0])
    (tmp_path / "odd.bin").write_bytes(b"abc" + weight.tobytes() + b"more")
    for length in ({}, {"length": weight.nbytes}):
        model = load(with_reference(tmp_path, location="odd.bin", offset=3, **length))
        assert np.array_equal(model.tensor("w1"), weight)
        assert model.tensor("w1").flags.aligned
        assert difference(model, from_proto(wide())) == 0.0


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "data.bin", "offset": 8},
        {"location": "data.bin", "offset": -8},
        {"location": "data.bin", "offset": "here"},
        {"location": "data.bin", "length": 4},
        {"location": "data.bin", "length": 10**12},
        {"location": "data.bin", "offset": 10**30},
        {"location": ""},
        {"location": "."},
        {"location": "sub"},
        {"location": "none.bin"},
        {"location": "none/../data.bin"},
        {"location": "../secret.bin"},
        {"location": "sub/../../secret.bin"},
        {"location": "link.bin"},
        {"location": "sub/link/secret.bin"},
        {"location": "/dev/zero"},
        {"location": "zero"},
        {"location": "*/_ORT_MEM_ADDR_/*", "offset": 4096, "length": 4800},
        {},
    ],
    ids=str,
)
def test_references_that_are_refused(tmp_path, entries):
    """Among them every way out of the folder, and what the engine takes for an address in its memory."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    (folder / "data.bin").write_bytes(bytes(30 * 40 * 4))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "sub" / "link").symlink_to(tmp_path)
    (folder / "zero").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="external data is missing or does not fit") as error:
        load(with_reference(folder, **entries))
    assert "\n" not in str(error.value)


def test_references_in_a_message_without_a_path(tmp_path):
    proto = onnx.load_model(str(moved_out(wide(), tmp_path)), load_external_data=False)
    with pytest.raises(ModelError, match="load it from its path"):
        from_proto(proto)


def test_tensors_of_unusual_types(tmp_path):
    """Bytes that are no array of NumPy's: two numbers share one, or the type is none of its own."""
    four = np.array([1, -2, 3, -4, 5], ml_dtypes.int4)
    brain = np.linspace(-1, 1, 600).astype(ml_dtypes.bfloat16)
    empty = np.zeros((0, 3), np.float32)
    (tmp_path / "data.bin").write_bytes(ir.Tensor(four).tobytes() + bytes(1) + brain.tobytes())
    initializers = [
        external("four", four, TensorProto.INT4, location="data.bin", offset=0, length=3),
        external("brain", brain, TensorProto.BFLOAT16, location="data.bin", offset=4, length=1200),
        external("empty", empty, TensorProto.FLOAT, location="data.bin", offset=0, length=0),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("a", [5]), ("b", [600]), ("c", [0, 3]))
    ]
    initializers.append(numpy_helper.from_array(np.array(1.0, np.float32), "one"))
    nodes = [
        helper.make_node("DequantizeLinear", ["four", "one"], ["a"]),
        helper.make_node("Cast", ["brain"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["empty"], ["c"]),
    ]
    proto = helper.make_model(
        helper.make_graph(nodes, "types", [], outputs, initializers),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    model = load(tmp_path / "m.onnx")
    for again in (model, load(save(model, tmp_path / "out.onnx"))):
        values = Session(again).run({})
        assert np.array_equal(values["a"], four.astype(np.float32))
        assert np.array_equal(values["b"], brain.astype(np.float32))
        assert values["c"].shape == (0, 3)


def test_tensors_of_subgraphs_and_attributes(tmp_path):
    weight = np.arange(600, dtype=np.float32).reshape(2, 300)
    (tmp_path / "data.bin").write_bytes(weight.tobytes())
    proto = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> branches (float[N, 2] x, bool flag) => (float[N, 300] y) {
            y = If (flag) <
                then_branch = then () => (float[N, 300] z1) { z1 = MatMul (x, inner) },
                else_branch = other () => (float[N, 300] z2) { c = Constant () z2 = MatMul (x, c) }
            >
        }"""
    )
    then, other = (a.g for a in sorted(proto.graph.node[0].attribute, key=lambda a: a.name == "else_branch"))
    then.initializer.append(external("inner", weight, TensorProto.FLOAT, location="data.bin"))
    attribute = other.node[0].attribute.add()
    attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
    attribute.t.CopyFrom(external("", weight, TensorProto.FLOAT, location="data.bin"))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    model = load(tmp_path / "m.onnx")
    path = save(model, tmp_path / "out.onnx")
    assert external_data.tensor_bytes(model.ir) == weight.nbytes
    assert (tmp_path / "out.onnx.data").stat().st_size == weight.nbytes
    x = np.array([[1, 2], [3, 4]], np.float32)
    for again in (model, load(path)):
        for flag in (True, False):
            np.testing.assert_array_equal(Session(again).run({"x": x, "flag": np.array(flag)})["y"], x @ weight)


# --- more than 2 GB -----------------------------------------------------------------------------------------------------------

WIDTH, LAYERS = 8192, 10

CHILD = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from pysurgeon.model import load, save
from pysurgeon.model.feeds import random_feeds
from pysurgeon.surgery import Calibration, Widen, operate
folder = Path(sys.argv[1])
print("baseline", flush=True)
sys.stdin.readline()
model = load(folder / "big.onnx")
done = operate(model, Widen("m3", int(sys.argv[2]), how="split"), Calibration(model, random_feeds(model, batch=4)))
assert done.record.measured_error < 1e-5, done.record
save(done.model, folder / "wide.onnx")
again = load(folder / "wide.onnx")
for name, array in again.tensors().items():
    expected = done.model.tensor(name)
    assert array.shape == expected.shape and np.array_equal(array[:, ::64], expected[:, ::64]), name
try:
    again.to_bytes()
except Exception as error:
    assert "at most 2 GB" in str(error), error
else:
    raise AssertionError
"""


def anonymous(pid: int) -> int:
    """Bytes that a process has for itself. Pages of mapped files are left out: the system takes them back when it likes."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_more_than_two_gigabytes(tmp_path):
    """Load, widen, verify, save and load again: beyond the edited tensors, it takes a fraction of the largest tensor."""
    if shutil.disk_usage(tmp_path).free < 8e9:
        pytest.skip("less than 8 GB of free disk")
    size = WIDTH * WIDTH * 4
    assert size * LAYERS > 2**31
    try:
        write_big(tmp_path)
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(WIDTH + 64)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "baseline\n", process.stderr.read()
        baseline = peak = anonymous(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(0.002)
        assert process.returncode == 0, process.stderr.read()
        process.communicate()
        assert (tmp_path / "wide.onnx").stat().st_size < 10_000
        assert (tmp_path / "wide.onnx.data").stat().st_size >= (LAYERS - 2) * size + 2 * WIDTH * (WIDTH + 64) * 4
        if not can_differentiate():
            return  # an onnxruntime that is new enough not to train copies what it is given
        edited = 2 * WIDTH * (WIDTH + 64) * 4
        assert peak - baseline < edited + 0.3 * size, f"{(peak - baseline) / 1e6:.0f} MB"
    finally:
        for file in tmp_path.iterdir():
            file.unlink()


def write_big(folder: Path) -> None:
    """Ten dense layers. Each weight has random rows at its beginning and is a hole in the file otherwise."""
    rng, size = np.random.default_rng(0), WIDTH * WIDTH * 4
    nodes, initializers, value = [], [], "x"
    with (folder / "big.bin").open("wb") as file:
        for k in range(LAYERS):
            file.seek(k * size)
            file.write((rng.standard_normal((64, WIDTH), dtype=np.float32) / 8).tobytes())
            weight = external(
                f"w{k}", np.broadcast_to(0, (WIDTH, WIDTH)), TensorProto.FLOAT, location="big.bin", offset=k * size
            )
            initializers.append(weight)
            nodes += [
                helper.make_node("MatMul", [value, f"w{k}"], [f"m{k}"]),
                helper.make_node("Relu", [f"m{k}"], [f"r{k}"]),
            ]
            value = f"r{k}"
        file.truncate(LAYERS * size)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("x", value)]
    graph = helper.make_graph(nodes, "big", ports[:1], ports[1:], initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "big.onnx").write_bytes(proto.SerializeToString())
