"""Types of quantised numbers, and the grids (scale and zero point) that cover a range with them."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from toolkit.errors import InputError

SIGNED_WEIGHTS = ("int8", "int4")


@dataclass(frozen=True, slots=True)
class Integers:
    """A type of quantised numbers by its name; ``since`` is the opset whose QuantizeLinear first has it."""

    name: str
    dtype: np.dtype
    low: int
    high: int
    since: int

    @property
    def levels(self) -> int:
        """How many numbers there are."""
        return self.high - self.low + 1


def _integers(name: str, since: int) -> Integers:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    limits = ml_dtypes.iinfo(dtype)
    return Integers(name, dtype, int(limits.min), int(limits.max), since)


KNOWN = {
    name: _integers(name, since)
    for name, since in (("uint8", 10), ("int8", 10), ("uint16", 21), ("int16", 21), ("uint4", 21), ("int4", 21))
}


def activation_integers(name: str) -> Integers:
    """The type of that name. Raises ``InputError`` for others."""
    if name not in KNOWN:
        raise InputError(f"activations= requires one of {', '.join(KNOWN)}, got {name!r}.")
    return KNOWN[name]


def weight_integers(name: str) -> Integers:
    """The type of that name, of those that weights can have: they are symmetric. Raises ``InputError`` for others."""
    if name not in SIGNED_WEIGHTS:
        raise InputError(
            f"weights= requires one of {', '.join(SIGNED_WEIGHTS)}, got {name!r}. Weights are quantised symmetrically."
        )
    return KNOWN[name]


def largest_weight(integers: Integers, reduce_range: bool) -> int:
    """The largest magnitude that a weight of a type gets: that of 7 bits where the range is to be reduced."""
    return integers.high // 2 if reduce_range and integers.name == "int8" else integers.high


def grid(low: float, high: float, integers: Integers) -> tuple[np.ndarray, np.ndarray]:
    """Scale (float32) and zero point that cover [``low``, ``high``] and 0 with all numbers of a type.

    The zero point is a whole number, so 0 is met exactly: paddings and ReLU lose nothing.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = np.float32((high - low) / (integers.levels - 1))
    if not scale > np.finfo(np.float32).tiny:
        scale = np.float32(1)
    zero_point = int(np.clip(np.rint(integers.low - low / float(scale)), integers.low, integers.high))
    return np.asarray(scale, np.float32), np.asarray(zero_point).astype(integers.dtype)


def weight_scale(weight: np.ndarray, axis: int | None, largest: int) -> np.ndarray:
    """The scale with which the largest magnitude becomes ``largest``: one for all, or one for each index of ``axis``.

    What is all zero gets the largest scale of the others: every scale serves it.
    """
    magnitudes = np.abs(np.asarray(weight, np.float32))
    others = tuple(number for number in range(magnitudes.ndim) if number != axis) if axis is not None else None
    scale = np.asarray(magnitudes.max(axis=others, initial=0) / np.float32(largest), np.float32)
    usable = scale > np.finfo(np.float32).tiny
    return np.where(usable, scale, scale.max(initial=0) if usable.any() else np.float32(1)).astype(np.float32)


def along(parameter: np.ndarray, ndim: int, axis: int | None) -> np.ndarray:
    """A scale in a form that broadcasts with a tensor of ``ndim`` axes."""
    if axis is None:
        return parameter.reshape(())
    return parameter.reshape([-1 if number == axis else 1 for number in range(ndim)])
