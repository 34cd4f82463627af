"""ONNX's own conformance suite on a GPU."""

from __future__ import annotations

import pytest

from importers.onnx.backend import supports_device
from tests.support.conformance import conformance_tests

if not supports_device("CUDA"):
    pytest.skip("needs a GPU", allow_module_level=True)

globals().update(conformance_tests(__name__, "cuda"))
