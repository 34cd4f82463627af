"""Labels as users have them, checked and turned into what a loss compiles for. Nothing is converted with loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.errors import InputError


def class_indices(
    name: str, labels: Any, shape: tuple[int, ...], classes: int, axis: int, ignore_index: int | None
) -> np.ndarray:
    """Class indices as int64 of ``shape``. ``name`` is the loss for messages, ``axis`` where its output has classes.

    Raises ``InputError`` for one-hot rows, another shape, values that are no integers, and indices out of range.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iubf":
        raise InputError(
            f"{name}: labels must be class indices (integers), got {array.dtype} {array.shape}. "
            "Map the names to 0, 1, 2, ... first: np.unique(labels, return_inverse=True)."
        )
    if array.shape != shape:
        raise InputError(
            f"{name}: labels must have the shape {shape}, got {array.shape}. {_remedy(array, shape, classes, axis)}"
        )
    whole = array.astype(np.int64)
    if array.dtype.kind == "f" and not np.array_equal(whole, array):
        raise InputError(
            f"{name}: labels must be class indices (integers), got {array.dtype} with fractions or NaN. "
            "For real-valued targets use MeanSquaredError."
        )
    wrong = (whole < 0) | (whole >= classes)
    if ignore_index is not None:
        wrong &= whole != ignore_index
    if wrong.any():
        position = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise InputError(
            f"{name}: labels must lie in [0, {classes - 1}] for an output of {classes} classes, got "
            f"{whole[position]} at item {position[0]}. Count classes from 0, replace the head by one with more "
            "classes, or say ignore_index= for missing labels."
        )
    return whole


def _remedy(array: np.ndarray, shape: tuple[int, ...], classes: int, axis: int) -> str:
    one_hot = (*shape[:axis], classes, *shape[axis:])
    if array.shape == one_hot and classes > 1:
        return f"They look one-hot: pass labels.argmax({axis})."
    if array.size == int(np.prod(shape)):
        return f"Pass labels.reshape({shape})."
    if array.ndim == len(shape) and array.shape[1:] == shape[1:]:
        return f"The batch has {shape[0]} items and {array.shape[0]} labels: pass one label per item."
    return "Pass one class index per item."


def real_targets(name: str, labels: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Targets as float32 of ``shape``; NaN marks a missing one. Raises ``InputError`` for other shapes and types."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iubf" and array.dtype.name != "bfloat16":
        raise InputError(f"{name}: labels must be numbers, got {array.dtype} {array.shape}. Convert them first.")
    if array.shape != shape:
        if array.size == int(np.prod(shape)):
            remedy = f"Pass labels.reshape({shape})."
        else:
            remedy = "Pass one target per element of the output, NaN where it is missing."
        raise InputError(f"{name}: labels must have the shape {shape}, got {array.shape}. {remedy}")
    return array.astype(np.float32)
