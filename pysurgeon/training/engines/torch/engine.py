"""Loss and gradients of a training graph by torch's automatic differentiation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.settings import Device
from pysurgeon.training.derived_graph.derive import TrainingGraph, with_loss
from pysurgeon.training.engines.torch.node import CannotRunError, Node
from pysurgeon.training.engines.torch.optimizer import TorchOptimizer
from pysurgeon.training.engines.torch.program import Program, reason
from pysurgeon.training.engines.torch.support import TorchSupport
from pysurgeon.training.engines.torch.types import tensor
from pysurgeon.training.losses.loss import LOSS, Loss
from pysurgeon.training.protocol import State, TrainSettings


class TorchEngine:
    """See `pysurgeon.training.engines.engine.Engine`.

    The number of threads and the precision of convolutions on a GPU are settings of torch, for the whole process.

    Raises:
        TrainingError: torch cannot compute the graph.
    """

    def __init__(self, view: TrainingGraph, loss: Loss, *, threads: int, device: Device) -> None:
        torch.set_num_threads(threads)
        self._device = torch.device(device)
        if device != "cpu":
            # A GPU is to compute what the processor computes. By default torch rounds what convolutions take to TF32.
            torch.backends.cudnn.allow_tf32 = False
        tensors = {name: view.tensor(name) for name in (*view.trainable, *view.statistics)}
        self._leaves = {name: tensor(tensors[name].copy()).to(self._device).requires_grad_() for name in view.trainable}
        self._statistics = {n: tensor(tensors[n].copy()).to(self._device) for n in view.statistics}
        model = with_loss(view, loss, TorchSupport(freeze_statistics=False))
        opset = model.graph.opset_imports.get("", 0)
        try:
            nodes = [Node.of(node, opset) for node in model.graph]
            held = Model(model)
            constants = {name: tensor(held.tensor(name)) for name in model.graph.initializers if name not in tensors}
            self._program = Program(nodes, constants, LOSS, self._device)
        except CannotRunError as error:
            message = f"torch cannot compute the model: {error}"
            raise TrainingError(message) from error

    @property
    def gradients(self) -> dict[str, Array]:
        """By parameter name; copied where they are not in memory of this process."""
        found = {name: leaf.grad for name, leaf in self._leaves.items() if leaf.grad is not None}
        return {name: np.asarray(gradient.cpu().numpy(), order="C") for name, gradient in found.items()}

    def step(self, feeds: Mapping[str, Array], targets: Mapping[str, Array], *, add: bool = False) -> float:
        """Loss of a batch; its gradients are left where they can be read."""
        values = {name: tensor(array).to(self._device) for name, array in {**feeds, **targets}.items()}
        if not add:
            for leaf in self._leaves.values():
                leaf.grad = None
        try:
            loss = self._program.run(values | self._leaves | self._statistics)
            loss.backward()  # type: ignore[no-untyped-call]
        except (CannotRunError, RuntimeError) as error:
            message = f"torch cannot take a step: {reason(error)}"
            raise TrainingError(message) from error
        for name, leaf in self._leaves.items():
            if leaf.grad is None:
                message = f"parameter {name!r} gets no gradient from torch"
                raise TrainingError(message)
        return float(loss.detach())

    def optimizer(self, settings: TrainSettings, state: State) -> TorchOptimizer:
        """One that changes the tensors where they are."""
        return TorchOptimizer(settings, self._leaves, state)

    def tensors(self) -> dict[str, Array]:
        """Copies of parameters and statistics by name."""
        return {name: value.detach().cpu().numpy().copy() for name, value in (self._leaves | self._statistics).items()}
