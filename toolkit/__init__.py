"""Run and fine-tune ONNX models: the public names, and nothing else.

``importers.load`` gives a ``Network``; ``Trainer`` makes its weights better; ``exporters.save`` writes it back. What
training and authoring need is imported when one of its names is first used: a process that only runs models starts in
half the time.
"""

import gc
import importlib
import typing

_COLLECTS = gc.isenabled()
gc.disable()  # what modules make stays: to look for garbage among it takes a tenth of the time to import them
try:
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
finally:
    if _COLLECTS:
        if not gc.get_freeze_count():  # else what somebody has frozen would thaw
            gc.freeze()
            gc.unfreeze()  # what there is counts as old, and is not gone through as soon as something new is made
        gc.enable()

if typing.TYPE_CHECKING:
    from toolkit import estimators, layers
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

_TRAINING = (
    "History",
    "Trainer",
    "adapters",
    "callbacks",
    "data",
    "losses",
    "metrics",
    "optimizers",
    "pruning",
    "quantisation",
    "replace_head",
    "schedules",
    "surgery",
    "training_network",
)


def __getattr__(name: str) -> typing.Any:
    """A name that is imported when it is first used; from then on it is there like all others."""
    if name in _TRAINING:
        found = getattr(importlib.import_module("toolkit.training"), name)
    elif name in ("estimators", "layers"):
        found = importlib.import_module(f"toolkit.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
