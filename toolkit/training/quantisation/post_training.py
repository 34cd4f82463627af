"""Post-training quantisation: a float network and a few hundred items become a network of 8 bits, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.graph.network import Network
from toolkit.training.quantisation.calibration import Calibration, calibrated
from toolkit.training.quantisation.conversion import convert
from toolkit.training.quantisation.integers import activation_integers, largest_weight, weight_integers
from toolkit.training.quantisation.observers import Observer
from toolkit.training.quantisation.pairs import insert_pairs


def quantise(
    network: Network | Calibration,
    data: Any = None,
    *patterns: str,
    skip: Sequence[str] = (),
    method: str | Observer = "min-max",
    weights: str = "int8",
    activations: str = "uint8",
    per_channel: bool = True,
    reduce_range: bool = True,
    batch_size: int = 32,
) -> Network:
    """``network`` quantised, as a new network; the one given stays as it is.

    - ``data``, ``patterns``, ``skip``, ``method``, ``batch_size``: as ``calibrate`` takes them; or hand its result over
      in place of the network, to quantise in several ways what was calibrated once
    - ``weights``: ``int8`` or ``int4``, symmetric, by output channel (``per_channel=False``: one scale a tensor)
    - ``activations``: ``uint8``, ``int8``, ``uint16``, ``int16``, ``uint4`` or ``int4``, one scale a value
    - ``reduce_range``: int8 weights of 7 bits. With 8 the sums of two products overflow 16 bits on x86-64 processors
      without VNNI, where onnxruntime lets them saturate; switch it off for others.

    Saved, it holds the integers; biases are int32. Raises ``GraphError`` when nothing is there to quantise,
    ``InputError`` for data and options that do not fit.
    """
    weight_type, activation_type = weight_integers(weights), activation_integers(activations)
    calibration = calibrated(network, data, patterns, skip=skip, method=method, batch_size=batch_size)
    paired = insert_pairs(
        calibration,
        weights=weight_type,
        activations=activation_type,
        per_channel=per_channel,
        largest=largest_weight(weight_type, reduce_range),
    )
    return convert(paired.network)
