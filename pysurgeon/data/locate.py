"""Finding the files of a published set, and fetching them if they are nowhere."""

from __future__ import annotations

import os
from pathlib import Path

from pysurgeon.data.published import PublishedSet
from pysurgeon.errors import DataError

DATA_VARIABLE = "PYSURGEON_DATA"
"""The environment variable that names the data folder."""

_TIMEOUT = 20.0
"""Seconds without an answer after which a server is given up."""


def locate(published: PublishedSet, data_dir: Path | None, cache: Path | None = None) -> Path:
    """Find the folder with the files of a set.

    It is looked for in ``data_dir``, else in the folder that ``PYSURGEON_DATA`` names; then in the cache, where it is
    fetched to if it is nowhere. Nothing is ever written to a folder of the user's.

    Args:
        published: The set.
        data_dir: The user's folder, if he named one.
        cache: Where fetched files are kept; the user's cache folder if absent.

    Returns:
        A folder that holds at least one of the set's markers.

    Raises:
        DataError: The named folder does not exist; or the set is nowhere and cannot be fetched, with what to put where.
    """
    named = data_dir
    if named is None and os.environ.get(DATA_VARIABLE):
        named = Path(os.environ[DATA_VARIABLE])
    if named is not None:
        named = named.expanduser()
        if not named.is_dir():
            message = f"the data folder {named} does not exist; create it or name another"
            raise DataError(message)
        found = _find(published, named)
        if found is not None:
            return found
    if cache is None:
        import platformdirs

        cache = platformdirs.user_cache_path("pysurgeon")
    target = cache / published.name
    # An interrupted fetch leaves some of the files behind: then the others are still to be fetched.
    fetched = [(target / file.name).is_file() for file in published.files]
    found = _find(published, cache)
    if found is not None and (all(fetched) or not any(fetched)):
        return found
    try:
        fetch(published, target)
    except DataError as error:
        root = named or cache
        message = f"{published.name} is not in {root} and could not be fetched. {error} {_advice(published, root)}"
        raise DataError(message) from error
    return target


def fetch(published: PublishedSet, target: Path, *, timeout: float = _TIMEOUT) -> None:
    """Fetch the files of a set that are not yet there and compare their checksums.

    Args:
        published: The set.
        target: Folder for the files; it is created.
        timeout: Seconds without an answer after which a server is given up.

    Raises:
        DataError: A file cannot be fetched or written, or has another checksum.
    """
    import pooch

    downloader = pooch.HTTPDownloader(timeout=timeout)
    try:
        # A file that is there is complete: it is moved into place after its checksum is compared.
        for file in (file for file in published.files if not (target / file.name).exists()):
            pooch.retrieve(file.url, f"md5:{file.md5}", fname=file.name, path=target, downloader=downloader)
    # Errors of the network and of the disk are OSErrors, a wrong checksum is a ValueError.
    except (OSError, ValueError) as error:
        message = f"{file.url}: {_reason(error)}."
        raise DataError(message) from error


def _reason(error: BaseException) -> str:
    """What was in the way, in one line: libraries wrap it in errors that print themselves whole."""
    innermost = error
    while (inner := innermost.__cause__ or innermost.__context__) is not None:
        innermost = inner
    text = getattr(innermost, "strerror", None) or str(innermost).strip() or type(innermost).__name__
    return str(text).splitlines()[0].rstrip(".")


def _find(published: PublishedSet, root: Path) -> Path | None:
    # A user may name the set's own folder as well as the one above it.
    own: tuple[str, ...] = (".",) if root.resolve().name.lower() == published.name else ()
    for folder in (*published.folders, *own):
        if any((root / folder / marker).exists() for marker in published.markers):
            return root / folder
    return None


def _advice(published: PublishedSet, root: Path) -> str:
    files = ", ".join(file.name for file in published.files)
    source = published.files[0].url.rpartition("/")[0]
    return (
        f"Put {files} from {source}/ into {root / published.name}, or name the folder that has them as the data folder "
        f"(--data-dir or ${DATA_VARIABLE})."
    )
