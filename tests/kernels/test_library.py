"""What the package says when something is missing, and what it leaves alone."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys

import pytest

from pysurgeon import kernels
from pysurgeon.kernels import _native, reference


def run(code):
    """Runs code in a fresh interpreter and returns what it prints as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sorted(set(kernels.__all__) - {"CohortIndex", "Factors"}))
def test_the_twin_has_the_same_signature(name):
    assert name in reference.__all__
    assert inspect.signature(getattr(kernels, name)) == inspect.signature(getattr(reference, name))


def test_every_public_name_is_documented_and_there():
    for name in kernels.__all__:
        assert inspect.getdoc(getattr(kernels, name))


def test_a_missing_extension_says_what_to_do():
    message = run(
        "import json, sys\n"
        "sys.modules['pysurgeon.kernels._native'] = None\n"
        "try:\n    import pysurgeon.kernels\nexcept ImportError as error:\n    print(json.dumps(str(error)))"
    )
    assert "pip install ." in message
    assert "C++17" in message


def test_a_missing_linear_algebra_says_what_to_do():
    message = run(
        "import importlib.util as u, json\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'scipy_openblas32' else find(name, *rest)\n"
        "try:\n    import pysurgeon.kernels\nexcept ImportError as error:\n    print(json.dumps(str(error)))"
    )
    assert "pip install --force-reinstall scipy-openblas32" in message


def test_the_environment_chooses_the_instructions(monkeypatch):
    monkeypatch.setenv("PYSURGEON_INSTRUCTIONS", "baseline")
    assert run("import json; from pysurgeon.kernels import _native; print(json.dumps(_native.instructions()))") == (
        "baseline"
    )
    monkeypatch.setenv("PYSURGEON_INSTRUCTIONS", "sse9")
    message = run(
        "import json\ntry:\n    import pysurgeon.kernels\nexcept ImportError as error:\n    print(json.dumps(str(error)))"
    )
    assert "PYSURGEON_INSTRUCTIONS is 'sse9'" in message


def test_the_import_is_light():
    loaded = run(
        "import json, sys, pysurgeon.kernels; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    assert not {"torch", "onnx", "onnx_ir", "onnxruntime", "scipy", "sklearn", "scipy_openblas32"} & set(loaded)


def test_the_threads_of_numpy_and_scipy_are_left_alone():
    """Our copy of the library is held to one thread; theirs answer to their own settings as before."""
    code = (
        "import json, os, sys\n"
        "os.environ['OPENBLAS_NUM_THREADS'] = '2'\n"
        "os.environ['OMP_NUM_THREADS'] = '2'\n"
        "{first}\n"
        "from threadpoolctl import threadpool_info\n"
        "print(json.dumps({{('ours' if 'scipy_openblas32' in p['filepath'] else 'theirs'): p['num_threads']"
        " for p in threadpool_info() if p['internal_api'] == 'openblas'}}))"
    )
    orders = ("import pysurgeon.kernels, numpy, scipy.linalg", "import numpy, scipy.linalg, pysurgeon.kernels")
    for order in orders:
        threads = run(code.format(first=order))
        assert threads["ours"] == 1
        assert threads["theirs"] == min(2, len(os.sched_getaffinity(0)))


def test_the_symbols_of_our_library_stay_ours():
    """They have the names of those in SciPy's copy: were they global, its modules could be bound to them instead."""
    assert (
        run("import ctypes, json, pysurgeon.kernels; print(json.dumps(hasattr(ctypes.CDLL(None), 'scipy_dgemm_')))")
        is False
    )


def test_the_library_names_itself():
    assert "OpenBLAS" in _native.blas_configuration()
    assert _native.blas_core_name()
