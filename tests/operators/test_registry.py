"""One registry, no key twice, nothing guessed."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest

from pysurgeon.graph.families import collected
from pysurgeon.operators import OPERATORS, lookup
from pysurgeon.operators.operator import Family


def test_an_operator_is_in_one_family_once():
    family = Family()
    family.add("Relu", "Tanh", operator=OPERATORS["", "Tanh"])
    with pytest.raises(ValueError, match="twice"):
        family.add("Relu", operator=OPERATORS["", "Relu"])
    other = Family()
    other.add("Relu", operator=OPERATORS["", "Relu"], domain="some.domain")
    assert len(collected("entry", family, other)) == 3
    with pytest.raises(ValueError, match="two"):
        collected("entry", family, family)


def test_every_registered_operator_is_one_of_the_standard():
    import onnx

    assert OPERATORS
    for domain, op_type in OPERATORS:
        assert domain == ""
        assert onnx.defs.has(op_type), op_type


def test_lookup_goes_by_domain_and_type():
    x = ir.Value(name="x")
    assert lookup(ir.node("Relu", [x])) is OPERATORS["", "Relu"]
    assert lookup(ir.node("Relu", [x], domain="some.domain")) is None
    assert lookup(ir.node("Relux", [x])) is None


@pytest.mark.parametrize("package", ["pysurgeon.model", "pysurgeon.widths", "pysurgeon.surgery"])
def test_importing_loads_no_engine(package):
    code = f"import sys, {package}; print(sorted({{'torch', 'onnxruntime', 'scipy', 'sklearn', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_table_in_the_docs_is_that_of_the_registry():
    """If not: python docs/operators.py."""
    docs = Path(__file__).parents[2] / "docs"
    table = runpy.run_path(str(docs / "operators.py"))["table"]
    assert (docs / "operators.md").read_text() == table()
