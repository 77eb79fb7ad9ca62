"""How many threads NumPy's linear algebra may take."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def blas_threads(count: int = 1) -> AbstractContextManager[Any]:
    """Hold NumPy's BLAS to some threads for a while.

    One is the rule: threads that spin beside the workers of a run cost several times what they save, and sums over another
    number of threads have other last bits, which would make a run depend on the machine.

    Args:
        count: Threads.
    """
    manager: AbstractContextManager[Any] = _controller().limit(limits=count, user_api="blas")
    return manager


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
