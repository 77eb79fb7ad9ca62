"""Gradients of the training engine beside torch's, tensor by tensor, for models that are exports of torch modules.

    python -m benchmarks.training_torch [--family F] [--only REGEX] [--max-parameters N]

The libraries that the models come from are needed (`make corpus-install`). A module of the corpus is exported and built again with the same
weights; both get the same input and the same squared error, with the running statistics of batch normalization. Tensors are matched by
their values, as they are or transposed; what an exporter has folded into another tensor, or written twice, has no counterpart.

The error of a tensor is its largest difference over its largest gradient, or over a thousandth of the largest of all gradients where its
own are smaller still: what is zero by construction is rounding on both sides.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from benchmarks import corpus
from benchmarks.corpus import seeds, weights
from benchmarks.corpus.recipe import EXPORTED, Recipe
from pysurgeon.errors import SurgeonError
from pysurgeon.graph import Array
from pysurgeon.model import load
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.training import training_graph
from pysurgeon.training.engines.engine import make_engine
from pysurgeon.training.losses.making import plain_loss
from pysurgeon.training.losses.targets import AsTheyAre

SAMPLES, TOLERANCE = 4, 1e-4


def main() -> int:
    """A line a model; the exit status is 1 if a gradient is off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=corpus.families(), default=None)
    parser.add_argument("--only", default="", metavar="REGEX", help="names that it is found in")
    parser.add_argument("--max-parameters", type=int, default=20_000_000, help="leave out what is larger")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    failed = 0
    for name in corpus.names(arguments.family):
        if re.search(arguments.only, name):
            line, good = _line(name, arguments.max_parameters)
            failed += not good
            print(f"{name:52s} {line}", flush=True)
    return int(failed > 0)


def _line(name: str, max_parameters: int) -> tuple[str, bool]:
    with tempfile.TemporaryDirectory() as folder:
        path = corpus.export_checked(name, folder, max_parameters).path
        if path is None:
            return "left out for its size", True
        try:
            errors, count = compare(name, path)
        except SurgeonError as error:
            return f"refused: {error}"[:200], True
    worst = max(errors.values(), default=0.0)
    text = f"{len(errors):4d} of {count:4d} tensors, largest error {worst:.1e}"
    return (text, True) if worst < TOLERANCE else (f"{text}  FAILED {max(errors, key=lambda n: errors[n])}", False)


def compare(name: str, path: Path) -> tuple[dict[str, float], int]:
    """Errors by tensor, and how many tensors the model has."""
    recipe = _recipe(name)
    rng = np.random.default_rng(7)
    draws = [i.draw(rng, EXPORTED | {"N": SAMPLES}) for i in recipe.inputs]
    output = recipe.module(*draws)
    output = output if isinstance(output, torch.Tensor) else output[0]
    y = rng.standard_normal(tuple(output.shape)).astype(np.float32)
    torch.nn.functional.mse_loss(output, torch.from_numpy(y)).backward()
    parameters = [p for p in recipe.module.parameters() if p.grad is not None]
    keys = [_key(p.detach().numpy()) for p in parameters]
    turned = [_key(p.detach().numpy().T) if p.ndim == 2 else None for p in parameters]
    # Layers that are copies of one another begin with equal values, which tell nothing.
    often = Counter([*keys, *turned])
    where = {key: (k, False) for k, key in enumerate(keys) if often[key] == 1}
    where |= {key: (k, True) for k, key in enumerate(turned) if key is not None and often[key] == 1}
    model = make_batch_dynamic(load(path))
    view = training_graph(model, "regression", freeze_statistics=True)
    loss = plain_loss("squares", AsTheyAre(y.shape[1:], y.shape[1:]))
    engine = make_engine("ort", view, loss)
    feeds = {p.name: x.numpy().astype(p.dtype) for p, x in zip(model.inputs, draws, strict=True)}
    engine.step(feeds, loss.arrays(y))
    largest = max(float(p.grad.abs().max()) for p in parameters)  # type: ignore[union-attr]
    # A tied parameter has become two tensors, and its gradient is the sum of theirs.
    sums: dict[int, Array] = {}
    names: dict[int, str] = {}
    for tensor, ours in engine.gradients.items():
        found = where.get(_key(model.tensor(tensor)))
        if found is not None:
            k, transposed = found
            sums[k] = sums.get(k, 0.0) + (ours.T if transposed else ours)
            names[k] = tensor
    errors = {}
    for k, total in sums.items():
        expected = parameters[k].grad.numpy()  # type: ignore[union-attr]
        scale = max(float(np.abs(expected).max(initial=0)), 1e-3 * largest)
        errors[names[k]] = float(np.abs(total - expected).max(initial=0)) / scale
    return errors, len(engine.gradients)


def _key(array: Array) -> tuple[tuple[int, ...], bytes]:
    return array.shape, np.ascontiguousarray(array).tobytes()


def _recipe(full: str) -> Recipe:
    """The module of an export, with the weights that `benchmarks.corpus` has given it."""
    family, _, member = full.partition("/")
    name = member.partition("@")[0]
    number = seeds.seed(f"{family}/{name}")
    torch.manual_seed(number)
    made: Recipe = corpus._module(family).recipe(name)
    rng = np.random.default_rng(number)
    for i in made.inputs:
        i.draw(rng, EXPORTED)
    made.module.eval()
    weights.perturb(made.module)
    weights.settle(made.module, weights.settling(made, rng))
    for module in made.module.modules():
        if isinstance(module, torch.nn.Embedding):
            module.padding_idx = None  # a rule for its gradient, of which a file knows nothing
    return made


if __name__ == "__main__":
    sys.exit(main())
