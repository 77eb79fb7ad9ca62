"""Random weights behind which no mistake can hide.

Fresh modules are blind in places: norm weights are one, biases and many tokens are zero, the last norm of a residual branch is zero, so
that an operation which permutes or drops units there seems to keep the function. Here every tensor varies along every axis. Matrices
keep the initialization of their library, unless it is constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from .recipe import EXPORTED, Recipe

_SCALES = ("gamma", "layer_scale", "layerscale", "lambda", "gain", "ls1", "ls2", "alpha", "res_scale")


def _is_constant(tensor: torch.Tensor) -> bool:
    return bool((tensor == tensor.flatten()[0]).all())


@torch.no_grad()
def perturb(module: nn.Module) -> None:
    """Replace what is constant, in place. Draws from torch's global generator."""
    norms = {id(m) for m in module.modules() if "norm" in type(m).__name__.lower() or hasattr(m, "running_mean")}
    owner = {id(p): m for m in module.modules() for p in m.parameters(recurse=False)}
    for name, parameter in module.named_parameters():
        if not parameter.is_floating_point() or parameter.numel() == 0:
            continue
        leaf = name.split(".")[-1].lower()
        if id(owner[id(parameter)]) in norms and leaf in ("weight", "scale"):
            parameter.uniform_(0.5, 1.5)
        elif "bias" in leaf and (parameter.ndim == 1 or _is_constant(parameter)):
            parameter.normal_(0, 0.1)
        elif _is_constant(parameter):
            _replace_constant(name.lower(), parameter)
        elif parameter.ndim == 2 and leaf == "weight" and float(parameter.std()) < 0.1 * parameter.shape[1] ** -0.5:
            # A head that starts near zero, behind which everything else is small.
            parameter.mul_(0.5 * parameter.shape[1] ** -0.5 / float(parameter.std()))
    for buffer_owner in module.modules():
        if isinstance(getattr(buffer_owner, "running_var", None), torch.Tensor):
            buffer_owner.running_mean.normal_(0, 0.1)
            buffer_owner.running_var.uniform_(0.5, 1.5)


def _replace_constant(name: str, parameter: torch.Tensor) -> None:
    value = float(parameter.flatten()[0])
    if any(part in name for part in _SCALES) and (parameter.numel() > 1 or value == 0):
        parameter.uniform_(0.2, 0.8)
    elif value != 0 and parameter.numel() == 1:
        pass  # a temperature or a slope: one number cannot be anything but constant
    elif value != 0:
        parameter.uniform_(0.5, 1.5).mul_(value)
    elif parameter.ndim >= 2 and name.endswith("weight"):
        parameter.normal_(0, parameter[0].numel() ** -0.5)
    else:
        parameter.normal_(0, 0.1)


@contextmanager
def _batch_statistics(module: nn.Module) -> Iterator[None]:
    """While open, a forward pass gives every BatchNorm the statistics of what it sees, moved a little."""

    @torch.no_grad()
    def set_statistics(norm: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        x = arguments[0].transpose(0, 1).flatten(1)
        var, mean = torch.var_mean(x, dim=1, unbiased=False)
        # A channel that a ReLU has silenced has no variance of its own; dividing by it would blow up the next batch.
        var = var.clamp_min(0.3 * float(var.mean()) + 1e-6)
        norm.running_mean.copy_(mean + 0.1 * var.sqrt() * torch.randn_like(mean))
        norm.running_var.copy_(var * torch.empty_like(var).uniform_(0.5, 1.5))

    hooks = [
        m.register_forward_pre_hook(set_statistics)
        for m in module.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def settle(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Let BatchNorm normalize, as it does in trained models.

    With statistics drawn blindly every residual block doubles the variance, and what fifty of them make of it is no model any more.
    Statistics of a few images fit those images only, and others come out larger at every layer: `settling` says how many it takes.
    """
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        with _batch_statistics(module):
            module(*inputs)


def settling(recipe: Recipe, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Inputs for `settle`.

    With 4 images, EfficientNet-B4 multiplied the last digit of its input by 50,000; with 32 images that differ coarsely as well as in
    their noise (deep down, one image of noise looks like another) it is by 7.
    """
    pixels = max(math.prod(size for size in i.shape[2:] if isinstance(size, int)) for i in recipe.inputs)
    inputs = tuple(i.draw(rng, EXPORTED | {"N": 32 if pixels <= 128 * 128 else 8}) for i in recipe.inputs)
    return tuple(x + _coarse(x) if x.ndim == 4 else x for x in inputs)


def _coarse(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(torch.randn(*x.shape[:2], 4, 4), size=x.shape[2:], mode="bilinear")
