"""Worst examples in a page: as pictures where the inputs are images, as numbers otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from toolkit.report import Markup, data_uri, pictures, table
from toolkit.training.reporting.examination import Arrays, Example

CHANNELS = (1, 3, 4)
LEAST = 6  # pixels along a side; what is smaller is a table, not a picture
MOST_VALUES = 10


def examples(worst: Sequence[Example], shape: Sequence[int] | None) -> Markup:
    """The examples with what they are and were taken for; ``shape`` makes images of flat inputs."""
    images = [_image(item.feeds, shape) for item in worst]
    if worst and all(image is not None for image in images):
        return pictures(
            [(data_uri(image), _words(item)) for image, item in zip(images, worst, strict=True) if image is not None]
        )
    rows = [[item.index, item.truth, item.answer, f"{item.badness:.4g}", _values(item.feeds)] for item in worst]
    return table(("item", "is", "was taken for", "wrong by", "inputs"), rows, right=("item", "wrong by"))


def _words(item: Example) -> Markup:
    fields = (f"<b>{escape(item.truth)}</b>", f"taken for {escape(item.answer)}", f"item {item.index}")
    return Markup("<br>".join(fields))


def _image(feeds: Arrays, shape: Sequence[int] | None) -> np.ndarray | None:
    """The first input that is an image, as uint8 (height, width, channels)."""
    for array in feeds.values():
        given = array.reshape(tuple(shape)) if shape is not None and array.size == np.prod(shape) else array
        if given.ndim == 2:
            given = given[None]
        if given.dtype.kind not in "fiu" or given.ndim != 3:
            continue
        if given.shape[0] in CHANNELS:
            given = given.transpose(1, 2, 0)
        if given.shape[2] in CHANNELS and min(given.shape[:2]) >= LEAST:
            return _pixels(given)
    return None


def _pixels(image: np.ndarray) -> np.ndarray:
    """Brightness as far as it can be told: bytes and [0, 1] as they are, what is normalised from its own range."""
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    values = np.nan_to_num(image.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        values = values * 255
    elif not (low >= 0 and 1 < high <= 255):
        values = (values - low) * (255 / ((high - low) or 1))
    return np.ascontiguousarray(values.round().clip(0, 255).astype(np.uint8))


def _values(feeds: Arrays) -> str:
    parts = []
    for name, array in feeds.items():
        flat = array.reshape(-1)
        shown = ", ".join(f"{value:.3g}" if flat.dtype.kind == "f" else str(value) for value in flat[:MOST_VALUES])
        parts.append(f"{name}: {shown}" + (f", … ({flat.size} values)" if flat.size > MOST_VALUES else ""))
    return "; ".join(parts)
