"""Weights that signal processing is done with: window functions by length, and the matrix of mel-scaled bands.

They are computed in double precision and rounded once. Their inputs are lengths and frequencies of a fixed layout, so
none has a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators import wire
from toolkit.operators.axes import known
from toolkit.operators.record import TensorType, not_differentiable, operator

LENGTH_ONLY = not_differentiable("its input is a length")


def window(*coefficients: float) -> Callable[..., np.ndarray]:
    """The reference of the window that is this sum of cosines, of angles that are multiples of one period."""

    def reference(size: np.ndarray, *, periodic: int = 1, output_datatype: int = 1) -> np.ndarray:
        count = _count(size, "size")
        period = count if periodic else count - 1
        angle = 2 * np.pi * np.arange(count) / max(period, 1)
        total = np.zeros(count)
        for multiple, coefficient in enumerate(coefficients):
            total += coefficient * np.cos(multiple * angle)
        if period == 0:
            total[:] = 1  # a symmetric window of one sample consists of its peak
        return total.astype(wire.element_dtype(output_datatype))

    return reference


def _count(content: np.ndarray, name: str) -> int:
    count = int(np.asarray(content).reshape(-1)[0])
    if count < 0:
        raise ValueError(f"{name} must be 0 or more, got {count}")
    return count


def infer_window(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """A vector as long as the input says."""
    return [(_element(attributes), (_count(known(constants[0], "size"), "size"),))]


def _element(attributes: dict[str, Any]) -> np.dtype:
    return wire.element_dtype(int(attributes.get("output_datatype", 1)))


def mel_weight_matrix(
    num_mel_bins: np.ndarray,
    dft_length: np.ndarray,
    sample_rate: np.ndarray,
    lower_edge_hertz: np.ndarray,
    upper_edge_hertz: np.ndarray,
    *,
    output_datatype: int = 1,
) -> np.ndarray:
    """Triangles (bins of a one-sided spectrum, bands), evenly spaced on the mel scale between the two edges."""
    bands, length, rate = (_count(item, "a number of bins") for item in (num_mel_bins, dft_length, sample_rate))
    low, high = (
        _mel(np.asarray(edge, dtype=np.float64).reshape(-1)[0]) for edge in (lower_edge_hertz, upper_edge_hertz)
    )
    if rate < 1:
        raise ValueError(f"the sample rate must be positive, got {rate}")
    edges = low + np.arange(bands + 2) * ((high - low) / (bands + 2))
    corner = np.floor((length + 1) * _hertz(edges) / rate).astype(np.int64)
    if not 0 <= corner.min() <= corner[:-1].max() <= length // 2:
        raise ValueError(f"the edges must lie in the spectrum, from 0 to {rate / 2} hertz")
    left, center, right = corner[:-2], corner[1:-1], corner[2:]
    position = np.arange(length // 2 + 1)[:, None]
    rising = (position - left) / np.maximum(center - left, 1)
    falling = (right - position) / np.maximum(right - center, 1)
    inside = (position >= left) & (position < right)
    weight = np.where(position < center, rising, falling) * inside
    return np.where(position == center, 1, weight).astype(wire.element_dtype(output_datatype))


def _mel(hertz: Any) -> Any:
    return 2595 * np.log10(1 + hertz / 700)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


def infer_mel_weight_matrix(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """Bins of the one-sided spectrum by bands."""
    bands = _count(known(constants[0], "num_mel_bins"), "num_mel_bins")
    length = _count(known(constants[1], "dft_length"), "dft_length")
    return [(_element(attributes), (length // 2 + 1, bands))]


operator(
    "HannWindow", since=17, reference=window(0.5, -0.5), gradient=LENGTH_ONLY, infer=infer_window, host_inputs=(0,)
)
operator(
    "HammingWindow",
    since=17,
    reference=window(25 / 46, -21 / 46),
    gradient=LENGTH_ONLY,
    infer=infer_window,
    host_inputs=(0,),
)
operator(
    "BlackmanWindow",
    since=17,
    reference=window(0.42, -0.5, 0.08),
    gradient=LENGTH_ONLY,
    infer=infer_window,
    host_inputs=(0,),
)
operator(
    "MelWeightMatrix",
    since=17,
    reference=mel_weight_matrix,
    gradient=not_differentiable(
        "its bands begin and end at whole bins, which the edges move by jumps", slope_is_zero=True
    ),
    infer=infer_mel_weight_matrix,
    host_inputs=range(5),
)
