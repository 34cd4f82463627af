"""What ImageDecoder refuses, and images whose pixels are not RGB."""

from __future__ import annotations

import io
import sys

import numpy as np
import PIL.Image
import pytest

from toolkit.errors import BackendError
from toolkit.operators.standard.image_decoder import image_decoder


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match="the stream of 3 bytes cannot be decoded"):
        image_decoder(np.zeros(3, np.uint8))


def test_an_unknown_pixel_format_is_refused() -> None:
    with pytest.raises(ValueError, match="pixel_format must be one of RGB, BGR, Grayscale, got 'HSV'"):
        image_decoder(np.zeros(3, np.uint8), pixel_format="HSV")


def test_without_pillow_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(BackendError, match="pip install pillow"):
        image_decoder(np.zeros(3, np.uint8))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_every_image_becomes_three_channels(mode: str) -> None:
    stream = io.BytesIO()
    PIL.Image.new(mode, (4, 3)).save(stream, "PNG")
    pixels = image_decoder(np.frombuffer(stream.getvalue(), np.uint8))
    assert (pixels.dtype.name, pixels.shape) == ("uint8", (3, 4, 3))
