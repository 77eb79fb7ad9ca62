"""Operations as they are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable

from pysurgeon.errors import UsageError
from pysurgeon.surgery.operation import Operation
from pysurgeon.surgery.operations.bypass import AddBypass
from pysurgeon.surgery.operations.factorize import Factorize
from pysurgeon.surgery.operations.insert_layer import InsertLayer
from pysurgeon.surgery.operations.narrow import Narrow
from pysurgeon.surgery.operations.remove_layer import RemoveLayer
from pysurgeon.surgery.operations.widen import Widen

_SIZED: dict[str, tuple[Callable[[str, int, int], Operation], str]] = {
    "widen": (lambda site, n, seed: Widen(site, n, seed=seed), "WIDTH=SIZE"),
    "narrow": (lambda site, n, _: Narrow(site, n), "WIDTH=SIZE"),
    "factorize": (lambda site, n, _: Factorize(site, n), "LAYER=RANK"),
}
_WHOLE = re.compile(r"[0-9]{1,9}")
_PLAIN: dict[str, tuple[Callable[[str, int], Operation], str]] = {
    "insert": (lambda site, seed: InsertLayer(site, seed=seed), "LAYER"),
    "remove": (lambda site, _: RemoveLayer(site), "LAYER"),
    "bypass": (lambda site, _: _bypass(site), "LAYER[..LAYER]"),
}


def _bypass(site: str) -> Operation:
    first, dots, last = site.partition("..")
    if dots and not (first and last):
        message = f"'bypass:{site}' is not of the form bypass:LAYER or bypass:LAYER..LAYER"
        raise UsageError(message)
    return AddBypass(first, last)


def parse(text: str, *, seed: int = 0) -> Operation:
    """Read an operation, `widen:conv1=64` for example.

    Args:
        text: `widen:WIDTH=SIZE`, `narrow:WIDTH=SIZE`, `insert:LAYER`, `remove:LAYER`, `factorize:LAYER=RANK`,
            `bypass:LAYER` or `bypass:LAYER..LAYER`.
        seed: For what an operation draws at random.

    Raises:
        UsageError: It is none of these.
    """
    kind, colon, rest = text.partition(":")
    if kind in _SIZED and colon:
        make, form = _SIZED[kind]
        site, equals, number = rest.rpartition("=")
        if not equals or not site or not _WHOLE.fullmatch(number):
            message = f"{text!r} is not of the form {kind}:{form} with an integer"
            raise UsageError(message)
        return make(site, int(number), seed)
    if kind in _PLAIN and rest:
        return _PLAIN[kind][0](rest, seed)
    forms = [f"{k}:{form}" for k, (_, form) in _SIZED.items()] + [f"{k}:{form}" for k, (_, form) in _PLAIN.items()]
    message = f"{text!r} is not an operation; there are {', '.join(forms)}"
    raise UsageError(message)
