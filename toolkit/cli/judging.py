"""What a command judges by: the loss and the metrics that options describe, and what the network itself suggests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.cli.descriptions import KIND
from toolkit.cli.families import FAMILIES
from toolkit.cli.forms import Described, Named, Text
from toolkit.cli.kinds import parameters_of
from toolkit.cli.labelled import Labels
from toolkit.cli.settings import Group, Option
from toolkit.errors import GraphError, InputError
from toolkit.graph import Network
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.graph.value import Shape
from toolkit.training import losses
from toolkit.training.data import class_weights
from toolkit.training.metrics import AnyMetric

Settings = Mapping[str, Any]
AUTO = "auto"
PASSES_THROUGH = ("Identity", "Dropout")
PROBABILITIES: dict[Any, tuple[str, ...]] = {  # what the last layer must be for a loss to judge probabilities
    losses.SoftmaxCrossEntropy: ("Softmax",),
    losses.BinaryCrossEntropy: ("Sigmoid", "Softmax"),
    losses.Dice: ("Sigmoid", "Softmax"),
    losses.CTC: ("Softmax",),
}
CLASS_WEIGHTS = ("weight", "alpha")  # parameters of losses over classes that take one number for each
DISTILLATION = Option(
    "distill", Described("distillation"), "learn from a teacher too: teacher=FILE.onnx,temperature=4,alpha=0.7"
)
JUDGING = (
    Option("loss", Described("loss", (AUTO,)), "default: what the last layer and the labels suggest", AUTO),
    Option("loss_output", Text("NAME"), "the output that the loss judges, where there are several"),
    Option(
        "metric",
        Named(Described("metric"), "[NAME=]KIND[:NAME=VALUE,...]", needs_name=False),
        "a figure beside the loss, any number of times: f1, top5=top_k:k=5",
        is_repeated=True,
    ),
)
JUDGING_OBJECTIVE = Group("objective", "loss and metrics", JUDGING)
TRAINING_OBJECTIVE = Group("objective", "loss and metrics", (*JUDGING, DISTILLATION))


def judged_output(network: Network, wanted: str | None) -> str:
    """The output that a loss judges: the one asked for, or the only one of floating-point numbers.

    Raises ``InputError`` when it cannot be told.
    """
    if wanted is not None and wanted not in network.outputs:
        raise InputError(f"--loss-output: there is no output {wanted!r}; the outputs are {list(network.outputs)}.")
    if wanted is not None:
        return wanted
    able = [
        name
        for name, value in network.outputs.items()
        if value.kind == "tensor" and (value.dtype is None or is_trainable_dtype(value.dtype))
    ]
    if len(able) != 1:
        described = ", ".join(f"{name!r} {value.describe()}" for name, value in network.outputs.items())
        raise InputError(
            f"A loss judges one output of floating-point numbers, and this network has {len(able)} of them among "
            f"{described}. Name one with --loss-output."
        )
    return able[0]


def loss_for(network: Network, values: Settings, labels: Labels | None) -> losses.Loss:
    """The loss that is described; ``auto`` reads it off the last layer and the labels.

    Labels of whole numbers or names with one axis less than the output count classes: judged are probabilities after a
    Softmax, log-probabilities after a LogSoftmax, scores otherwise. Other labels are targets of a squared error.
    Raises ``InputError`` where that cannot be told, and what the constructor of the loss raises.
    """
    wanted, asked = values["loss"], values["loss_output"]
    if wanted == AUTO:
        output = judged_output(network, asked)
        wanted = {KIND: _suggested(network, output, labels), "output": output}
    elif asked is not None:
        wanted = {**wanted, "output": judged_output(network, asked)}
    kind, outputs = FAMILIES["loss"].kinds[wanted[KIND]], list(network.outputs)
    parameters = parameters_of(kind)
    if "output" in wanted and "output" not in parameters:
        raise InputError(f"--loss-output: {wanted[KIND]} names its outputs itself. Leave the option out.")
    try:
        loss = FAMILIES.built(FAMILIES["loss"], wanted)
        judged = loss.judged(outputs)
    except GraphError:  # several outputs, and the loss does not say which
        if "output" in wanted or "output" not in parameters:
            raise
        wanted = {**wanted, "output": judged_output(network, None)}
        loss = FAMILIES.built(FAMILIES["loss"], wanted)
        judged = loss.judged(outputs)
    supplied: dict[str, Any] = {}
    if last_operator(network, judged[0]) in PROBABILITIES.get(kind, ()):
        supplied["probabilities"] = True
    if values.get("balance") == "weights":
        supplied |= _class_weights(kind, wanted, labels, network.outputs[judged[0]].shape)
    loss = FAMILIES.built(FAMILIES["loss"], wanted, **supplied) if supplied else loss
    if (distilled := values.get("distill")) is None:
        return loss
    return FAMILIES.built(FAMILIES["distillation"], distilled, loss=loss)


def _suggested(network: Network, output: str, labels: Labels | None) -> str:
    if not isinstance(labels, np.ndarray):
        raise InputError(
            "Labels of several names need a loss that reads them: --loss combined:losses={NAME=(KIND),NAME=(KIND)}."
        )
    if not _counts_classes(network, output, labels):
        return "MeanSquaredError"
    return "NegativeLogLikelihood" if last_operator(network, output) == "LogSoftmax" else "SoftmaxCrossEntropy"


def _class_weights(kind: Any, wanted: Settings, labels: Labels | None, shape: Shape | None) -> dict[str, Any]:
    parameters = parameters_of(kind)
    name = next((name for name in CLASS_WEIGHTS if name in parameters and "ignore_index" in parameters), None)
    if name is None or not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        raise InputError(
            f"--balance weights needs a loss with a weight for each class and labels that are class indices, got "
            f"{wanted[KIND]}. Take --balance sampling, or another loss."
        )
    ignored = wanted.get("ignore_index")
    classes = shape[1] if shape is not None and len(shape) > 1 and isinstance(shape[1], int) else None
    return {name: class_weights(labels if ignored is None else labels[labels != ignored], classes)}


def describe_loss(loss: losses.Loss, network: Network) -> str:
    """A loss in a few words, for reports."""
    of = " of probabilities" if getattr(loss, "probabilities", False) else ""
    return f"{type(loss).__name__}{of} on {', '.join(map(repr, loss.judged(list(network.outputs))))}"


def metrics_for(loss: losses.Loss, values: Settings, classes: Sequence[str] | None) -> dict[str, AnyMetric] | None:
    """The metrics that are described beside those of the loss; ``None`` where none is. Classes go by their names."""
    if not values["metric"]:
        return None
    made = {
        name: FAMILIES.built(FAMILIES["metric"], described, **({} if classes is None else {"names": classes}))
        for name, described in values["metric"].items()
    }
    return {**loss.metrics(), **made}


def last_operator(network: Network, output: str) -> str:
    """The operator that computes an output, behind what only passes it through."""
    producers = network.graph.producers()
    leaf = producers.get(output)
    while leaf is not None and leaf.op_type in PASSES_THROUGH:
        leaf = producers.get(leaf.inputs[0])
    return "" if leaf is None or leaf.domain not in ("", "ai.onnx") else leaf.op_type


def _counts_classes(network: Network, output: str, labels: np.ndarray) -> bool:
    shape = network.outputs[output].shape
    fits = labels.ndim == 1 if shape is None else labels.ndim == len(shape) - 1
    return fits and (labels.dtype.kind in "iuUO" or bool(np.all(labels == np.floor(labels))))
