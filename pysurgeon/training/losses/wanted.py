"""What a user asks for as a loss, as it is written: `squares`, `kl(temperature=4)`, `boxes=2*huber, classes=focal`, `loss.onnx`, `module:function`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from pysurgeon.errors import UsageError
from pysurgeon.training.losses.shipped import LOSSES, parameters_of

_TERM = re.compile(
    r"(?:(?P<output>[^=(]+?)\s*=\s*)?(?:(?P<factor>[0-9.]+(?:e-?[0-9]+)?)\s*\*\s*)?(?P<name>[^=()*,]+?)\s*(?:\((?P<parameters>[^()]*)\))?"
)


@dataclass(frozen=True)
class Wanted:
    """One term of a loss.

    Attributes:
        name: In the registry; or a file, or a function, of the user's own.
        output: Of the model; the first one of floats where empty.
        factor: By which the term is multiplied.
        parameters: Numbers of a loss of the registry.
    """

    name: str
    output: str = ""
    factor: float = 1.0
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether the loss is the user's own."""
        return self.name not in LOSSES


def parse(text: str) -> tuple[Wanted, ...]:
    """The terms of a loss as it is written.

    Raises:
        UsageError: It is not written so, or there is no such loss.
    """
    return tuple(_term(part, text) for part in _parts(text))


def _parts(text: str) -> Iterator[str]:
    """What stands between commas that are not in brackets."""
    start = depth = 0
    for k, letter in enumerate(f"{text},"):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            yield f"{text},"[start:k].strip()
            start = k + 1
    if depth > 0:
        yield text[start:].strip()


def _term(part: str, text: str) -> Wanted:
    found = _TERM.fullmatch(part)
    if found is None:
        message = f"the loss {text!r} cannot be read at {part!r}; write NAME, NAME(parameter=number), or OUTPUT=FACTOR*NAME, with commas between terms"
        raise UsageError(message)
    name, output, factor = found["name"], found["output"] or "", _number(found["factor"] or "1", part)
    numbers: dict[str, float] = {}
    for pair in filter(None, (found["parameters"] or "").split(",")):
        parameter, equals, value = pair.partition("=")
        if not equals:
            message = f"{pair.strip()!r} in the loss {part!r} is no parameter; write parameter=number"
            raise UsageError(message)
        numbers[parameter.strip()] = _number(value, part)
    if name in LOSSES:
        return Wanted(name, output, factor, parameters_of(name, numbers))
    if not name.endswith(".onnx") and ":" not in name:
        close = get_close_matches(name, LOSSES, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        message = f"there is no loss {name!r}; there are {', '.join(LOSSES)}, FILE.onnx and module:function{hint}"
        raise UsageError(message)
    if numbers:
        message = f"the loss {name} is your own and takes no parameters here; write them into it"
        raise UsageError(message)
    return Wanted(name, output, factor)


def _number(text: str, part: str) -> float:
    try:
        return float(text)
    except ValueError:
        message = f"{text.strip()!r} in the loss {part!r} is no number"
        raise UsageError(message) from None
