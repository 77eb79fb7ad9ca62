"""A trained model that is fed in another way, or whose classes have another order, is noticed; and so is how it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starts import cnn, mlp

from pysurgeon import api
from pysurgeon.data import Dataset, Normalize, Split
from pysurgeon.errors import DataError, DataWarning, SettingError, UsageError
from pysurgeon.model import Model, from_proto
from pysurgeon.training import as_expected, evaluate, with_input_metadata
from pysurgeon.training.task.order import best_positions, found_order
from pysurgeon.training.task.trained import looks_trained
from tests.training.test_normalization import pixels, softmax_regression

# The digits by words that sort in another order than their numbers do.
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def arrays(data: Dataset) -> dict[str, Any]:
    parts = {"train": data.train, "val": data.validation, "test": data.test}
    return {f"x_{n}": p.x for n, p in parts.items()} | {f"y_{n}": p.y for n, p in parts.items()}


def coloured() -> Dataset:
    """The digits in bytes, in three channels that differ."""
    data = pixels()

    def part(split: Split) -> Split:
        x = np.repeat(split.x, 3, axis=1) // np.array([1, 2, 3], np.uint8).reshape(1, 3, 1, 1)
        return Split(x.astype(np.uint8), split.y)

    return replace(data, train=part(data.train), validation=part(data.validation), test=part(data.test), mean=np.zeros(3, np.float32), std=np.ones(3, np.float32))  # fmt: skip


def fed(data: Dataset, normalize: Normalize) -> Dataset:
    return Dataset.build("fed", train=data.train, validation=data.validation, test=data.test, classes=data.classes, normalize=normalize)  # fmt: skip


def trained(data: Dataset, normalize: Normalize) -> tuple[Model, float]:
    """A model trained on data normalized like that, and its test accuracy."""
    chosen = fed(data, normalize)
    model = softmax_regression(chosen, chosen.normalized(chosen.train.x))
    return model, evaluate(model, chosen, "test").accuracy


def shuffled(data: Dataset, order: list[int]) -> Dataset:
    """As a folder gives it whose names sort in this order: its class k is number `order[k]` of the model."""
    new = np.argsort(order)
    parts = {n: replace(p, y=new[p.y]) for n, p in (("train", data.train), ("validation", data.validation), ("test", data.test))}  # fmt: skip
    return Dataset.build("shuffled", **parts, classes=tuple(WORDS[k] for k in order))  # type: ignore[arg-type]


@pytest.mark.parametrize("normalize", ["standard", "unit", "none", "imagenet", "half", "clip"])
def test_a_trained_model_is_fed_as_its_author_did(normalize: Normalize) -> None:
    data = coloured()
    model, accuracy = trained(data, normalize)
    found = api.doctor(model, arrays(data))
    assert not found.cautions
    read = as_expected(model, fed(data, "auto"))
    assert evaluate(model, read, "test").accuracy >= accuracy - 0.02  # two of the usual ways may be nearly the same
    assert all(f"{name} " in read.notes[-1] for name in ("standard", "unit", "none", "imagenet", "half", "clip"))
    assert api.doctor(model, arrays(data), normalize=normalize).validation_accuracy == pytest.approx(
        evaluate(model, fed(data, normalize), "validation").accuracy
    )


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(10)))
def test_any_order_of_the_classes_is_found(order: list[int]) -> None:
    model, accuracy = trained(pixels(), "half")
    data = shuffled(pixels(), order)
    found = as_expected(model, data)
    assert bool(found.cautions) == (order != sorted(order))
    matched = as_expected(model, replace(data, order="match"))
    assert not matched.cautions
    assert matched.classes == (WORDS if order != sorted(order) else data.classes)
    assert evaluate(model, matched, "test").accuracy > accuracy - 0.02  # two of the usual ways may be nearly the same
    if found.cautions:
        listed = ", ".join(f"{name}={k}" for k, name in enumerate(WORDS))
        assert f"with {listed} accuracy would be" in found.cautions[0]
        assert "--classes match" in found.cautions[0]
        assert found.classes == data.classes


def test_the_order_is_given_and_the_file_says_it_from_then_on() -> None:
    model, accuracy = trained(pixels(), "half")
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    data = shuffled(pixels(), order)
    named = {**arrays(data), "classes": data.classes}
    with pytest.warns(DataWarning, match="another order"):
        assert "is it fed as it was trained" in api.doctor(model, named).verdict
    for classes in (list(WORDS), ",".join(WORDS), "match"):
        found = api.doctor(model, named, classes=classes)
        assert not found.cautions
        assert found.verdict.startswith("it fits")
    noted = with_input_metadata(model, as_expected(model, replace(data, order="match")))
    read = as_expected(noted, data)
    assert read.classes == WORDS
    assert "classes in the order of the model's file" in read.notes
    assert evaluate(noted, read, "test").accuracy == accuracy
    # What somebody says counts more than the file.
    swapped = (WORDS[1], WORDS[0], *WORDS[2:])
    assert as_expected(noted, data.with_classes(swapped, "given")).classes == swapped


def test_a_folder_may_lack_classes_that_the_model_has() -> None:
    model, accuracy = trained(pixels(), "half")
    everything = arrays(pixels())
    few = {}
    for part in ("train", "val", "test"):
        there = everything[f"y_{part}"] < 8
        few |= {f"x_{part}": everything[f"x_{part}"][there], f"y_{part}": everything[f"y_{part}"][there]}
    found = api.doctor(model, {**few, "classes": WORDS[:8]}, classes=WORDS)
    assert found.validation_accuracy is not None
    assert found.validation_accuracy > accuracy - 0.1


def test_weights_tell_who_is_trained() -> None:
    assert looks_trained(trained(pixels(), "half")[0])
    x = np.random.default_rng(0).standard_normal((24, 24)).astype(np.float32)
    start = from_proto(mlp((24, 24)))
    assert not looks_trained(start.with_tensors({"fc2.weight": x}))
    assert looks_trained(start.with_tensors({"fc2.weight": x + 6 * np.outer(x[0], x[:, 0]) / np.float32(5)}))


@pytest.mark.parametrize("normalize", ["auto", "unit"])
def test_a_trained_model_that_answers_badly_is_a_caution(normalize: Normalize) -> None:
    """Fed with a mean of its own that nobody could guess, and inverted."""
    data = pixels()
    x = -fed(data, "unit").normalized(data.train.x) * 3 + 7
    model = softmax_regression(data, x)
    with pytest.warns(DataWarning, match=r"looks trained, and .*of 128 training samples"):
        found = api.doctor(model, arrays(data), normalize=normalize)
    assert found.cautions
    assert not found.verdict.startswith("it fits")


def test_a_choice_that_is_wrong_is_told_with_what_is_right() -> None:
    data = pixels()
    model, _ = trained(data, "none")
    with pytest.warns(DataWarning, match=r"answers badly as it is fed \(.*%.*\); --normalize none does better"):
        api.doctor(model, arrays(data), normalize="half")


def test_numbers_of_ones_own() -> None:
    data, model = coloured(), trained(coloured(), "imagenet")[0]
    expected = api.doctor(model, arrays(data), normalize="imagenet").validation_accuracy
    for mean, std in (
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("0.485,0.456,0.406", "0.229, 0.224, 0.225"),
        ("123.675,116.28,103.53", "58.395,57.12,57.375"),
    ):
        assert api.doctor(model, arrays(data), mean=mean, std=std).validation_accuracy == expected


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ({"mean": "a,b"}, "mean is 'a,b'; give one number"),
        ({"mean": (0.1, 0.2)}, r"mean has 2 numbers, and samples have the shape \(1, 8, 8\)"),
        ({"std": 0}, "std is 0; what values are divided by must be above 0"),
        ({"mean": 0.5, "normalize": "unit"}, "mean is given, and normalize is 'unit'"),
        ({"normalize": "imagenet"}, "which is for 3 channels"),
        ({"classes": "a,a"}, "has the name 'a' twice"),
        ({"classes": "a"}, "give at least two names"),
    ],
)
def test_what_makes_no_sense_is_refused(reading: dict[str, Any], words: str) -> None:
    with pytest.raises((SettingError, UsageError), match=words):
        api.doctor(from_proto(mlp()), arrays(pixels()), **reading)


def test_a_class_that_is_not_among_the_names_is_told() -> None:
    with pytest.raises(DataError, match=r"has the class 'seven', which is not among the names .*, which has 'sevn'"):
        shuffled(pixels(), list(range(10))).with_classes((*WORDS[:7], "sevn", *WORDS[8:]), "")


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("seed", range(20))
def test_random_weights_look_random(make: Any, seed: int) -> None:
    start = from_proto(make(seed=seed))
    assert not looks_trained(start)


@settings(max_examples=50, deadline=None)
@given(classes=st.integers(2, 20), seed=st.integers(0, 2**16))
def test_no_order_is_found_in_noise(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers, y = rng.integers(0, classes, 600), rng.integers(0, classes, 600)
    assert found_order(answers, y, classes) is None
    assert sorted(best_positions(answers, y, classes)) == list(range(classes))
