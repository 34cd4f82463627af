"""Pictures in a page: arrays as PNG files that lie in the page itself, with words below them."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np

from toolkit.report.page import Markup, text

KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour types by number of channels: grey, with alpha, RGB, with alpha


def pictures(items: Sequence[tuple[str, object]]) -> Markup:
    """A row of pictures: pairs of an address (see ``data_uri``) and what to say below."""
    figures = (
        f'<figure><img src="{escape(source)}" alt=""><figcaption>{text(words)}</figcaption></figure>'
        for source, words in items
    )
    return Markup(f'<div class="pictures">{"".join(figures)}</div>')


def data_uri(image: np.ndarray) -> str:
    """An image (height, width, channels of 1 to 4) of uint8 as an address that holds all of it, as PNG (RFC 2083)."""
    height, width, channels = image.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each line begins with 0: not filtered
    lines[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, KINDS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return "data:image/png;base64," + base64.b64encode(file).decode()
