"""ONNX's own conformance suite, run on the toolkit through the interface that it is written for."""

from __future__ import annotations

from tests.support.conformance import conformance_tests

globals().update(conformance_tests(__name__, "cpu"))
