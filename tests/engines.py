"""The engines that training is tested on; there is no onnxruntime-training for Python 3.12 and later."""

from __future__ import annotations

import pytest

from pysurgeon.runtime import can_differentiate

needs_ort = pytest.mark.skipif(not can_differentiate(), reason="onnxruntime-training is not installed")

ENGINES = [pytest.param("ort", marks=needs_ort), "torch"]
