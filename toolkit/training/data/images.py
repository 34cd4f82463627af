"""Folders of images, one folder per class. Files are untrusted: a damaged one is an error that names it.

Pillow decodes them; it is imported when a folder is opened, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.runtime.context import available_cores
from toolkit.training.data.augmentation import Augmentation, generator_of
from toolkit.training.data.source import Batch, Rows, Source

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
MARGIN = 0.875  # the part of the shorter side that a crop keeps
CHANNELS = {"RGB": "RGB", "BGR": "RGB", "L": "L"}  # what Pillow is asked for


class ImageFolder(Source):
    """Images as float32 (batch, channels, height, width), their labels the indices of the folders they lie in.

    - ``size``: (height, width), or one number for squares
    - ``fit``: ``"stretch"`` makes the whole image fit; ``"crop"`` keeps its proportions: the shorter side is resized
      to ``size / 0.875`` and a part of ``size`` cut out, at random in passes that train, else the centre
    - ``channels``: ``"RGB"``, ``"BGR"`` or ``"L"`` for grayscale; ``layout``: ``"NCHW"`` or ``"NHWC"``
    - ``scale`` multiplies pixels of 0 to 255, then ``mean`` is subtracted and ``std`` divides (one number, or one a
      channel)
    - ``augmentation``: what happens in passes that train, before scaling
    - ``classes``: the folders to read, in the order of their indices; by default all, sorted by name
    - ``workers``: threads that decode ahead

    Raises ``InputError`` without Pillow, for missing folders, folders without images, and damaged images.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int | tuple[int, int] = 224,
        *,
        fit: str = "crop",
        channels: str = "RGB",
        layout: str = "NCHW",
        scale: float = 1 / 255,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        augmentation: Augmentation | None = None,
        classes: Sequence[str] | None = None,
        workers: int | None = None,
    ) -> None:
        self._pillow = _pillow()
        for name, value, offered in (
            ("fit", fit, ("crop", "stretch")),
            ("channels", channels, tuple(CHANNELS)),
            ("layout", layout, ("NCHW", "NHWC")),
        ):
            if value not in offered:
                raise InputError(f"ImageFolder: {name} must be one of {offered}, got {value!r}.")
        self.root = Path(root)
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.fit, self.channels, self.layout, self.augmentation = fit, channels, layout, augmentation
        self.scale, self.mean, self.std = np.float32(scale), _per_channel(mean, channels), _per_channel(std, channels)
        self.workers = available_cores() if workers is None else workers
        self.classes: list[str] = self._classes(classes)
        found = [(path, index) for index, name in enumerate(self.classes) for path in self._images(name)]
        self.paths = [path for path, _ in found]
        self.labels: np.ndarray = np.array([index for _, index in found], np.int64)

    def _classes(self, wanted: Sequence[str] | None) -> list[str]:
        if not self.root.is_dir():
            raise InputError(f"There is no folder {os.fspath(self.root)!r}: check the path.")
        there = sorted(item.name for item in self.root.iterdir() if item.is_dir() and not item.name.startswith("."))
        missing = [name for name in wanted or () if name not in there]
        if missing or not there:
            raise InputError(
                f"{os.fspath(self.root)!r} needs one folder per class, {missing or 'and has none'} are missing; it "
                f"holds {there[:10]}. Put the images of each class into a folder of its name."
            )
        return there if wanted is None else list(wanted)

    def _images(self, name: str) -> list[Path]:
        found = sorted(path for path in (self.root / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(
                f"{os.fspath(self.root / name)!r} holds no images ({', '.join(sorted(SUFFIXES))}). Remove the folder, "
                "or list the others with classes=."
            )
        return found

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, rows: Rows, seed: int | None) -> Batch:
        numbers = self.numbers(rows).tolist()
        images = np.stack([self.image(number, seed) for number in numbers])
        return images, self.labels[numbers]

    def image(self, number: int, seed: int | None = None) -> np.ndarray:
        """One image as it is fed, without a batch axis."""
        random = None if seed is None else generator_of(seed, number)
        pixels = self._pixels(self.paths[number], random)
        if random is not None and self.augmentation is not None:
            pixels = self.augmentation(pixels, random)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        pixels = (pixels * self.scale - self.mean) / self.std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self.layout == "NCHW" else pixels)

    def _pixels(self, path: Path, random: np.random.Generator | None) -> np.ndarray:
        """The image in its size as float32 (height, width, channels) in [0, 255]."""
        try:
            with self._pillow.open(path) as file:
                upright = import_module("PIL.ImageOps").exif_transpose(file)
                image = self._fitted(upright.convert(CHANNELS[self.channels]), random)
                pixels = np.asarray(image, np.float32)
        except (OSError, ValueError, SyntaxError, self._pillow.DecompressionBombError) as error:
            raise InputError(
                f"{os.fspath(path)!r} is no image that can be read ({error}). Remove or repair it."
            ) from error
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _fitted(self, image: Any, random: np.random.Generator | None) -> Any:
        height, width = self.size
        if self.fit == "stretch":
            return image.resize((width, height), self._pillow.Resampling.BILINEAR)
        ratio = max(height / image.height, width / image.width) / MARGIN
        inner = min(image.width, width / ratio), min(image.height, height / ratio)
        room = image.width - inner[0], image.height - inner[1]
        left, top = (
            part * share for part, share in zip(room, (0.5, 0.5) if random is None else random.random(2), strict=True)
        )
        box = left, top, left + inner[0], top + inner[1]
        return image.resize((width, height), self._pillow.Resampling.BILINEAR, box=box)


def _per_channel(given: float | Sequence[float], channels: str) -> np.ndarray:
    values, count = np.asarray(given, np.float32), 1 if channels == "L" else 3
    if values.shape not in ((), (1,), (count,)):
        raise InputError(
            f"ImageFolder: mean and std need one number, or one for each of {count} channels, got {given}."
        )
    return values


def _pillow() -> Any:
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise InputError(
            "Images are decoded by Pillow, which is not installed: pip install 'onnx-toolkit[images]', "
            "or pip install pillow."
        ) from error
