"""A graph as a list of calls of functions: what is constant is computed once, and values go as soon as nobody needs them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node
from pysurgeon.training.engines.torch.registry import OPERATORS

_SMALL = 64  # elements of integers that may be sizes of something, and stay on the CPU


@dataclass(frozen=True)
class _Argument:
    """An input of a call: a value by its name, or something fixed where the name is empty.

    Attributes:
        name: Of the value.
        fixed: A constant tensor, Python numbers, or `None` for an input that is left out.
        numbers: Whether the value is wanted as Python numbers.
    """

    name: str
    fixed: Any = None
    numbers: bool = False


@dataclass(frozen=True)
class _Call:
    """One operator.

    Attributes:
        node: What is computed.
        function: How.
        arguments: From what.
        last: Names of the values that nobody needs after it.
    """

    node: Node
    function: Function
    arguments: tuple[_Argument, ...]
    last: tuple[str, ...]


class Program:
    """A graph ready to be run.

    Args:
        nodes: In topological order.
        constants: Tensors that never change, on the CPU, by name.
        output: Name of the value that is wanted.
        device: Where floats are computed. Small integers stay on the CPU until they meet a tensor that does not.

    Raises:
        CannotRunError: A node has no function, or a constant one fails.
    """

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Tensor], output: str, device: torch.device
    ) -> None:
        self._output, self._device = output, device
        known = {name: self._placed(tensor) for name, tensor in constants.items()}
        planned: list[tuple[Node, Function, tuple[_Argument, ...]]] = []
        for node in nodes:
            operator = OPERATORS[node.op_type]
            function = operator.make(node)
            arguments = tuple(
                _argument(name, known, numbers=position in operator.numbers)
                for position, name in enumerate(node.inputs)
            )
            if any(argument.name for argument in arguments):
                planned.append((node, function, arguments))
                continue
            with torch.no_grad():
                found = self._called(node, function, [argument.fixed for argument in arguments])
            known |= {name: self._placed(tensor) for name, tensor in found}
        self._calls = _with_last_uses(planned, {output})
        self._known = {output: known[output]} if output in known else {}

    def run(self, values: Mapping[str, Tensor]) -> Tensor:
        """Compute the output.

        Args:
            values: Everything that is not constant, by name; not modified but for running statistics.

        Raises:
            CannotRunError: An operator does not take what it is given; the message says which.
        """
        current = dict(values) | self._known
        for call in self._calls:
            given = [
                argument.fixed
                if not argument.name
                else current[argument.name].tolist()
                if argument.numbers
                else current[argument.name]
                for argument in call.arguments
            ]
            current.update(self._called(call.node, call.function, given))
            for name in call.last:
                del current[name]
        return current[self._output]

    def _called(self, node: Node, function: Function, given: list[Any]) -> list[tuple[str, Tensor]]:
        """The outputs of an operator that are used, by name."""
        if self._device.type != "cpu":
            given = self._together(given)
        try:
            result = function(*given)
        except Exception as error:  # torch raises whatever Python has a name for
            message = f"{node.op_type} that gives {node.outputs[0]!r}: {reason(error)}"
            raise CannotRunError(message) from error
        if not isinstance(result, tuple):
            return [(node.outputs[0], result)]
        return [(name, tensor) for name, tensor in zip(node.outputs, result, strict=False) if name]

    def _together(self, given: list[Any]) -> list[Any]:
        """All tensors on the device, if one of them is there."""
        if all(not isinstance(x, Tensor) or x.device.type == "cpu" for x in given):
            return given
        return [x.to(self._device) if isinstance(x, Tensor) else x for x in given]

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device) if tensor.is_floating_point() or tensor.numel() > _SMALL else tensor


def reason(error: Exception) -> str:
    """What went wrong, in one line that is not too long."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _argument(name: str, known: Mapping[str, Tensor], *, numbers: bool) -> _Argument:
    if not name or name in known:
        fixed = known.get(name)
        return _Argument("", fixed.tolist() if fixed is not None and numbers else fixed)
    return _Argument(name, numbers=numbers)


def _with_last_uses(
    planned: Sequence[tuple[Node, Function, tuple[_Argument, ...]]], kept: Collection[str]
) -> tuple[_Call, ...]:
    seen, calls = set(kept), []
    for node, function, arguments in reversed(planned):
        names = {argument.name for argument in arguments} | {name for name in node.outputs if name}
        last = tuple(sorted(names - seen - {""}))
        seen |= names
        calls.append(_Call(node, function, arguments, last))
    return tuple(reversed(calls))
