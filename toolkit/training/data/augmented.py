"""Augmentation of images that are in arrays, or come from any other source."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.training.data.augmentation import Augmentation, generator_of
from toolkit.training.data.recognition import source_of
from toolkit.training.data.source import Batch, Rows, Source


class Augmented(Source):
    """Images of another source, (batch, channels, height, width) or with ``layout="NHWC"``, augmented in training.

    ``scale`` is the value of full brightness in the data: 1.0, or 255. The result is float32 of the same scale. Raises
    ``InputError`` for data without numbered items and for batches that are no images.
    """

    def __init__(self, data: Any, augmentation: Augmentation, *, layout: str = "NCHW", scale: float = 1.0) -> None:
        source = source_of(data)
        if not isinstance(source, Source) or layout not in ("NCHW", "NHWC"):
            raise InputError(
                "Augmented requires numbered items and layout='NCHW' or 'NHWC', got "
                f"{type(data).__name__} and {layout!r}. Read an iterable into arrays first."
            )
        self.source, self.augmentation, self.layout, self.scale = source, augmentation, layout, scale
        self.labels, self.classes, self.workers = source.labels, source.classes, source.workers

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Rows, seed: int | None) -> Batch:
        x, labels = self.source.batch(rows, seed)
        if not isinstance(x, np.ndarray) or x.ndim != 4:
            found = x.shape if isinstance(x, np.ndarray) else type(x).__name__
            raise InputError(f"Augmented requires one array of images (batch, 3 more axes), got {found}. Reshape them.")
        if seed is None:
            return x.astype(np.float32, copy=False), labels
        images = (x.transpose(0, 2, 3, 1) if self.layout == "NCHW" else x).astype(np.float32) * (255 / self.scale)
        numbers = self.numbers(rows).tolist()
        changed = np.stack(
            [
                self.augmentation(image, generator_of(seed, number))
                for image, number in zip(images, numbers, strict=True)
            ]
        )
        changed *= np.float32(self.scale / 255)
        return np.ascontiguousarray(changed.transpose(0, 3, 1, 2) if self.layout == "NCHW" else changed), labels
