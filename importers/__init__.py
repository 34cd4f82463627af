"""Readers of files: ``load`` turns a model into a ``toolkit.Network``, ``read_adapter`` reads an adapter."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import toolkit.graph  # noqa: F401  # first, for while the toolkit is imported nobody looks for garbage
from importers.onnx import load

if TYPE_CHECKING:
    from importers.adapters import read_adapter

__all__ = ["load", "read_adapter"]


def __getattr__(name: str) -> Any:
    """Adapters are read by few processes: what that needs is imported when it is first asked for."""
    if name != "read_adapter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("importers.adapters").read_adapter
