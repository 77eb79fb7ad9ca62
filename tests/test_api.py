"""The Python interface: the README's five lines, results as dataclasses, and what it raises."""

from __future__ import annotations

import dataclasses
import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starts import digits, mlp, model

import pysurgeon as ps
from pysurgeon.errors import DataError, OutputExistsError, Refused, RunError, TrainingError, UsageError
from pysurgeon.training import evaluate

QUICK: dict[str, Any] = {"epochs": None, "steps": 20, "generations": 1, "branches": 1, "batch_size": 32, "workers": 1}


@pytest.fixture
def start() -> ps.Model:
    return model(mlp((6,)))


def test_load_operate_save(tmp_path: Path) -> None:
    onnx.save(mlp((6,)), str(tmp_path / "model.onnx"))
    loaded = ps.load(tmp_path / "model.onnx")
    done = ps.apply(loaded, ps.Widen("fc1", 9), ps.InsertLayer("fc1"), ps.Narrow("fc1.next", 5))
    assert ps.save(done.model, tmp_path / "out.onnx") == tmp_path / "out.onnx"
    assert [r.operation for r in done.operations] == ["widen:fc1=9", "insert:fc1", "narrow:fc1.next=5"]
    assert done.after.parameters == ps.load(tmp_path / "out.onnx").parameter_count()
    assert done.before.parameters == loaded.parameter_count() == 460
    with pytest.raises(OutputExistsError):
        ps.save(loaded, tmp_path / "out.onnx")


def test_no_operation_changes_nothing(start: ps.Model) -> None:
    done = ps.apply(start)
    assert done.model is start
    assert done.operations == ()
    assert done.before == done.after


def test_apply_fits_on_the_data_that_is_given(start: ps.Model) -> None:
    random, fitted = (ps.apply(start, ps.Narrow("fc1", 3), data=d) for d in (None, digits()))
    by_name = ps.apply(start, ps.Narrow("fc1", 3), data="digits")
    errors = [ps.compare(start, m.model, digits()).max_error for m in (random, fitted)]
    assert errors[1] < errors[0]
    assert by_name.model.parameter_count() == fitted.model.parameter_count()


def test_a_refusal_leaves_the_model_alone(start: ps.Model) -> None:
    before = start.to_bytes()
    with pytest.raises(Refused, match="2 units"):
        ps.apply(start, ps.Widen("fc1", 8), ps.Narrow("fc1", 2), ps.Widen("fc1", 2))
    assert start.to_bytes() == before


def test_doctor_says_whether_it_trains(start: ps.Model) -> None:
    alone, tried = ps.doctor(start), ps.doctor(start, digits())
    assert alone.trains
    assert tried.trains
    assert alone.nodes == tried.nodes
    assert "the training engine takes it" in tried.verdict
    assert alone.validation_accuracy is None
    assert tried.validation_accuracy == evaluate(start, digits(), "validation").accuracy
    nan = start.with_tensors({"fc1.bias": np.full(6, np.nan, np.float32)})
    found = ps.doctor(nan, digits())
    assert not found.trains
    assert "'fc1.bias' (6 of 6)" in found.verdict


def test_settings_may_be_given_one_by_one(start: ps.Model, tmp_path: Path) -> None:
    one_by_one = ps.train(start, digits(), **QUICK, output=str(tmp_path / "a.onnx"))
    together = ps.train(start, digits(), settings=ps.EvolveSettings("digits", **QUICK))
    assert one_by_one.model.tensor("fc1.weight").tobytes() == together.model.tensor("fc1.weight").tobytes()
    changed = ps.train(start, digits(), settings=ps.EvolveSettings("digits", epochs=7), steps=3, batch_size=32)
    assert changed.steps == 3
    with pytest.raises(UsageError, match="epochs"):
        ps.evolve(start, "digits", run=tmp_path / "run", epoch=2)
    with pytest.raises(UsageError, match=r"lr is 0"):
        ps.evolve(start, "digits", run=tmp_path / "run", lr=0)
    with pytest.raises(UsageError, match="nothing to learn from"):
        ps.train(start, epochs=2)


def test_training_tells_what_it_measured(start: ps.Model) -> None:
    told: list[dict[str, Any]] = []

    class Listener:
        def happened(self, event: dict[str, Any]) -> None:
            told.append(event)

        def training(self, branch: str, step: int, loss: float) -> None: ...

    done = ps.train(start, digits(), epochs=2, observer=Listener())
    assert [event["event"] for event in told] == ["measured"] * 2
    assert told[-1]["accuracy"] == done.validation_accuracy
    assert told[-1]["step"] == done.steps


def test_results_are_frozen(start: ps.Model) -> None:
    for found in (ps.inspect(start), ps.apply(start), ps.compare(start, start), ps.recommend(start, digits())):
        name = dataclasses.fields(found)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(found, name, None)


def test_compare_of_a_model_with_itself(start: ps.Model) -> None:
    found = ps.compare(start, start, digits())
    assert found.max_error == 0
    assert found.a.accuracy == found.b.accuracy


