"""The network behind an estimator: a copy of the caller's model with an output of the right width, or one of ours.

The network takes features as they are: what a default network does to scale them is part of it, so that the ONNX file
needs nothing else.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from importers import load
from toolkit.errors import InputError
from toolkit.graph import Network, Value
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.layers import Builder, Definition, Linear, ReLU, Sequential
from toolkit.layers.builder import dtype_of
from toolkit.training import replace_head

Runtime = dict[str, Any]  # backend and threads


def network_of(
    model: Any, features: np.ndarray, width: int, hidden: Sequence[int], seed: int, targets: np.ndarray | None = None
) -> Network:
    """A network of its own for ``features`` (items, ...) with ``width`` outputs an item.

    A network, a file or its bytes are copied; a function is called with the number of features and of outputs. For
    ``None`` it is a multilayer perceptron with the ``hidden`` widths, which scales its inputs by what the ``features``
    are, and its outputs by what the ``targets`` (items, width) are. Raises ``InputError`` for anything else.
    """
    if model is None:
        return perceptron(features, width, hidden, seed, targets)
    if isinstance(model, Network):
        return copy.deepcopy(model)
    if isinstance(model, (str, bytes, os.PathLike)):
        return load(model)
    made = model(int(np.prod(features.shape[1:])), width) if callable(model) else None
    if not isinstance(made, Network):
        raise InputError(
            "model requires a path, the bytes of a file, a Network, or a function (features, outputs) -> Network, got "
            f"{model!r}. Load or build one first."
        )
    return made


@dataclass(frozen=True, eq=False)
class Affine(Definition):
    """x * ``scale`` + ``offset`` on the last axis: two tensors that training leaves alone."""

    scale: np.ndarray
    offset: np.ndarray
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        for operator, tensor, what in (("Mul", self.scale, "scale"), ("Add", self.offset, "offset")):
            parameter = builder.parameter(what, tensor.astype(dtype_of(x)), requires_grad=False)
            x = builder.leaf(operator, [x, parameter], x.shape, dtype_of(x))
        return x


def perceptron(
    features: np.ndarray, width: int, hidden: Sequence[int], seed: int, targets: np.ndarray | None
) -> Network:
    """Standardise, then Linear and ReLU for each of the ``hidden`` widths, then Linear; targets are scaled back."""
    mean, deviation = _moments(features)
    body: list[Definition] = [Affine(1 / deviation, -mean / deviation, name="standardise")]
    for units in hidden:
        body += [Linear(int(units)), ReLU()]
    body.append(Linear(width))
    if targets is not None:
        mean, deviation = _moments(targets)
        body.append(Affine(deviation, mean, name="rescale"))
    return Sequential(body).network(features.shape[1:], name="perceptron", seed=seed)


def _moments(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wide = table.astype(np.float64)
    deviation = wide.std(0)
    return wide.mean(0), np.where(deviation > 1e-12 * np.abs(wide).max(0, initial=1.0), deviation, 1.0)


def judged_output(network: Network, output: str | None) -> str:
    """The output that is learnt: ``output``, or the only one of real numbers. Raises ``InputError`` otherwise."""
    real = [name for name, value in network.outputs.items() if value.dtype is None or is_trainable_dtype(value.dtype)]
    if output is None and len(real) == 1:
        return real[0]
    if output not in network.outputs:
        raise InputError(
            f"output={output!r}: the model has the outputs {list(network.outputs)}. Name the one to learn."
        )
    return output


def shaped(network: Network, features: np.ndarray) -> np.ndarray:
    """Features (items, ...) as the only input of the network takes them: its element type, its shape of an item.

    Raises ``InputError`` for networks of several inputs, and where the number of features differs.
    """
    if len(network.inputs) != 1:
        raise InputError(f"An estimator feeds one input, the model has {list(network.inputs)}. Use tk.Trainer.")
    (value,) = network.inputs.values()
    unit = value.unit_shape
    if unit is not None and all(isinstance(size, int) for size in unit):
        sizes = [int(size) for size in unit if isinstance(size, int)]
        if int(np.prod(sizes)) != int(np.prod(features.shape[1:])):
            raise InputError(
                f"X has {int(np.prod(features.shape[1:]))} features, but the model's input {value.name!r} "
                f"{value.describe()} takes {int(np.prod(sizes))} an item. Use another model, or other features."
            )
        features = features.reshape(len(features), *sizes)
    return features if value.dtype is None else features.astype(value.dtype, copy=False)


def outputs(network: Network, features: np.ndarray, output: str, batch_size: int, runtime: Runtime) -> np.ndarray:
    """The output for all items. Every run has ``batch_size`` items, so that no item depends on how many there are."""
    found = []
    for start in range(0, len(features), batch_size):
        part = features[start : start + batch_size]
        missing = batch_size - len(part)
        whole = np.concatenate([part, np.repeat(part[:1], missing, axis=0)]) if missing else part
        found.append(network.run(whole, outputs=[output], **runtime)[output][: len(part)])
    return np.concatenate(found)


def widened(network: Network, features: np.ndarray, output: str, width: int, seed: int, runtime: Runtime) -> Network:
    """The network, its head replaced in place where it gives another number of values an item than ``width``."""
    given = outputs(network, features[:1], output, 1, runtime)
    if given.shape[1:] in ((width,), () if width == 1 else (width,)):
        return network
    return replace_head(network, Linear(width), output=output, seed=seed)
