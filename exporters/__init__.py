"""Writers of files: ``save`` writes a network, ``save_adapter`` an adapter, ``diff`` proves what changed."""

from exporters.adapters import save_adapter
from exporters.onnx import Change, diff, save, to_proto

__all__ = ["Change", "diff", "save", "save_adapter", "to_proto"]
