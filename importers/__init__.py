"""Readers of model files: ``load`` turns a file into a ``toolkit.Network``."""

from importers.onnx import load

__all__ = ["load"]
