"""Which parameters stay as they are: those that a user names by patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pysurgeon.errors import UsageError
from pysurgeon.model import Model


def frozen(model: Model, freeze: Sequence[str], train: Sequence[str]) -> frozenset[str]:
    """Names of the parameters that are not trained.

    Args:
        model: Holds them.
        freeze: Patterns with `*`, `?` and `[...]`; parameters whose names match one stay as they are. The name of a layer stands for all that it holds
            whose names begin with it and a dot or a slash.
        train: Where there are any, parameters that match none of them stay as they are.

    Raises:
        UsageError: A pattern matches no parameter, or nothing is left to train.
    """
    names = model.trainable()
    for pattern in (*freeze, *train):
        if not any(_matches(name, pattern) for name in names):
            some = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
            message = f"no parameter matches {pattern!r}; the parameters are {some or 'none'}"
            raise UsageError(message)
    kept = [n for n in names if not train or any(_matches(n, p) for p in train)]
    kept = [n for n in kept if not any(_matches(n, p) for p in freeze)]
    if not kept:
        message = "every parameter is frozen; leave some to train"
        raise UsageError(message)
    return frozenset(names) - frozenset(kept)


def _matches(name: str, pattern: str) -> bool:
    return any(fnmatchcase(name, p) for p in (pattern, f"{pattern}.*", f"{pattern}/*"))
