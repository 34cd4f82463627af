"""Writers of model files: ``save`` writes a ``toolkit.Network``, ``diff`` proves what changed."""

from exporters.onnx import Change, diff, save, to_proto

__all__ = ["Change", "diff", "save", "to_proto"]