def test_recommend_is_the_same_every_time(start: ps.Model) -> None:
    first, second = (ps.recommend(start, digits(), seed=3) for _ in range(2))
    assert first == second
    assert 0 <= first.validation_accuracy <= 1


def test_recommend_does_not_read_the_test_part(start: ps.Model) -> None:
    data = digits()
    other = dataclasses.replace(data, test=dataclasses.replace(data.test, y=np.roll(data.test.y, 3)))
    assert ps.recommend(start, data) == ps.recommend(start, other)


@pytest.mark.parametrize(
    "wrong", [{"price": float("nan")}, {"price": -1.0}, {"seed": -1}, {"threads": 0}, {"objective": "x"}]
)
def test_recommend_has_ranges(start: ps.Model, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ps.recommend(start, digits(), **wrong)


def test_train_and_evolve(start: ps.Model, tmp_path: Path) -> None:
    settings = ps.EvolveSettings("digits", **QUICK)
    before = start.to_bytes()
    trained = ps.train(start, digits(), settings=settings, output=tmp_path / "trained.onnx")
    assert trained.steps == 20
    assert ps.load(tmp_path / "trained.onnx").to_bytes() == trained.model.to_bytes()
    result = ps.evolve(start, digits(), settings=settings, run=tmp_path / "run")
    assert start.to_bytes() == before
    assert result.alone is not None
    # The start alone is trained by the same steps as `train` takes.
    assert result.alone.test_accuracy == trained.test_accuracy
    assert result.output == tmp_path / "run/result.onnx"
    assert (tmp_path / "run/report.html").exists()
    assert ps.resume(tmp_path / "run", digits()) == result
    with pytest.raises(OutputExistsError):
        ps.evolve(start, digits(), settings=settings, run=tmp_path / "run")


def test_train_refuses_early_to_overwrite(start: ps.Model, tmp_path: Path) -> None:
    (tmp_path / "out.onnx").write_text("precious")
    with pytest.raises(OutputExistsError):
        ps.train(start, settings=ps.EvolveSettings("digits", **{**QUICK, "steps": 10**9}), output=tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_text() == "precious"


def test_evolve_leaves_nothing_behind_where_it_cannot_begin(start: ps.Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data"):
        ps.evolve(start, run=tmp_path / "run")
    with pytest.raises(DataError, match="no data set"):
        ps.evolve(start, "nothing", run=tmp_path / "run")
    with pytest.raises(DataError, match="7"):
        ps.evolve(model(mlp((6,), classes=7)), data=digits(), run=tmp_path / "run")
    with pytest.raises(Refused, match="460"):
        ps.evolve(start, settings=ps.EvolveSettings("digits", max_params=100, strategy="random"), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not the folder of a run"):
        ps.resume(tmp_path)


def test_recommend_says_what_to_install_where_there_is_no_engine(
    start: ps.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysurgeon.training.engines.torch.find_spec", {}.get)
    with pytest.raises(TrainingError, match=r"pip install 'torch>=2\.4'"):
        ps.recommend(start, digits(), trainer="torch")


def test_a_path_is_a_model_text_an_operation_and_arrays_are_data(start: ps.Model, tmp_path: Path) -> None:
    data = digits()
    path = ps.save(start, tmp_path / "start.onnx")
    arrays = {"x_train": data.train.x, "y_train": data.train.y, "x_test": data.test.x, "y_test": data.test.y}
    assert ps.inspect(path).to_json() == ps.inspect(start).to_json()
    (text,) = ps.apply(path, "widen:fc1=9").operations
    (written,) = ps.apply(start, ps.Widen("fc1", np.int64(9))).operations
    assert text == written
    assert json.dumps(text.operation) == json.dumps("widen:fc1=9")
    assert ps.doctor(path, arrays).trains
    done = ps.train(path, arrays, steps=3, output=tmp_path / "trained.onnx")
    found = ps.compare(path, str(tmp_path / "trained.onnx"), arrays)
    assert found.b.accuracy == done.test_accuracy
    run = tmp_path / "run"
    ps.evolve(path, arrays, steps=4, generations=1, branches=1, run=run)
    with pytest.raises(DataError, match="data given in Python"):
        ps.resume(run)
    assert ps.resume(run, arrays).run == run


def test_what_is_no_model_no_operation_no_data_and_no_setting_is_said(start: ps.Model, tmp_path: Path) -> None:
    proto = onnx.ModelProto()
    for call, words in (
        (lambda: ps.inspect(proto), "ModelProto cannot be loaded.*from_proto"),  # type: ignore[arg-type]
        (lambda: ps.apply(start, [ps.Widen("fc1", 8)]), "is no operation; give such as"),  # type: ignore[arg-type]
        (lambda: ps.Widen("fc1", 8.0), "the size of Widen is 8.0; it must be an integer"),  # type: ignore[arg-type]
        (lambda: ps.recommend(start, {1, 2}), "the data is of type set; give a name"),  # type: ignore[arg-type]
        (lambda: ps.recommend(start, None), "the data is of type NoneType; give a name"),  # type: ignore[arg-type]
        (lambda: ps.evolve(start, "digits", step=3, run=tmp_path / "run"), "no setting 'step'; there is steps"),
    ):
        with pytest.raises(UsageError, match=words):
            call()


def test_settings_in_the_place_of_the_data_are_taken_with_a_warning(start: ps.Model, tmp_path: Path) -> None:
    settings = ps.EvolveSettings("digits", **QUICK)
    by_name = ps.train(start, settings=settings)
    with pytest.warns(DeprecationWarning, match=r"second argument of train is the data; give settings as settings="):
        in_place = ps.train(start, settings)  # type: ignore[arg-type]
    with pytest.warns(DeprecationWarning, match="train"):
        with_data = ps.train(start, settings, data=digits())  # type: ignore[misc]
    for other, same in ((in_place, by_name), (with_data, ps.train(start, digits(), settings=settings))):
        assert other.model.tensor("fc1.weight").tobytes() == same.model.tensor("fc1.weight").tobytes()
    with pytest.warns(DeprecationWarning, match="evolve"):
        assert ps.evolve(start, settings, run=tmp_path / "run").steps.trunk == 20  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="settings twice"):
        ps.train(start, settings, settings=settings)  # type: ignore[arg-type]


def test_data_is_the_second_argument_of_every_function_that_takes_it() -> None:
    second = {
        name: list(inspect.signature(getattr(ps, name)).parameters)[1]
        for name in ("doctor", "recommend", "train", "evolve", "resume")
    }
    assert set(second.values()) == {"data"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": {"epochs": 3}}, "settings are of type dict; give an EvolveSettings"),
        ({"settings": "digits"}, "settings are of type str"),
        ({"observer": print}, "observer <built-in function print> has no method 'happened' and none 'training'"),
        ({"epochs": "5"}, "epochs is '5'; it must be a number"),
        ({"steps": 5.5}, "steps is 5.5; it must be an integer"),
        ({"batch_size": None}, "batch_size is None; it must be an integer"),
        ({"workers": "2"}, "workers is '2'; it must be an integer"),
        ({"seed": True}, "seed is True; it must be an integer"),
        ({"limit": 0}, "limit is 0; it must be at least 2"),
        ({"data_dir": 3}, "data_dir is 3; it must be text"),
        ({"objective": ["size"]}, r"objective is \['size'\]; it must be one of"),
        ({"tolerance": "1 %"}, "tolerance is '1 %'; it must be a number"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_one_sentence_before_anything_begins(
    start: ps.Model, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    for call in (ps.train, partial(ps.evolve, run=tmp_path / "run")):
        with pytest.raises(UsageError, match=words):
            call(start, digits(), **options)
    assert not (tmp_path / "run").exists()


@given(
    name=st.sampled_from([f.name for f in dataclasses.fields(ps.EvolveSettings)]),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(),
        st.lists(st.integers()),
        st.just(object()),
    ),
)
def test_any_value_of_any_setting_is_taken_or_refused_with_its_name(name: str, value: object) -> None:
    given: dict[str, Any] = {"data": "digits", name: value}
    try:
        settings = ps.EvolveSettings(**given)
    except UsageError as error:
        said = str(error)
    else:
        said = json.dumps(settings.to_json())
    assert any(word in said for word in (name, "epochs", "objective"))


@pytest.mark.parametrize("call", ["train", "evolve", "resume"])
def test_what_is_no_path_is_said(start: ps.Model, call: str) -> None:
    with pytest.raises(UsageError, match=r"(output|run) is 5; give a path"):
        {
            "train": lambda: ps.train(start, digits(), output=5),  # type: ignore[arg-type]
            "evolve": lambda: ps.evolve(start, digits(), run=5),  # type: ignore[arg-type]
            "resume": lambda: ps.resume(5),  # type: ignore[arg-type]
        }[call]()


def test_a_run_without_a_folder_gets_one(start: ps.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = ps.save(start, tmp_path / "start.onnx")
    assert ps.evolve(path, "digits", **QUICK).run == Path("runs/start-digits-1")
    assert ps.evolve(path, digits(), **QUICK).run == Path("runs/start-digits-2")
    assert ps.evolve(start, digits(), **QUICK).run == Path("runs/model-digits-1")


def test_results_are_printed_as_the_command_line_shows_them(start: ps.Model, tmp_path: Path) -> None:
    done = ps.train(start, digits(), **QUICK)
    found = {
        "Resizable": ps.inspect(start),
        "Predicted": ps.apply(start, "widen:fc1=8"),
        "the training engine takes it": ps.doctor(start, digits()),
        "Score": ps.recommend(start, digits()),
        "20 steps in": done,
        "Latency": ps.compare(start, start, digits()),
        "the start trained alone": ps.evolve(start, digits(), run=tmp_path / "run", **QUICK),
    }
    for words, result in found.items():
        assert words in str(result)
        assert "\x1b" not in str(result)
        assert max(map(len, str(result).splitlines())) < 200
    assert repr(start) == "<Model 'mlp': x float32 (any, 1, 8, 8) -> y float32 (any, 10), 460 parameters>"
    assert len(repr(done)) < 500
    assert done.history[-1].step == 20
