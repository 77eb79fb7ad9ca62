"""Layers under the names of their modules, and what they cost."""

from __future__ import annotations

import models
import pytest
from checks import loaded, structure

from pysurgeon.model.costs import costs


def torch_layers(name: str) -> dict[str, int]:
    """Parameters of every module with a weight of two axes or more, by its name."""
    return {
        key: sum(p.numel() for p in part.parameters())
        for key, part in models.module(name).named_modules()
        if getattr(part, "weight", None) is not None and part.weight.ndim > 1
    }


@pytest.mark.parametrize("exporter", ["legacy", "training", pytest.param("dynamo", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [n for n in models.TORCH if n != "tied"])
def test_layers_are_named_as_the_modules(name, exporter):
    found = structure(f"{name}.{exporter}").layers
    assert {x.name for x in found} == set(torch_layers(name))


@pytest.mark.parametrize("name", [n for n in models.TORCH if n not in ("tied", "mixer", "attention", "tokens")])
def test_parameters_of_a_layer(name):
    parameters = torch_layers(name)
    norms = any("BatchNorm" in type(m).__name__ for m in models.module(name).modules())
    for layer in structure(f"{name}.training").layers:
        assert layer.parameters == parameters[layer.name]
    if not norms:  # folded norms leave biases behind
        assert {x.name: x.parameters for x in structure(f"{name}.legacy").layers} == parameters


def test_a_layer_that_is_used_twice_is_two():
    assert [x.name for x in structure("tied.legacy").layers] == ["stem", "twice", "twice_2", "head"]


@pytest.mark.parametrize("name", models.TRAINING_EXPORT)
def test_trainable_are_the_parameters_of_the_module(name):
    model = loaded(name)
    parameters = dict(models.module(name.split(".")[0]).named_parameters())
    assert model.parameter_count() == sum(p.numel() for p in parameters.values())
    assert set(model.trainable()) == set(parameters) or "conv1d" in name  # slopes of PRelu get a new name
    assert set(model.statistics()) == {
        k for k, _ in models.module(name.split(".")[0]).named_buffers() if "running" in k
    }


@pytest.mark.parametrize("name", [n for n in models.TORCH if n != "float64"])
def test_macs_of_convolutions_and_dense_layers(name):
    """Counted by hooks on the modules: output elements times the weights that each one reads."""
    import torch

    net, shape = models.module(name), models.TORCH[name][1]
    total = 0

    def count(part: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * part.weight[0].numel()

    for part in net.modules():
        if getattr(part, "weight", None) is not None and part.weight.ndim > 1:
            part.register_forward_hook(count)
    with torch.no_grad():
        net(torch.zeros(1, *shape[1:]))
    if name == "attention":
        total += 2 * 2 * 3 * 3 * 4  # scores and their sums: 2 heads, 3 tokens, 4 units
    for exporter in ("legacy", "training"):
        assert costs(loaded(f"{name}.{exporter}")).macs == total


def test_macs_are_for_one_sample_of_a_fixed_batch():
    assert costs(loaded("fixed_batch")).macs == costs(loaded("flatten_view.legacy")).macs


def test_macs_of_weights_on_the_left():
    # (6, 8) and (7, 6) times three columns, (3, 7) times (7, 6), (3, 6) times (6, 2): the last two once for three samples
    assert costs(loaded("left_weight")).macs == 6 * 8 * 3 + 7 * 6 * 3 + 7 * 6 + 6 * 2


def test_costs_after_an_operation_follow():
    from pysurgeon.surgery import Widen, operate

    before = costs(loaded("cnn.legacy"))
    done = operate(loaded("cnn.legacy"), Widen("0", 8))
    assert done.record.before == before
    assert done.record.after == costs(done.model)
    assert done.record.after.parameters - before.parameters == 2 * (2 * 9 + 1 + 5 * 9)
    assert done.record.after.macs - before.macs == 2 * (2 * 9 + 5 * 9) * 36
