"""ImageDecoder: the pixels (height, width, channels) of an encoded image, by pillow."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np

from toolkit.errors import BackendError
from toolkit.operators.record import data_dependent, not_differentiable, operator

PIXEL_FORMATS = {"RGB": "RGB", "BGR": "RGB", "Grayscale": "L"}  # what pillow calls the form to convert to


def _pillow() -> Any:
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise BackendError("ImageDecoder needs pillow, which is not installed: run `pip install pillow`.") from error


def image_decoder(encoded: np.ndarray, *, pixel_format: str = "RGB") -> np.ndarray:
    """uint8 pixels of BMP, JPEG, JPEG 2000, PNG, PNM, TIFF or WebP, and of whatever else pillow reads."""
    if pixel_format not in PIXEL_FORMATS:
        raise ValueError(f"pixel_format must be one of {', '.join(PIXEL_FORMATS)}, got {pixel_format!r}")
    library = _pillow()
    try:
        with library.open(io.BytesIO(encoded.tobytes())) as image:
            pixels = np.asarray(image.convert(PIXEL_FORMATS[pixel_format]))
    except (OSError, SyntaxError, library.DecompressionBombError) as error:
        raise ValueError(f"the stream of {encoded.size} bytes cannot be decoded as an image: {error}") from error
    if pixel_format == "Grayscale":
        return pixels[:, :, None]
    return np.ascontiguousarray(pixels[:, :, ::-1]) if pixel_format == "BGR" else pixels


operator(
    "ImageDecoder",
    since=20,
    reference=image_decoder,
    gradient=not_differentiable("its input is bytes"),
    infer=data_dependent("the size of the image"),
)
