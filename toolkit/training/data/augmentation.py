"""Augmentation: random changes to images that leave their labels true. Plain numpy, on arrays of any origin.

An image here is (height, width, channels) of float32 in [0, 255].
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from toolkit.errors import InputError

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, for red, green, blue
ERASED = 0.02, 0.33  # the smallest and the largest part of an image that is erased (Zhong et al., 2020)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to an image in a pass that trains; evaluation sees it as it is.

    - ``flip``, ``vertical_flip``: probabilities of mirroring it
    - ``rotation``: up to so many degrees, either way; ``shift``: up to this part of its size, along both axes
    - ``brightness``, ``contrast``, ``saturation``: factors are drawn from [1 - value, 1 + value]
    - ``erase``: probability that a rectangle gets the mean colour of the image

    What rotation and shift bring in from outside repeats the border. Raises ``InputError`` for values out of range.
    """

    flip: float = 0.0
    vertical_flip: float = 0.0
    rotation: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            most, value = (180.0 if item.name == "rotation" else 1.0), getattr(self, item.name)
            if not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise InputError(f"Augmentation: {item.name} requires a number in [0, {most:g}], got {value!r}.")

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """One image (height, width, channels), changed as ``random`` decides."""
        if random.random() < self.flip:
            image = image[:, ::-1]
        if random.random() < self.vertical_flip:
            image = image[::-1]
        if self.rotation or self.shift:
            angle = np.deg2rad(random.uniform(-self.rotation, self.rotation))
            down, right = random.uniform(-self.shift, self.shift, 2) * image.shape[:2]
            image = moved(image, float(angle), float(down), float(right))
        image = self._coloured(image, random)
        return _erased(image, random) if random.random() < self.erase else image

    def _coloured(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if self.brightness:
            image = image * np.float32(random.uniform(1 - self.brightness, 1 + self.brightness))
        if self.contrast:
            mean = image.mean(dtype=np.float32)
            image = mean + (image - mean) * np.float32(random.uniform(1 - self.contrast, 1 + self.contrast))
        if self.saturation and image.shape[2] == 3:
            grey = (image @ LUMINANCE)[..., None]
            image = grey + (image - grey) * np.float32(random.uniform(1 - self.saturation, 1 + self.saturation))
        return image.clip(0, 255) if self.brightness or self.contrast or self.saturation else image


def moved(image: np.ndarray, angle: float, down: float, right: float) -> np.ndarray:
    """The image turned by ``angle`` (radians, counter-clockwise) about its centre, then shifted by pixels.

    Bilinear; what lies outside repeats the border.
    """
    height, width = image.shape[:2]
    rows, columns = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
    middle = (height - 1) / 2, (width - 1) / 2
    y, x = rows - middle[0] - down, columns - middle[1] - right
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    from_y = (cosine * y + sine * x + middle[0]).clip(0, height - 1)
    from_x = (cosine * x - sine * y + middle[1]).clip(0, width - 1)
    top, left = from_y.astype(np.int64), from_x.astype(np.int64)
    bottom, next_right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    part_y, part_x = (from_y % 1)[..., None], (from_x % 1)[..., None]
    upper = image[top, left] * (1 - part_x) + image[top, next_right] * part_x
    lower = image[bottom, left] * (1 - part_x) + image[bottom, next_right] * part_x
    return upper * (1 - part_y) + lower * part_y


def _erased(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    area, ratio = random.uniform(*ERASED) * height * width, np.exp(random.uniform(np.log(0.3), np.log(1 / 0.3)))
    tall, wide = min(height, max(1, round(np.sqrt(area * ratio)))), min(width, max(1, round(np.sqrt(area / ratio))))
    top, left = random.integers(height - tall + 1), random.integers(width - wide + 1)
    image = image.copy()
    image[top : top + tall, left : left + wide] = image.mean((0, 1))
    return image


def generator_of(seed: int, number: int) -> np.random.Generator:
    """The random source of one item in one pass: the same whichever thread asks, and when."""
    return np.random.default_rng([seed, number])
