"""Objects from one process to another, with their arrays in a file without a name that both map: no array goes through a socket."""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import IO, Any

_ALIGNMENT = 64


@dataclass(frozen=True)
class _Packed:
    """An object whose arrays follow as a file descriptor.

    Attributes:
        pickled: The object without its arrays.
        spans: Where each array lies in the file: (offset, bytes).
    """

    pickled: bytes
    spans: tuple[tuple[int, int], ...]


class Parcel:
    """An object ready to be sent, any number of times.

    Args:
        value: The object.
        file: An empty file for its arrays, which the parcel closes.
    """

    def __init__(self, value: object, file: IO[bytes]) -> None:
        self._file = file
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        spans = []
        for buffer in buffers:
            raw = buffer.raw()
            start = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
            file.seek(start)
            file.write(raw)
            spans.append((start, raw.nbytes))
        file.write(b"\0")  # an empty file cannot be mapped
        file.flush()
        self._packed = _Packed(pickled, tuple(spans))

    def send(self, connection: Connection) -> None:
        """Hand it over; the receiver keeps what it has mapped, whatever becomes of the parcel."""
        connection.send(self._packed)
        reduction.send_handle(connection, self._file.fileno(), None)

    def close(self) -> None:
        """Give the file up."""
        self._file.close()


@contextmanager
def parcel(value: object) -> Iterator[Parcel]:
    """A parcel in memory, for what is sent once: a disk that is full is not in the way."""
    made = Parcel(value, os.fdopen(os.memfd_create("pysurgeon"), "wb+"))
    try:
        yield made
    finally:
        made.close()


def receive(connection: Connection) -> Any:
    """The next object; arrays of one that came as a parcel are read-only.

    Raises:
        EOFError: The other side is gone.
    """
    value = connection.recv()
    if not isinstance(value, _Packed):
        return value
    descriptor = reduction.recv_handle(connection)
    try:
        memory = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
    # It was pickled by the process at the other end of a socket that no third one has.
    return pickle.loads(value.pickled, buffers=[memory[start : start + size] for start, size in value.spans])  # noqa: S301
