"""Run and fine-tune ONNX models: the public names, and nothing else.

``importers.load`` gives a ``Network``; ``Trainer`` makes its weights better; ``exporters.save`` writes it back.
"""

from toolkit.errors import (
    BackendError,
    GraphError,
    InputError,
    ModelError,
    NonFiniteLossError,
    NotDifferentiableError,
    ShapeError,
    ToolkitError,
    TrainingError,
    UnsupportedOperatorError,
)
from toolkit.graph import Layer, Network, Parameter, Selection, Value

__all__ = [
    "BackendError",
    "GraphError",
    "InputError",
    "Layer",
    "ModelError",
    "Network",
    "NonFiniteLossError",
    "NotDifferentiableError",
    "Parameter",
    "Selection",
    "ShapeError",
    "ToolkitError",
    "TrainingError",
    "UnsupportedOperatorError",
    "Value",
]
