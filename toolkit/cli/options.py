"""Options that several commands share, and what they choose: backend, sizes, loss, optimizer."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from importers import load
from toolkit.errors import InputError
from toolkit.graph import Network
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.training import losses, optimizers

PASSES_THROUGH = ("Identity", "Dropout")
LOSSES = ("auto", "softmax-cross-entropy", "negative-log-likelihood", "mean-squared-error")
DIM_HINT = " On the command line: --dim NAME=SIZE."
OPTIMIZERS = ("adam", "adamw", "sgd")


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model file, and what may have to be said to read it."""
    parser.add_argument("model", metavar="MODEL", help="the ONNX file")
    parser.add_argument(
        "--batch-axis",
        metavar="NAME=AXIS",
        action="append",
        default=[],
        type=_axis,
        help="the axis of an input or output that counts items, or none, where the file is taken wrongly",
    )


def read_model(options: argparse.Namespace) -> Network:
    """The network of the model file. Raises ``ModelError``."""
    return load(options.model, batch_axis=dict(options.batch_axis))


def add_running(parser: argparse.ArgumentParser) -> None:
    """Where and how it runs."""
    parser.add_argument("--backend", default="cpu", help="cpu, numpy, or a list such as cuda,cpu (default: cpu)")
    parser.add_argument("--threads", type=count, help="processors to use (default: all)")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Labelled data and the loss that judges it."""
    parser.add_argument("--data", metavar="FILE", required=True, help="npz with inputs and labels, or csv")
    parser.add_argument("--x", metavar="KEY", help="the array in the npz that feeds the only input")
    parser.add_argument("--y", metavar="KEY", help="the array in the npz, or the csv column, of the labels")
    parser.add_argument("--loss", choices=LOSSES, default="auto", help="default: what the output and labels suggest")
    parser.add_argument(
        "--loss-output", metavar="NAME", help="the output that the loss judges, where there are several"
    )
    parser.add_argument("--batch-size", type=count, default=64, help="items per step (default: 64)")


def add_dims(parser: argparse.ArgumentParser) -> None:
    """Sizes of symbolic dimensions."""
    parser.add_argument(
        "--dim", metavar="NAME=SIZE", action="append", default=[], type=_dim, help="size of a symbolic dimension"
    )


def count(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is expected, got {text!r}")
    return number


def _dim(text: str) -> tuple[str, int]:
    name, equals, size = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"NAME=SIZE is expected, got {text!r}")
    return name, count(size)


def _axis(text: str) -> tuple[str, int | None]:
    name, _, axis = text.rpartition("=")
    if not name or not (axis == "none" or axis.isdigit()):
        raise argparse.ArgumentTypeError(f"NAME=AXIS or NAME=none is expected, got {text!r}")
    return name, None if axis == "none" else int(axis)


def backends(options: argparse.Namespace) -> list[str]:
    """The preference list of ``--backend``."""
    return [name.strip() for name in options.backend.split(",")]


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


def loss_for(network: Network, options: argparse.Namespace, labels: np.ndarray) -> losses.Loss:
    """The loss asked for; ``auto`` reads it off the last layer and the labels.

    Labels of whole numbers with one axis less than the output count classes: judged are probabilities after a Softmax,
    log-probabilities after a LogSoftmax, scores otherwise. Other labels are targets of a squared error.
    """
    output = judged_output(network, options.loss_output)
    last, kind = _last_operator(network, output), options.loss
    if kind == "auto":
        kind = "negative-log-likelihood" if last == "LogSoftmax" else "softmax-cross-entropy"
        kind = kind if _counts_classes(network, output, labels) else "mean-squared-error"
    if kind == "mean-squared-error":
        return losses.MeanSquaredError(output=output)
    if kind == "negative-log-likelihood":
        return losses.NegativeLogLikelihood(output=output)
    return losses.SoftmaxCrossEntropy(output=output, probabilities=last == "Softmax")


def describe_loss(loss: losses.Loss) -> str:
    """A loss in a few words, for reports."""
    of = " of probabilities" if getattr(loss, "probabilities", False) else ""
    on = f" on {loss.output!r}" if isinstance(loss, losses.OutputLoss) else ""
    return f"{type(loss).__name__}{of}{on}"


def _last_operator(network: Network, output: str) -> str:
    producers = network.graph.producers()
    leaf = producers.get(output)
    while leaf is not None and leaf.op_type in PASSES_THROUGH:
        leaf = producers.get(leaf.inputs[0])
    return "" if leaf is None or leaf.domain not in ("", "ai.onnx") else leaf.op_type


def _counts_classes(network: Network, output: str, labels: np.ndarray) -> bool:
    shape = network.outputs[output].shape
    fits = labels.ndim == 1 if shape is None else labels.ndim == len(shape) - 1
    return fits and (labels.dtype.kind in "iu" or bool(np.all(labels == np.floor(labels))))


def optimizer_for(options: argparse.Namespace) -> optimizers.Optimizer:
    """The optimizer asked for; raises ``TrainingError`` for numbers that it cannot work with."""
    arguments: dict[str, Any] = {}
    if options.weight_decay is not None:
        arguments["weight_decay"] = options.weight_decay
    if options.optimizer == "sgd":
        return optimizers.SGD(options.lr, momentum=options.momentum, **arguments)
    kind = optimizers.Adam if options.optimizer == "adam" else optimizers.AdamW
    return kind(options.lr, **arguments)
