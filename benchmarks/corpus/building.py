"""A torch module of the corpus: built, given its weights, exported, checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from . import Exported, checking, exporting, seeds, weights
from .recipe import EXPORTED, Recipe


def export_recipe(
    make: Callable[[str], Recipe], family: str, member: str, path: Path, max_parameters: int | None = None
) -> Exported:
    """Write one member to `path`, with a dynamic batch if the exporter manages."""
    torch.set_num_threads(1)
    model, _, variant = member.partition("@")
    number = seeds.seed(f"{family}/{model}")
    torch.manual_seed(number)
    recipe = make(model)
    count = sum(p.numel() for p in recipe.module.parameters())
    if max_parameters is not None and count > max_parameters:
        return Exported(None, count)
    rng = np.random.default_rng(number)
    inputs = tuple(i.draw(rng, EXPORTED) for i in recipe.inputs)
    recipe.module.eval()
    weights.perturb(recipe.module)
    weights.settle(recipe.module, weights.settling(recipe, rng))
    training = variant == "training"
    static = ""
    try:
        exporting.write(recipe, variant, inputs, path)
        static = "" if training else checking.follows_batch(recipe, path)
    except Exception as error:  # noqa: BLE001  (exporters and engines raise whatever they like)
        static = reason(error)
    sizes = EXPORTED
    if static:
        # Traced code has baked the batch in. A file that says so is better than one that is wrong.
        sizes = EXPORTED | {"N": 1}
        for stray in path.parent.iterdir():
            stray.unlink()
        inputs = tuple(i.draw(rng, sizes) for i in recipe.inputs)
        exporting.write(recipe, variant, inputs, path, dynamic=False)
    recipe.module.eval()
    return Exported(path, count, static, checking.warnings_of(path, recipe, training, sizes))


def reason(error: BaseException) -> str:
    """One line: torch's exporters wrap what happened in instructions of many lines."""
    cause = error.__cause__ or error
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text[:200]}"
