"""Writes networks as ONNX models: what was read comes back equal, what was changed is the only difference."""

from exporters.onnx.proof import Change, diff
from exporters.onnx.translate import to_proto
from exporters.onnx.writer import save

__all__ = ["Change", "diff", "save", "to_proto"]
