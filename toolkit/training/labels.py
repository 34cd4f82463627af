"""Labels as users have them, checked and turned into what a loss compiles for. Nothing is converted with loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.errors import InputError

INT64, UINT64 = np.dtype(np.int64), np.dtype(np.uint64)


def class_indices(
    name: str, labels: Any, shape: tuple[int, ...], classes: int, axis: int, ignore_index: int | None
) -> np.ndarray:
    """Class indices as int64 of ``shape``. ``name`` is the loss for messages, ``axis`` where its output has classes.

    Raises ``InputError`` for one-hot rows, another shape, values that are no integers, and indices out of range.
    """
    array = np.asarray(labels)
    if array.dtype == INT64 and array.shape == shape and _are_classes(array, classes):
        return array
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


def _are_classes(whole: np.ndarray, classes: int) -> bool:
    """Whether all are in [0, ``classes``): without their sign, negative numbers are the largest."""
    return bool(np.maximum.reduce(whole.view(UINT64), axis=None, initial=0) < classes)


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


def shares(name: str, labels: np.ndarray) -> np.ndarray:
    """Accepted targets that say how much of a yes each is. Raises ``InputError`` for numbers outside of [0, 1]."""
    wrong = (labels < 0) | (labels > 1)
    if wrong.any():
        position = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise InputError(
            f"{name}: labels must lie in [0, 1], got {labels[position]:g} at {position}. 0 is no, 1 is yes; what "
            "counts classes needs an output with one number for each class."
        )
    return labels


def signs_as_shares(name: str, labels: np.ndarray) -> np.ndarray:
    """Accepted targets of -1 and 1, or of 0 and 1, as 0 and 1. Raises ``InputError`` for other numbers."""
    wrong = ~np.isin(labels, (-1, 0, 1)) & ~np.isnan(labels)
    if wrong.any():
        position = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise InputError(
            f"{name}: labels must be -1 and 1, or 0 and 1, got {labels[position]:g} at {position}. "
            "Pass np.sign(labels)."
        )
    return np.where(labels < 0, np.float32(0), labels)


def padded_sequences(
    name: str,
    labels: Any,
    symbols: Any,
    steps: Any,
    *,
    sizes: tuple[int, int, int, int],
    blank: int,
    unknown: list[str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sequences of classes as int64 (batch, longest), how many symbols each has, and how many steps of it count.

    ``sizes`` are batch, steps, classes and longest. Without ``symbols`` a sequence ends where the first negative number
    or ``blank`` stands. Raises ``InputError`` for what is no class, too long, or of another number of items.
    """
    batch, all_steps, classes, longest = sizes
    if labels is None or unknown:
        raise InputError(
            f"{name} requires labels, or a dict of labels with input_lengths and target_lengths, got "
            f"{f'the names {unknown}' if unknown else 'none'}. Pass (x, labels)."
        )
    rows = [np.asarray(row).reshape(-1) for row in labels]
    if symbols is None:
        _require_padding_last(name, rows, blank)
    counts = _lengths(name, "target_lengths", symbols, [_real_symbols(row, blank) for row in rows], batch)
    counted = _lengths(name, "input_lengths", steps, [all_steps] * batch, batch)
    if len(rows) != batch or (counted > all_steps).any():
        raise InputError(
            f"{name}: there are {batch} items of {all_steps} steps, got {len(rows)} targets and input_lengths up to "
            f"{counted.max(initial=0)}. Pass one target for each item, and lengths within the steps."
        )
    found = np.full((batch, longest), -1, np.int64)
    for item, (row, count) in enumerate(zip(rows, counts, strict=True)):
        used = row[:count]
        if count > min(longest, len(row)):
            raise InputError(
                f"{name}: the target of item {item} has {count} symbols of {len(row)} given, where {longest} fit. "
                "Say longest= for longer ones, which need as many steps."
            )
        whole = used.astype(np.int64) if used.dtype.kind in "iubf" else None
        if whole is None or not np.array_equal(whole, used) or ((whole < 0) | (whole >= classes)).any():
            raise InputError(
                f"{name}: the target of item {item} must be class numbers in [0, {classes - 1}], got {used.tolist()}. "
                "Pad with -1 at the end only."
            )
        if (whole == blank).any():
            raise InputError(f"{name}: the target of item {item} holds the blank {blank}. Leave blanks out.")
        found[item, :count] = whole
    return found, counts, counted


def _real_symbols(row: np.ndarray, blank: int) -> int:
    """How many symbols stand before the padding."""
    padding = np.flatnonzero((row < 0) | (row == blank)) if row.dtype.kind in "iubf" else np.zeros(0, int)
    return int(padding[0]) if padding.size else len(row)


def _require_padding_last(name: str, rows: list[np.ndarray], blank: int) -> None:
    for item, row in enumerate(rows):
        rest = row[_real_symbols(row, blank) :]
        if ((rest >= 0) & (rest != blank)).any():
            raise InputError(
                f"{name}: the target of item {item} goes on behind a blank or a negative number: {row.tolist()}. Leave "
                "blanks out, and pad at the end only."
            )


def _lengths(name: str, what: str, given: Any, default: list[int], batch: int) -> np.ndarray:
    if given is None:
        return np.asarray(default, np.int64).reshape(-1)
    array = np.asarray(given)
    if array.shape != (batch,) or array.dtype.kind not in "iu" or (array < 0).any():
        raise InputError(
            f"{name}: {what} must be integers of at least 0 of shape {(batch,)}, got {array.dtype} {array.shape}. "
            "Pass one length for each item."
        )
    return array.astype(np.int64)
