"""Data: batches from arrays and iterables, order by seed, and errors that say what to do."""

import numpy as np
import pytest

from tests.training.small import classifier
from toolkit.errors import InputError
from toolkit.training.data import Batches, feeds_of

X, Y = np.arange(14).reshape(7, 2), np.arange(7)


def labels_of(batches, random=None):
    return [labels.tolist() for _, labels in batches(random)]


def test_the_last_batch_is_smaller_and_nothing_is_dropped():
    assert labels_of(Batches((X, Y), 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_rows_stay_with_their_labels_when_shuffled():
    batches = Batches(({"a": X, "b": -X}, Y), 3)
    seen = []
    for x, labels in batches(np.random.default_rng(1)):
        assert np.array_equal(x["a"], X[labels]) and np.array_equal(x["b"], -X[labels])
        seen += labels.tolist()
    assert sorted(seen) == list(range(7)) and seen != list(range(7))


def test_the_order_follows_the_seed():
    batches = Batches((X, Y), 3)
    first, again = labels_of(batches, np.random.default_rng([1, 2])), labels_of(batches, np.random.default_rng([1, 2]))
    assert first == again != labels_of(batches, np.random.default_rng([1, 3]))


def test_iterables_are_passed_on_as_they_are():
    batches = Batches([(X[:4], Y[:4]), (X[4:], Y[4:])], 100)
    assert batches.items is None
    assert labels_of(batches) == labels_of(batches) == [[0, 1, 2, 3], [4, 5, 6]]


def test_nested_lists_are_arrays():
    assert labels_of(Batches(([[1, 2], [3, 4]], [0, 1]), 1)) == [[0], [1]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y[:5]), r"same number of items .*'x' \(7, 2\), 'labels' \(5,\)"),
        (({"a": X, "b": X[:3]}, Y), r"'b' \(3, 2\)"),
        ((X, np.float32(3)), r"same number of items"),
        ((X[:0], Y[:0]), r"holds no items"),
        (X, r"must be \(x, labels\) or an iterable of .* got ndarray"),
        ({"x": X}, r"got dict"),
        (3, r"got int"),
    ],
)
def test_data_that_does_not_fit_is_named(data, message):
    with pytest.raises(InputError, match=message):
        Batches(data, 2)


def test_an_exhausted_iterator_is_named():
    batches = Batches(iter([(X, Y)]), 2)
    list(batches())
    with pytest.raises(InputError, match="An iterator serves one epoch only"):
        list(batches())


def test_batches_that_are_no_pairs_are_named():
    with pytest.raises(InputError, match=r"yields ndarray where \(x, labels\)"):
        list(Batches([X, X, X], 2)())


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_the_batch_size_is_a_count(size):
    with pytest.raises(InputError, match="batch_size requires a whole number"):
        Batches((X, Y), size)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32])
def test_inputs_are_converted_where_nothing_is_lost(dtype):
    feeds = feeds_of(classifier(), np.ones((2, 6), dtype))
    assert feeds["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((2, 6)), r"Input 'x' is float32 \(batch, 6\), got float64.*astype\('float32'\)"),
        (np.ones((2, 6), np.int64), r"got int64"),
        (np.ones((2, 5), np.float32), r"got an array of shape \(2, 5\)"),
        (np.ones(6, np.float32), r"got an array of shape \(6,\)"),
        ({"image": np.ones((2, 6), np.float32)}, r"missing \['x'\] and unknown \['image'\]"),
        (np.ones((0, 6), np.float32), r"The batch holds no items"),
    ],
)
def test_inputs_that_do_not_fit_are_named(x, message):
    with pytest.raises(InputError, match=message):
        feeds_of(classifier(), x)
