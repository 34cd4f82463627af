"""Cases of ``toolkit.operators.standard.image_decoder``: lossless formats, whose pixels are known."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

from tests.support.case import Case, constant

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)


def encoded(form: str) -> np.ndarray:
    """The bytes of the common image."""
    stream = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(stream, form)
    return np.frombuffer(stream.getvalue(), np.uint8)


def judge(_: np.ndarray, *, pixel_format: str = "RGB") -> np.ndarray:
    """The pixels before they were encoded; grey is the luma of ITU-R 601."""
    if pixel_format == "Grayscale":
        luma = PIXELS @ np.array([19595, 38470, 7471]) + 0x8000
        return (luma >> 16).astype(np.uint8)[:, :, None]
    return PIXELS[:, :, ::-1] if pixel_format == "BGR" else PIXELS


CASES = [
    Case(
        "ImageDecoder",
        [constant(encoded(form))],
        attributes,
        version=20,
        judge=judge,
        is_data_dependent=True,
        note=form,
    )
    for form, attributes in (("PNG", {}), ("BMP", {"pixel_format": "BGR"}), ("TIFF", {"pixel_format": "Grayscale"}))
]
