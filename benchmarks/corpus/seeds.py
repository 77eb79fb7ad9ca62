"""Seeds from names."""

from __future__ import annotations

import zlib


def seed(name: str) -> int:
    """The seed of a model: the same for every exporter, so that the variants of a model can be compared."""
    return zlib.crc32(name.split("@")[0].encode())
