"""Work of libraries that can end the process, done in another one, where an end is an error.

A helper is started when it is first asked, answers one request after the other, and is started anew when it has ended. It has a bound on
time and memory, and ends with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time

_SECONDS = 60.0
_GIGABYTES = 4

# What runs there: `answer` is defined by the code of the helper. A status of one byte and the length go before what is sent back.
_LOOP = """
import contextlib, json, os, struct, sys
for line in {paths}: sys.path.append(line)
with contextlib.suppress(ImportError, ValueError, OSError):
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
requests, replies = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
{code}
while len(head := requests.read(8)) == 8:
    status = 0
    try:
        reply = answer(requests.read(struct.unpack("<Q", head)[0]))
    except BaseException as error:
        status, reply = 1, (str(error).strip() or type(error).__name__).encode(errors="replace")
    replies.write(struct.pack("<BQ", status, len(reply)) + reply)
    replies.flush()
"""


class ApartError(Exception):
    """A helper could not answer; the message says what its library said."""


class ApartEndedError(ApartError):
    """The helper ended on a request, or had to be ended; the message says how."""


class Helper:
    """A process that answers requests of bytes with bytes.

    Args:
        name: What the work is called, in messages.
        code: Python code that defines `answer(request: bytes) -> bytes`.
        imports: Whether it finds what is installed here. Without, it starts in a third of the time.
        seconds: That an answer may take.
    """

    def __init__(self, name: str, code: str, *, imports: bool = True, seconds: float = _SECONDS) -> None:
        self._name, self._code, self._imports, self._seconds = name, code, imports, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, request: bytes) -> bytes:
        """The answer to a request.

        Raises:
            ApartError: The library refused it, or wanted too much memory.
            ApartEndedError: The library ended the process, or took too long.
        """
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            try:
                process.stdin.write(struct.pack("<Q", len(request)) + request)
                process.stdin.flush()
                status, size = struct.unpack("<BQ", self._read(process, 9))
                reply = self._read(process, size)
            except (BrokenPipeError, EOFError):
                message = f"{self._name} {self._end(process)}"
                raise ApartEndedError(message) from None
            except TimeoutError:
                self._end(process)
                message = f"{self._name} took more than {self._seconds:g} s"
                raise ApartEndedError(message) from None
            except BaseException:
                self._end(process)  # its next answer would be the one to this request
                raise
        if status:
            raise ApartError(reply.decode(errors="replace"))
        return reply

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            if self._process is not None and self._owner == os.getpid():
                self._end(self._process)

    def _started(self) -> subprocess.Popen[bytes]:
        # A copy of this process that was forked must not read the answers to its parent.
        if self._process is None or self._owner != os.getpid():
            code = _LOOP.format(
                paths=json.dumps(sys.path if self._imports else []), code=self._code, memory=_GIGABYTES << 30
            )
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-S", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # the terminal's interrupt is for the caller
            )
            self._owner = os.getpid()
            atexit.register(self.close)
        return self._process

    def _read(self, process: subprocess.Popen[bytes], size: int) -> bytes:
        assert process.stdout is not None
        descriptor, deadline = process.stdout.fileno(), time.monotonic() + self._seconds
        parts: list[bytes] = []
        while size > 0:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            part = os.read(descriptor, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        """End it, if it has not ended. Returns how it did."""
        self._process = None
        atexit.unregister(self.close)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        ended = process.poll()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        if ended is not None and ended < 0:
            return f"ended by {signal.Signals(-ended).name}"
        return f"ended with exit status {ended}"
