"""Instance normalisation on oneDNN, in every layout in which images lie."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, node_of, run
from toolkit.backends.onednn.memory import ACTIVATION_TAGS, layout_of, tagged

FLOAT32 = np.dtype(np.float32)
SHAPES = [(1, 16, 6, 5), (3, 16, 6, 5), (2, 3, 6, 5), (2, 16, 7), (2, 8, 3, 2, 4)]


def drawn(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Images away from zero, scale and shift."""
    random = np.random.default_rng(0)
    images = random.standard_normal(shape).astype(np.float32) * 2 + 5
    return [images, *(random.standard_normal(shape[1]).astype(np.float32) for _ in range(2))]


@pytest.mark.parametrize("place", range(4), ids=["in rows", "channels last", "blocks of 16", "blocks of 8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_image_by_itself(shape: tuple[int, ...], place: int) -> None:
    arrays, attributes = drawn(shape), {"epsilon": 1e-2}
    node = node_of("InstanceNormalization", arrays, attributes)
    lies = layout_of(tagged(FLOAT32, shape, ACTIVATION_TAGS[len(shape)][place]))
    found = run(node, arrays, lying={0: lies})
    np.testing.assert_allclose(found.y, node.record.reference(*arrays, **attributes), rtol=1e-4, atol=1e-4)
    assert found.layouts[0] == lies or found.kernel.outputs[0].is_plain


@pytest.mark.parametrize("place", range(4), ids=["in rows", "channels last", "blocks of 16", "blocks of 8"])
@pytest.mark.parametrize("shape", [(2, 16, 90, 70), (1, 8, 40000)], ids=str)
def test_sums_of_many_positions_stay_exact(shape: tuple[int, ...], place: int) -> None:
    arrays = drawn(shape)
    arrays[0] += 30
    node = node_of("InstanceNormalization", arrays)
    found = run(node, arrays, lying={0: layout_of(tagged(FLOAT32, shape, ACTIVATION_TAGS[len(shape)][place]))})
    exact = [item.astype(np.float64) for item in arrays]
    expected = node.record.reference(*exact)
    np.testing.assert_allclose(found.y, expected, rtol=0, atol=2e-5)


def test_what_is_left_to_others() -> None:
    x, scale, shift = drawn((2, 4, 3, 3))
    assert not BACKEND.supports(
        node_of("InstanceNormalization", [item.astype(np.float64) for item in (x, scale, shift)])
    )
    assert not BACKEND.supports(node_of("InstanceNormalization", [x[:0], scale, shift]))
    prime = np.zeros((1, 4, 10007), np.float32)
    assert not BACKEND.supports(node_of("InstanceNormalization", [prime, scale, shift]))
