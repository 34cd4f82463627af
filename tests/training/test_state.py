"""What objects remember: plain attributes come back, settings stay, arrays are copies."""

import json
from collections import deque

import numpy as np

from toolkit.training.state import recall, remembered


class Inner:
    def __init__(self):
        self.rows = deque([np.ones(2)], maxlen=3)


class Thing:
    def __init__(self, shift=0.0):
        self.count, self.name, self.none = 3 + shift, "a", None
        self.array = np.arange(4.0) + shift
        self.pairs = {"loss": (1.0 + shift, 2), "nested": {"deep": [1, [2]]}}
        self.small = np.float32(0.1 + shift)
        self.inner = Inner()
        self.function = lambda: shift
        self.mixed = [object()]


def test_plain_attributes_come_back():
    thing, arrays = Thing(5.0), dict[str, np.ndarray]()
    thing.inner.rows.append(np.zeros((0, 3)))
    plain = json.loads(json.dumps(remembered(thing, arrays, "thing")))
    assert set(plain) == {"count", "name", "none", "array", "pairs", "small", "inner"}
    thing.array += 1  # what was taken does not follow
    other = Thing()
    function = other.function
    recall(other, plain, arrays)
    assert (other.count, other.pairs, other.none) == (8.0, {"loss": (6.0, 2), "nested": {"deep": [1, [2]]}}, None)
    assert other.array.tolist() == [5, 6, 7, 8] and other.small == np.float32(5.1) and other.function is function
    assert other.inner.rows.maxlen == 3 and [row.shape for row in other.inner.rows] == [(2,), (0, 3)]
