"""Registries that are collected from families, one small file each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def collected(what: str, *families: Mapping[K, T]) -> dict[K, T]:
    """All entries by operator.

    Args:
        what: Each operator has only one of.
        *families: Entries by operator.

    Raises:
        ValueError: An operator is in two families.
    """
    found: dict[K, T] = {}
    for family in families:
        for operator, entry in family.items():
            if operator in found:
                message = f"{operator} has two {what}s"
                raise ValueError(message)
            found[operator] = entry
    return found
