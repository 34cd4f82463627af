"""Heat maps and pictures: every count in its cell, names escaped, PNG files that a decoder reads."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest

from toolkit.report import data_uri, heat_map, pictures


def test_every_count_is_in_its_cell():
    counts = [[5, 1], [0, 3]]
    root = ElementTree.fromstring(heat_map(counts, ["<a>", "b" * 40], rows="is", columns="was taken for"))
    notes = [item.text for item in root.iter("title")]
    assert notes == [
        "<a> → <a>: 5 (83.3%)",
        f"<a> → {'b' * 40}: 1 (16.7%)",
        f"{'b' * 40} → <a>: 0 (0.0%)",
        f"{'b' * 40} → {'b' * 40}: 3 (100.0%)",
    ]
    texts = [item.text for item in root.iter("text")]
    assert texts[:2] == ["was taken for", "is"] and texts.count("<a>") == 2
    assert [text for text in texts if text.isdigit()] == ["5", "1", "3"]


@pytest.mark.parametrize("size", [1, 30, 60])
def test_any_number_of_classes_fits(size):
    counts = np.eye(size, dtype=int).tolist()
    root = ElementTree.fromstring(heat_map(counts, [str(at) for at in range(size)], rows="is", columns="was"))
    assert len(list(root.iter("rect"))) == 2 * size * size and float(root[0].get("width")) < 760


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_pictures_are_png_files(channels, mode):
    image_of = pytest.importorskip("PIL.Image", reason="the decoder of images is an extra")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    kind, _, content = data_uri(pixels).partition(",")
    found = image_of.open(io.BytesIO(base64.b64decode(content)))
    assert kind == "data:image/png;base64" and found.mode == mode
    np.testing.assert_array_equal(np.asarray(found).reshape(pixels.shape), pixels)


def test_words_below_pictures_are_escaped():
    root = ElementTree.fromstring(pictures([("data:,", "a < b")]).replace('alt="">', 'alt=""/>'))
    assert [item.text for item in root.iter("figcaption")] == ["a < b"]
