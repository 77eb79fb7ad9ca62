"""From a recipe to an ONNX file, through either exporter of torch."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import onnx
import torch

from .recipe import Recipe

VARIANTS = ("dynamo", "training", "preserve")
PROTO_LIMIT = 2**31 - 2**24  # of protobuf, and some room for the graph


def write(recipe: Recipe, variant: str, inputs: tuple[torch.Tensor, ...], path: Path, dynamic: bool = True) -> None:
    """Export `recipe` to `path`; tensors lie beside it where a proto cannot hold them.

    Args:
        recipe: The module and its inputs.
        variant: "" is the legacy exporter in evaluation mode, "dynamo" the new exporter, "training" the legacy exporter in training
            mode, "preserve" the legacy exporter in evaluation mode without the folding of BatchNormalization.
        inputs: Example inputs, with the sizes of `EXPORTED` on dynamic axes.
        path: In a folder of its own; the exporters leave files beside it.
        dynamic: False pins the sizes of `inputs`.
    """
    # The legacy exporter prints the whole graph of what it cannot write.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if variant == "dynamo":
            _write_dynamo(recipe, inputs, path, dynamic)
        else:
            _write_legacy(recipe, variant, inputs, path, dynamic)


def _write_dynamo(recipe: Recipe, inputs: tuple[torch.Tensor, ...], path: Path, dynamic: bool) -> None:
    program = torch.onnx.export(
        recipe.module,
        inputs,
        dynamo=True,
        opset_version=18,  # the new exporter writes nothing older
        input_names=[i.name for i in recipe.inputs],
        output_names=list(recipe.outputs),
        dynamic_shapes=tuple(i.axes for i in recipe.inputs) if dynamic else None,
        verbose=False,
    )
    program.save(path, external_data=_bytes(recipe.module) > PROTO_LIMIT)


def _write_legacy(recipe: Recipe, variant: str, inputs: tuple[torch.Tensor, ...], path: Path, dynamic: bool) -> None:
    modes = {"training": torch.onnx.TrainingMode.TRAINING, "preserve": torch.onnx.TrainingMode.PRESERVE}
    axes = {i.name: i.axes for i in recipe.inputs} | recipe.outputs
    torch.onnx.export(
        recipe.module,
        inputs,
        str(path),  # beyond 2 GB it takes nothing but a string
        dynamo=False,
        opset_version=recipe.opset,
        training=modes.get(variant, torch.onnx.TrainingMode.EVAL),
        do_constant_folding=variant not in modes,
        input_names=[i.name for i in recipe.inputs],
        output_names=list(recipe.outputs),
        dynamic_axes=axes if dynamic else None,
        verbose=False,
    )
    if _bytes(recipe.module) > PROTO_LIMIT:
        # It writes one file a tensor.
        model = onnx.load(path)
        for stray in path.parent.iterdir():
            stray.unlink()
        data = f"{path.name}.data"
        onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data)


def _bytes(module: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())
