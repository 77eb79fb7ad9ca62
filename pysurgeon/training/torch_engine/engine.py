"""Loss and gradients of a training view by torch's automatic differentiation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.training._arrays import aligned
from pysurgeon.training.loss import LOSS, ONE, TARGETS, WEIGHTS, Loss, loss_name
from pysurgeon.training.protocol import Device
from pysurgeon.training.torch_engine.node import CannotRunError, Node
from pysurgeon.training.torch_engine.program import Program, reason
from pysurgeon.training.torch_engine.types import tensor
from pysurgeon.training.view import TrainingView


class TorchEngine:
    """See `pysurgeon.training._engine.Engine`.

    The number of threads is one of torch's own settings, for the whole process.

    Attributes:
        parameters: Live, writable float32 arrays by name; on the CPU, torch's tensors are in the same memory.
        gradients: By parameter name; a step puts other arrays in their place.

    Raises:
        TrainingError: torch cannot compute the graph.
    """

    def __init__(self, view: TrainingView, loss: Loss, *, threads: int, device: Device) -> None:
        torch.set_num_threads(threads)
        self._device = torch.device(device)
        tensors = {name: view.tensor(name) for name in (*view.trainable, *view.statistics)}
        self.parameters: dict[str, Array] = {name: aligned(tensors[name]) for name in view.trainable}
        self.gradients: dict[str, Array] = {n: np.zeros_like(p) for n, p in self.parameters.items()}
        self._leaves = {n: tensor(p).to(self._device).requires_grad_() for n, p in self.parameters.items()}
        self._statistics = {n: tensor(tensors[n].copy()).to(self._device) for n in view.statistics}
        opset = view.ir.graph.opset_imports.get("", 0)
        try:
            nodes = [Node.of(node, opset) for node in view.ir.graph]
            nodes += [Node.of_loss(line, loss_name, opset) for line in loss.nodes(view.logits)]
            constants = {name: tensor(view.tensor(name)) for name in view.ir.graph.initializers if name not in tensors}
            self._program = Program(nodes, constants | {ONE: torch.ones(())}, LOSS, self._device)
        except CannotRunError as error:
            message = f"torch cannot compute the model: {error}"
            raise TrainingError(message) from error

    def step(self, feeds: Mapping[str, Array], targets: tuple[Array, Array], *, add: bool = False) -> float:
        """Loss of a batch; its gradients are left where they can be read."""
        values = {
            name: tensor(array).to(self._device)
            for name, array in {**feeds, TARGETS: targets[0], WEIGHTS: targets[1]}.items()
        }
        for name, leaf in self._leaves.items():
            if self._device.type != "cpu":
                with torch.no_grad():
                    leaf.copy_(tensor(self.parameters[name]))
            if not add:
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
            self.gradients[name] = np.asarray(leaf.grad.cpu().numpy(), order="C")
        return float(loss.detach())

    def tensors(self) -> dict[str, Array]:
        """Copies of parameters and statistics by name."""
        copies = {name: array.copy() for name, array in self.parameters.items()}
        return copies | {name: value.cpu().numpy().copy() for name, value in self._statistics.items()}
