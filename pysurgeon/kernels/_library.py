"""Loads the compiled kernels, and the linear algebra library that they stand on."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
from pathlib import Path


def load_openblas() -> ctypes.CDLL:
    """Loads the library of the wheel ``scipy-openblas32``, for the extension to find.

    The extension names its library but has no path to it: the wheel lies elsewhere in an editable install, in an
    isolated build or in a virtual environment on top of another. The system finds by its name what is loaded already.
    It is loaded from its file, and for the extension only, because importing the wheel would make its symbols global:
    there they could take the place of those of the same name in SciPy's own copy, and our single thread with them.

    Returns:
        The library's handle.

    Raises:
        ImportError: The wheel is not installed, or holds no library that this system can load.
    """
    spec = importlib.util.find_spec("scipy_openblas32")
    folders = [Path(folder) / "lib" for folder in (spec.submodule_search_locations or [])] if spec else []
    libraries = [path for folder in folders for path in sorted(folder.glob("libscipy_openblas.*"))]
    if not libraries:
        where = f"in {', '.join(map(str, folders))}" if folders else "because it is not installed"
        msg = f"No library of scipy-openblas32, {where}: run `pip install --force-reinstall scipy-openblas32`."
        raise ImportError(msg)
    try:
        return ctypes.CDLL(str(libraries[0]), mode=ctypes.RTLD_LOCAL)
    except OSError as error:
        msg = f"{libraries[0]} cannot be loaded ({error}): run `pip install --force-reinstall scipy-openblas32`."
        raise ImportError(msg) from error


def load_native() -> None:
    """Imports ``pysurgeon.kernels._native``, so that the modules beside this one can.

    Its loops exist for several instruction sets. The best one that the processor has is taken, or that of the
    environment variable ``PYSURGEON_INSTRUCTIONS``: ``vnni``, ``avx512``, ``avx2``, ``baseline`` or ``best``.

    Raises:
        ImportError: It was not compiled, or not for this Python; or the variable names instructions that are not there.
    """
    load_openblas()
    try:
        native = importlib.import_module("pysurgeon.kernels._native")
    except ImportError as error:
        msg = (
            f"The compiled kernels of pysurgeon cannot be imported ({error}). In a checkout run `pip install .`, or "
            "`pip install -e .` to work on it: a C++17 compiler is all that pip does not bring. "
            "Elsewhere install the wheel that was made for this Python."
        )
        raise ImportError(msg) from error
    wanted = os.environ.get("PYSURGEON_INSTRUCTIONS", "best")
    if not native.choose_instructions(wanted):
        msg = (
            f"PYSURGEON_INSTRUCTIONS is {wanted!r}, which this processor does not have or nobody knows: "
            "expected vnni, avx512, avx2, baseline or best."
        )
        raise ImportError(msg)
