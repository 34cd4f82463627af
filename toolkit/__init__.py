"""Run and fine-tune ONNX models: the public names, and nothing else.

``importers.load`` gives a ``Network``; ``Trainer`` makes its weights better; ``exporters.save`` writes it back.
"""

from toolkit import estimators, layers
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
from toolkit.graph import Graph, Layer, Leaf, Network, Parameter, Scope, Selection, Value
from toolkit.operators import emit, not_differentiable, operator
from toolkit.runtime import Context, Explanation
from toolkit.training import (
    History,
    Trainer,
    adapters,
    callbacks,
    data,
    losses,
    metrics,
    optimizers,
    pruning,
    quantisation,
    replace_head,
    schedules,
    surgery,
    training_network,
)

__all__ = [
    "BackendError",
    "Context",
    "Explanation",
    "Graph",
    "GraphError",
    "History",
    "InputError",
    "Layer",
    "Leaf",
    "ModelError",
    "Network",
    "NonFiniteLossError",
    "NotDifferentiableError",
    "Parameter",
    "Scope",
    "Selection",
    "ShapeError",
    "ToolkitError",
    "Trainer",
    "TrainingError",
    "UnsupportedOperatorError",
    "Value",
    "adapters",
    "callbacks",
    "data",
    "emit",
    "estimators",
    "layers",
    "losses",
    "metrics",
    "not_differentiable",
    "operator",
    "optimizers",
    "pruning",
    "quantisation",
    "replace_head",
    "schedules",
    "surgery",
    "training_network",
]
