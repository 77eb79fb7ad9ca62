"""What every engine gives, loss and gradients of a training graph, and which engine is meant by a name.

An engine is imported when it is first asked for, and no other one with it.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol, cast

from pysurgeon.graph import Array
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.settings import Device
from pysurgeon.training.protocol import State, TrainSettings

if TYPE_CHECKING:
    import onnx_ir as ir

    from pysurgeon.training.derived_graph.derive import TrainingGraph
    from pysurgeon.training.derived_graph.rewrites import Rewrite
    from pysurgeon.training.losses.loss import Loss

_MODULES: dict[TrainerName, str] = {
    "ort": "pysurgeon.training.engines.ort",
    "torch": "pysurgeon.training.engines.torch",
}


class Engine(Protocol):
    """A training graph made ready to be differentiated."""

    @property
    def gradients(self) -> Mapping[str, Array]:
        """Contiguous float32 arrays by parameter name, of the last step. The optimizer may scale them by its own."""

    def step(self, feeds: Mapping[str, Array], targets: Mapping[str, Array], *, add: bool = False) -> float:
        """Compute loss and gradients of a batch and update the statistics.

        Args:
            feeds: Arrays by the names of the view's inputs, of at least one sample.
            targets: See `Loss.arrays`.
            add: Whether gradients are added to those of the step before.

        Returns:
            The loss.

        Raises:
            TrainingError: The engine refuses the batch.
        """

    def optimizer(self, settings: TrainSettings, state: State) -> Optimizer:
        """What changes the parameters where they are.

        Args:
            settings: Which one, its schedule, its weight decay and its bound on the gradient's norm.
            state: Moments to go on from; copied. A parameter without any starts at zero.

        Raises:
            TrainingError: A moment does not have the shape of its parameter.
        """

    def tensors(self) -> dict[str, Array]:
        """Copies of parameters and statistics by name."""


class Optimizer(Protocol):
    """The moments of every parameter and the step that uses them."""

    def step(self, step: int) -> float:
        """Change the parameters by the gradients of the last step of the engine, unless they are not finite.

        Args:
            step: Of the trunk, counted from 0; the schedule says the learning rate of every element.

        Returns:
            The norm of the gradient over all parameters before clipping; infinite or NaN if nothing was changed.
        """

    def state(self, step: int) -> State:
        """The moments as they are now; the arrays may be the optimizer's own."""


class EngineSupport(Protocol):
    """What an engine can differentiate, as training views are made for it."""

    def rewrite(self, node: ir.Node, wanted: Collection[ir.Value], opset: int) -> Rewrite | None:
        """Another form that a node on the way of a gradient has to be given, `None` if it may stay as it is.

        Args:
            node: Of the graph that becomes the view.
            wanted: The values that a gradient arrives at.
            opset: Version of the standard opset.
        """

    def lacks_gradient(self, node: ir.Node, opset: int) -> str:
        """Why no gradient passes through a node as it stands, nothing if one does."""

    def lacks(self, node: ir.Node, opset: int) -> str:
        """Why a node that needs no gradient cannot be computed, nothing if it can."""


class _Module(Protocol):
    """What the module of an engine holds."""

    def make_engine(self, view: TrainingGraph, loss: Loss, *, threads: int, device: Device) -> Engine: ...

    def make_support(self, *, freeze_statistics: bool) -> EngineSupport: ...

    def ensure_device(self, device: Device) -> None: ...


def make_engine(
    trainer: TrainerName, view: TrainingGraph, loss: Loss, *, threads: int = 1, device: Device = "cpu"
) -> Engine:
    """Make a view ready to be differentiated.

    Args:
        trainer: By which engine; the view must have been made for it.
        view: What to train.
        loss: What for.
        threads: Threads inside an operator.
        device: Where it computes. Parameters are copied there, and gradients back, by every step.

    Raises:
        TrainingError: The engine is not installed, refuses the graph or lacks the device, or a parameter gets no gradient.
    """
    return _module(trainer).make_engine(view, loss, threads=threads, device=device)


def make_support(trainer: TrainerName, *, freeze_statistics: bool = False) -> EngineSupport:
    """What an engine can differentiate.

    Args:
        trainer: Which engine.
        freeze_statistics: Whether batch normalization is by the running statistics, which then stay as they are.

    Raises:
        TrainingError: The engine is not installed.
    """
    return _module(trainer).make_support(freeze_statistics=freeze_statistics)


def ensure_device(device: Device, trainer: TrainerName = DEFAULT_TRAINER) -> None:
    """Find out whether an engine is installed and can compute there.

    Raises:
        TrainingError: It is not, or cannot.
    """
    _module(trainer).ensure_device(device)


def _module(trainer: TrainerName) -> _Module:
    return cast(_Module, importlib.import_module(_MODULES[trainer]))
