"""Files of a set, read from a folder or straight out of its archive. Nothing is ever extracted to disk."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from pysurgeon.errors import DataError


def read_members(source: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, bytes]:
    """Read files by their names.

    Args:
        source: A folder that holds the files, or a tar archive, compressed or not, that holds them in any folder.
        required: Names of files that must be there.
        optional: Names of files that may be there.

    Returns:
        The content of each file.

    Raises:
        DataError: A required file is missing, or the archive or a file cannot be read.
    """
    names = {*required, *optional}
    try:
        if source.is_dir():
            found = {name: (source / name).read_bytes() for name in sorted(names) if (source / name).is_file()}
        else:
            found = _read_archive(source, names)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        message = f"{source} cannot be read ({error}); it is damaged or truncated, so fetch it again"
        raise DataError(message) from error
    missing = [name for name in required if name not in found]
    if missing:
        message = f"{source} has no {', '.join(missing)}; the set is complete only with {', '.join(required)}"
        raise DataError(message)
    return found


def _read_archive(source: Path, names: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(source) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            # Links are left alone: they may point at nothing, or at something else.
            stream = archive.extractfile(member) if member.isfile() and name in names - found.keys() else None
            if stream is not None:
                found[name] = stream.read()
    return found
