"""Unpickling of dictionaries of plain values and byte arrays, and of nothing else.

A pickle is a program that may call whatever it names. This reader lets it name the five things that a pickled array
consists of, each replaced by a stand-in that only records its arguments; the arrays are built from the records
afterwards. So neither the pickle's program nor NumPy's own unpickling ever runs on what a file says.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pysurgeon.errors import DataError


def load_pickle(content: bytes, origin: str) -> dict[str, Any]:
    """Unpickle a dictionary of plain values and arrays of integers, written by Python 2 or 3.

    Args:
        content: The pickle.
        origin: What messages call it.

    Returns:
        The dictionary, keys as text; strings that Python 2 wrote are bytes.

    Raises:
        DataError: It names anything that such a dictionary does not need, is damaged, or is no dictionary.
    """
    try:
        _check_memo(content)
        loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except DataError as error:
        message = f"{origin} is refused: {error}"
        raise DataError(message) from error
    # A damaged pickle is a damaged program: any error can come out of it.
    except Exception as error:
        message = f"{origin} cannot be read ({error}); it is damaged or truncated, so fetch it again"
        raise DataError(message) from error
    if not isinstance(loaded, dict) or not all(isinstance(key, bytes | str) for key in loaded):
        message = f"{origin} holds no dictionary with names as keys, so it is no batch of images"
        raise DataError(message)
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: value.build(origin)
        if isinstance(value, _Array)
        else value
        for key, value in loaded.items()
    }


def _check_memo(content: bytes) -> None:
    """See that a pickle numbers what it keeps about as it comes: the reader makes room up to the largest number that it is told.

    Python 2 counts from one, and tools that leave out what is never asked for again leave gaps.

    Raises:
        DataError: It does not.
        Exception: It is damaged.
    """
    kept = 0
    for operation, number, _ in pickletools.genops(content):
        if operation.name in _KEEPING:
            if number is not None and number > 2 * kept + _GAP:
                message = f"it keeps a value as number {number:,} when there are {kept:,} others"
                raise DataError(message)
            kept += 1


_GAP = 1000
_KEEPING = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})


class _StandIn:
    """A function that a pickle may call. It has no state that a pickle could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        message = "it sets the state of a function"
        raise DataError(message)


class _Type:
    """Record of an element type: its name, such as ``u1``, and its byte order."""

    __slots__ = ("name", "order")

    def __init__(self, name: object, *_: object) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else str(name)
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.order = order.decode("latin1") if isinstance(order, bytes) else str(order)


class _Array:
    """Record of an array: shape, element type, order and content."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def build(self, origin: str) -> npt.NDArray[Any]:
        """Make the array, once its record proves to be one of integers."""
        match self._state:
            case (int(), tuple() as shape, _Type(name=name, order=order), bool() as fortran, bytes() as content):
                if (
                    re.fullmatch("[ui][1248]", name)
                    and order in ("|", "<", ">")
                    and all(isinstance(size, int) and size >= 0 for size in shape)
                    and math.prod(shape) * int(name[1]) == len(content)
                ):
                    flat = np.frombuffer(content, np.dtype(order + name))
                    return flat.reshape(shape, order="F" if fortran else "C")
        message = f"{origin} holds an array that is not one of integers, or is truncated; fetch it again"
        raise DataError(message)


def _encode(text: object, encoding: object) -> bytes:
    # This is how Python 3 writes bytes into a pickle that Python 2 can read.
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        message = f"it encodes by {encoding!r}; only text in latin1 is expected"
        raise DataError(message)
    return text.encode("latin1")


def _no_bytes(*args: object) -> bytes:
    if args:
        message = "it calls bytes with arguments"
        raise DataError(message)
    return b""


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy", "ndarray"): _no_bytes,  # named as an argument of _reconstruct, never called
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Find a stand-in for one of the names that arrays need."""
        if (module, name) not in _ALLOWED:
            message = f"it names {module}.{name}, which no array of images needs; the file may be malicious"
            raise DataError(message)
        return _StandIn(_ALLOWED[module, name])
