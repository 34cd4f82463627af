"""Readers of files: ``load`` turns a model into a ``toolkit.Network``, ``read_adapter`` reads an adapter."""

from importers.adapters import read_adapter
from importers.onnx import load

__all__ = ["load", "read_adapter"]
