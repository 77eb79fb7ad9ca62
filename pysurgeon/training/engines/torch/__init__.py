"""The engine on torch: the operators of a training graph as differentiable functions, one registry, one small file a family.

Nothing else in pysurgeon imports torch, and this package does so only when it is asked for an engine.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from pysurgeon.errors import TrainingError
from pysurgeon.runtime import can_differentiate
from pysurgeon.settings import Device

if TYPE_CHECKING:
    from pysurgeon.training.derived_graph.derive import TrainingGraph
    from pysurgeon.training.engines.engine import Engine, EngineSupport
    from pysurgeon.training.losses.loss import Loss

__all__ = ["ensure_device", "make_engine", "make_support"]


def make_engine(view: TrainingGraph, loss: Loss, *, threads: int, device: Device) -> Engine:
    """See `pysurgeon.training.engines.engine.make_engine`."""
    ensure_device(device)
    from pysurgeon.training.engines.torch.engine import TorchEngine

    return TorchEngine(view, loss, threads=threads, device=device)


def make_support(*, freeze_statistics: bool) -> EngineSupport:
    """See `pysurgeon.training.engines.engine.make_support`."""
    ensure_device("cpu")
    from pysurgeon.training.engines.torch.support import TorchSupport

    return TorchSupport(freeze_statistics=freeze_statistics)


def ensure_device(device: Device) -> None:
    """See `pysurgeon.training.engines.engine.ensure_device`."""
    if find_spec("torch") is None:
        message = "the trainer torch needs torch, which is not installed: pip install 'torch>=2.4'"
        if can_differentiate():
            message += ", or take the trainer ort"
        raise TrainingError(message)
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        message = (
            f"the device cuda needs a build of torch for CUDA and a GPU that it can use; torch {torch.__version__} "
            "sees none: install the build that fits the GPU's driver, or take the device cpu"
        )
        raise TrainingError(message)
