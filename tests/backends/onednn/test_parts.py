"""Parts of images on oneDNN: channels that lie last stay there, and the numbers are those of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, node_of, run
from toolkit.backends.onednn.memory import ACTIVATION_TAGS, layout_of, tagged
from toolkit.backends.protocol import Layout

FLOAT32 = np.dtype(np.float32)
BOUNDS = [np.array(item) for item in ([0, 1], [3, 9], [1, 2], [1, 2])]  # starts, ends, axes, steps

# operator, shapes of the images, what else it reads, attributes, outputs
ROWS: dict[str, tuple[str, list[tuple[int, ...]], list[np.ndarray], dict[str, Any], int]] = {
    "joined channels": ("Concat", [(2, 8, 3, 5), (2, 16, 3, 5)], [], {"axis": 1}, 1),
    "joined rows": ("Concat", [(2, 8, 3, 5), (2, 8, 4, 5)], [], {"axis": -2}, 1),
    "joined sequences": ("Concat", [(2, 8, 5), (2, 3, 5)], [], {"axis": 1}, 1),
    "split channels": ("Split", [(1, 8, 3, 4, 2)], [np.array([2, 6])], {"axis": 1}, 2),
    "one channel": ("Split", [(2, 3, 4, 5)], [np.array([1, 2])], {"axis": 1}, 2),
    "cut": ("Slice", [(2, 8, 9, 4)], BOUNDS, {}, 1),
    "surrounded": ("Pad", [(2, 8, 3, 4)], [np.array([0, 1, 2, 0, 0, 0, -1, 1])], {}, 1),
}


def channels_last(*shape: int) -> Layout:
    return layout_of(tagged(FLOAT32, shape, ACTIVATION_TAGS[len(shape)][1]))


def made(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("turned", [True, False], ids=["channels last", "in rows"])
@pytest.mark.parametrize("name", ROWS)
def test_parts_stay_where_they_lie(name: str, turned: bool) -> None:
    operator, shapes, others, attributes, outputs = ROWS[name]
    arrays = [*(made(*shape) for shape in shapes), *others]
    known = range(len(shapes), len(arrays))
    node = node_of(operator, arrays, attributes, outputs=outputs, constants=known)
    lying = {index: channels_last(*shape) for index, shape in enumerate(shapes)} if turned else {}
    found = run(node, arrays, lying=lying)
    assert found.kernel.name == ("numpy, channels last" if turned else "numpy")
    assert found.layouts == [
        channels_last(*item.shape) if turned else run(node, arrays).layouts[place]
        for place, item in enumerate(node.outputs)
        if item is not None
    ]
    expected = node.record.reference(*arrays, **attributes)
    for got, wanted in zip(found.arrays, expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("turned", "name"), [((0,), "numpy"), ((0, 2), "numpy, channels last")])
def test_the_larger_part_decides(turned: tuple[int, ...], name: str) -> None:
    arrays = [made(1, 8, 3, 4)] * 3
    node = node_of("Concat", arrays, {"axis": 1})
    found = run(node, arrays, lying={index: channels_last(1, 8, 3, 4) for index in turned})
    assert found.kernel.name == name
    np.testing.assert_array_equal(found.y, np.concatenate(arrays, axis=1))


def test_what_is_left_to_others() -> None:
    images = [made(1, 8, 3, 4)] * 2
    assert not BACKEND.supports(node_of("Concat", [item[0, 0] for item in images], {"axis": 1}))
    assert not BACKEND.supports(node_of("Concat", [item.astype(np.int64) for item in images], {"axis": 1}))
    mirrored = node_of("Pad", [images[0], np.array([0, 0, 1, 1] * 2)], {"mode": "reflect"}, constants=(1,))
    assert not BACKEND.supports(mirrored)
    whole = [images[0], np.array([0]), np.array([8]), np.array([1])]
    assert not BACKEND.supports(node_of("Slice", whole, constants=(1, 2, 3)))  # a view
