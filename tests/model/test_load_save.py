"""Files that can be used, files that cannot, and what survives."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import models
import numpy as np
import onnx
import pytest
from checks import assert_valid, difference, loaded
from onnx import numpy_helper

from pysurgeon.errors import ModelError, OutputExistsError
from pysurgeon.model import ensure_free, from_proto, load, save
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error


def one_sentence(error: pytest.ExceptionInfo[ModelError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    assert "Traceback" not in text
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.build("cnn_bn.legacy").SerializeToString())
    return path


def test_missing_file(tmp_path):
    with pytest.raises(ModelError) as error:
        load(tmp_path / "none.onnx")
    assert "does not exist" in one_sentence(error)


def test_directory(tmp_path):
    with pytest.raises(ModelError) as error:
        load(tmp_path)
    assert "is a folder" in one_sentence(error)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.onnx"
    path.touch()
    with pytest.raises(ModelError) as error:
        load(path)
    assert "not an ONNX model" in one_sentence(error)


@pytest.mark.parametrize("suffix", ["onnx", "json", "onnxtxt", "pbtxt", "textproto", "bin"])
@pytest.mark.parametrize(
    "content", [b"hello, I am a text\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(range(256))]
)
def test_not_onnx(tmp_path, content, suffix):
    path = tmp_path / f"other.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        load(path)
    one_sentence(error)


@pytest.mark.parametrize("part", np.linspace(0.001, 0.999, 25))
def test_truncated(file, part):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ModelError) as error:
        load(file)
    one_sentence(error)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_never_end_in_another_error(file, seed):
    """What a damaged file says may even be valid; anything but a model or a ModelError is a defect."""
    rng = np.random.default_rng(seed)
    content = bytearray(file.read_bytes())
    for position in rng.integers(0, len(content), 6):
        content[position] = rng.integers(0, 256)
    file.write_bytes(bytes(content))
    with contextlib.suppress(ModelError):
        load(file)


def test_a_name_that_is_no_text(file):
    """Valid for the protobuf library, and for nobody else."""
    content = file.read_bytes()
    assert content.count(b"\x12\x01N") > 0
    file.write_bytes(content.replace(b"\x12\x01N", b"\x12\x01\xee"))
    with pytest.raises(ModelError) as error:
        load(file)
    one_sentence(error)


def test_unreadable(file):
    file.chmod(0)
    if os.access(file, os.R_OK):  # root reads everything
        pytest.skip("permissions do not bind this user")
    with pytest.raises(ModelError) as error:
        load(file)
    file.chmod(stat.S_IRUSR)
    one_sentence(error)


@pytest.fixture
def external(tmp_path: Path) -> Path:
    path = tmp_path / "external.onnx"
    onnx.save_model(
        models.build("cnn.legacy"), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return path


def test_external_data(external):
    model = load(external)
    for key, array in loaded("cnn.legacy").tensors().items():
        np.testing.assert_array_equal(model.tensor(key), array)
    external.with_name("weights.bin").unlink()  # what was loaded is in memory
    assert difference(model, loaded("cnn.legacy")) == 0.0


def test_missing_external_data(external):
    external.with_name("weights.bin").unlink()
    with pytest.raises(ModelError) as error:
        load(external)
    assert "external data" in one_sentence(error)


def test_external_data_cut_short(external):
    weights = external.with_name("weights.bin")
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(ModelError) as error:
        load(external)
    one_sentence(error)


def test_external_data_outside_the_folder(external, tmp_path):
    model = onnx.load_model(str(external), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret.bin"
    nested = tmp_path / "nested"
    nested.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    (nested / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError) as error:
        load(nested / "model.onnx")
    one_sentence(error)


def test_initializer_with_too_few_bytes():
    proto = models.build("cnn.legacy")
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-8]
    with pytest.raises(ModelError):
        from_proto(proto)


def test_no_operator_set():
    proto = models.build("cnn.legacy")
    del proto.opset_import[:]
    with pytest.raises(ModelError, match="no opset"):
        from_proto(proto)


def test_operators_older_than_numpys_broadcasting():
    proto = models.build("plain_opset11")
    proto.opset_import[0].version = 6
    with pytest.raises(ModelError, match="opset 6"):
        from_proto(proto)


def test_shapes_that_contradict_one_another():
    proto = models.parsed(
        '<ir_version: 8, opset_import: ["" : 17]> bad (float[N, 3] x) => (float[N, 2] y) { y = MatMul (x, w) }',
        w=(4, 2),
    )
    with pytest.raises(ModelError):
        Session(from_proto(proto))


def test_stale_shapes_inside_do_not_matter(capfd):
    proto = models.build("cnn.legacy")
    stale = onnx.helper.make_tensor_value_info(proto.graph.node[0].output[0], onnx.TensorProto.FLOAT, [7, 7])
    proto.graph.value_info.append(stale)
    model = from_proto(proto)
    values = {v.name: v for node in model.ir.graph for v in node.outputs}
    assert [d if isinstance(d, int) else d.value for d in values[stale.name].shape] == ["N", 6, 6, 6]
    assert capfd.readouterr() == ("", "")


def test_both_names_of_the_standard_domain():
    proto = models.build("plain_opset13")
    proto.opset_import[0].domain = "ai.onnx"
    assert from_proto(proto).opset == 13


@pytest.mark.parametrize("name", [*models.RUNNABLE, *models.TRAINING_EXPORT, *models.UNRUNNABLE])
def test_the_message_is_not_modified(name):
    proto = models.build(name)
    before = proto.SerializeToString(deterministic=True)
    from_proto(proto)
    assert proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", [*models.RUNNABLE, *models.UNRUNNABLE])
def test_round_trip(name, tmp_path):
    model = loaded(name)
    path = save(model, tmp_path / "deep" / "folder" / "m.onnx")
    assert path.read_bytes() == model.to_bytes()
    again = load(path)
    assert again.to_bytes() == model.to_bytes()
    assert set(again.tensors()) == set(model.tensors())
    for key, array in model.tensors().items():
        np.testing.assert_array_equal(again.tensor(key), array)


def test_what_the_file_says_survives(tmp_path):
    proto = models.build("cnn.legacy")
    proto.doc_string, proto.graph.doc_string, proto.producer_name, proto.domain = (
        "a doc",
        "graph doc",
        "somebody",
        "org.test",
    )
    proto.model_version = 7
    for key, value in (("author", "Å. Nonymous"), ("labels", "cat,dog")):
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    saved = onnx.load_model(str(save(from_proto(proto), tmp_path / "m.onnx")))
    assert (saved.doc_string, saved.graph.doc_string, saved.producer_name) == ("a doc", "graph doc", "somebody")
    assert (saved.domain, saved.model_version, saved.graph.name) == ("org.test", 7, proto.graph.name)
    assert {p.key: p.value for p in saved.metadata_props} == {"author": "Å. Nonymous", "labels": "cat,dog"}
    assert [(o.domain, o.version) for o in saved.opset_import] == [("", 17)]
    assert saved.ir_version == proto.ir_version
    assert saved.graph.input == proto.graph.input
    assert saved.graph.output == proto.graph.output
    assert [n.name for n in saved.graph.node] == [n.name for n in proto.graph.node]


def test_save_refuses_to_overwrite(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="--force"):
        save(loaded("cnn.legacy"), path)
    assert path.read_text() == "mine"
    save(loaded("cnn.legacy"), path, force=True)
    assert load(path).to_bytes() == loaded("cnn.legacy").to_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_save_leaves_nothing_behind_when_it_fails(tmp_path):
    folder = tmp_path / "m.onnx"
    folder.mkdir()
    (folder / "inside").touch()
    with pytest.raises(ModelError, match="is a folder"):
        save(loaded("cnn.legacy"), folder, force=True)
    assert list(tmp_path.iterdir()) == [folder]
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(ModelError, match="cannot be written"):
        save(loaded("cnn.legacy"), blocked / "m.onnx")


def test_save_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = save(loaded("cnn.legacy"), tmp_path / "m.onnx")
    before = path.read_bytes()

    def full(_: int) -> None:
        message = "no space left on device"
        raise OSError(message)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="no space left"):
        save(loaded("mlp_relu.legacy"), path, force=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_ensure_free(tmp_path):
    (tmp_path / "a").touch()
    ensure_free([tmp_path / "b"], force=False)
    ensure_free([tmp_path / "a"], force=True)
    with pytest.raises(OutputExistsError):
        ensure_free([tmp_path / "b", tmp_path / "a"], force=False)


def test_with_tensors():
    model = loaded("cnn.legacy")
    before = model.to_bytes()
    name = model.trainable()[0]
    other = model.with_tensors({name: model.tensor(name) * 2})
    np.testing.assert_array_equal(other.tensor(name), model.tensor(name) * 2)
    assert model.to_bytes() == before
    assert_valid(other, like=model)
    with pytest.raises(ModelError, match="no initializer 'none'"):
        model.with_tensors({"none": np.zeros(1, np.float32)})
    with pytest.raises(ModelError, match="the new values are"):
        model.with_tensors({name: np.zeros(3, np.float32)})
    with pytest.raises(ModelError, match="float64"):
        model.with_tensors({name: model.tensor(name).astype(np.float64)})


def test_with_tensors_leaves_a_scalar_a_scalar():
    proto = models.parsed(
        '<ir_version: 8, opset_import: ["" : 17]> s (float[N, 3] x) => (float[N, 3] y) { y = Mul (x, s) }'
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.array(2.0, np.float32), "s"))
    model = from_proto(proto).with_tensors({"s": np.array(3.0, np.float32)})
    onnx.checker.check_model(model.to_proto(), full_check=True)
    assert model.tensor("s").shape == ()
    feeds = random_feeds(model)
    assert output_error({"y": feeds["x"] * 3}, Session(model).run(feeds)) == 0.0


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_model_is_written_through_nothing_that_lies_where_it_is_prepared(tmp_path, kind):
    precious, partial = tmp_path / "precious", tmp_path / f".m.onnx.{os.getpid()}.partial"
    precious.write_text("mine")
    partial.symlink_to(precious) if kind == "link" else partial.write_text("of a process that was killed")
    save(loaded("mlp_relu"), tmp_path / "m.onnx")
    assert precious.read_text() == "mine"
    assert not (tmp_path / "m.onnx").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "precious"]
