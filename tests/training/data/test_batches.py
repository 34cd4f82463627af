"""Batches from arrays and iterables: order by seed, resuming, drawing by weight, and errors that say what to do."""

import json

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier, clusters
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
        (X, r"must be \(x, labels\), a path, a dataset or an iterable of .* got ndarray"),
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


@pytest.mark.parametrize("options", [{}, {"workers": 3}, {"drop_last": True}, {"weights": np.arange(7)}])
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_pass_goes_on_exactly_where_its_state_was_taken(options, stop):
    whole = labels_of(Batches((X, Y), 2, **options), np.random.default_rng(5))
    interrupted = Batches((X, Y), 2, **options)
    under_way = interrupted(np.random.default_rng(5))
    before = [next(under_way)[1].tolist() for _ in range(stop)]
    resumed = Batches((X, Y), 2, **options)
    resumed.restore(json.loads(json.dumps(interrupted.state())))
    rest = labels_of(resumed, np.random.default_rng(5 if stop == 0 else 77))
    assert before + rest == whole
    assert labels_of(resumed, np.random.default_rng(5)) == whole  # the pass after that is a whole one


def test_a_state_between_passes_starts_a_whole_pass():
    batches = Batches((X, Y), 3)
    list(batches(np.random.default_rng(1)))
    fresh = Batches((X, Y), 3)
    fresh.restore(batches.state())
    assert len(labels_of(fresh, np.random.default_rng(2))) == 3 and batches.state()["position"] == 0


def test_a_state_behind_the_last_batch_leaves_nothing():
    batches = Batches((X, Y), 3)
    under_way = batches(np.random.default_rng(1))
    for _ in range(3):
        next(under_way)
    fresh = Batches((X, Y), 3)
    fresh.restore(batches.state())
    assert labels_of(fresh) == []


def test_an_iterable_is_read_up_to_the_position():
    parts = [(X[:2], Y[:2]), (X[2:4], Y[2:4]), (X[4:], Y[4:])]
    batches, fresh = Batches(parts), Batches(parts)
    next(batches())
    fresh.restore(batches.state())
    assert labels_of(fresh) == [[2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"items": 9}, "belongs to other batches: it says {'items': 9}"),
        ({"batch_size": 2}, "it says {'batch_size': 2}"),
        ({"random": {"bit_generator": "seed"}}, "no random state of numpy"),
    ],
)
def test_states_of_other_data_are_refused(state, message):
    batches = Batches((X, Y), 3)
    whole = {"position": 1, "items": 7, "batch_size": 3, "random": None, "shuffle": True}
    with pytest.raises(InputError, match=message):
        batches.restore({**whole, **state})
        batches()


def test_without_shuffling_the_order_is_that_of_the_data():
    batches = Batches((X, Y), 3)
    assert [labels.tolist() for _, labels in batches(np.random.default_rng(1), shuffle=False)] == labels_of(batches)


def test_drop_last_leaves_out_the_smaller_batch():
    assert labels_of(Batches((X, Y), 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert labels_of(Batches((X, Y), 7, drop_last=True)) == [list(range(7))]
    assert labels_of(Batches(zip(X, Y, strict=True), 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]


def test_balanced_drawing_makes_classes_equally_likely():
    labels = np.array([0] * 950 + [1] * 50)
    drawn = np.concatenate(
        [part for _, part in Batches((labels, labels), 100, weights="balanced")(np.random.default_rng(0))]
    )
    assert len(drawn) == 1000 and 0.45 < drawn.mean() < 0.55


def test_what_weighs_nothing_is_never_drawn():
    weights = np.array([0, 0, 1, 3, 0, 0, 0])
    drawn = labels_of(Batches((X, Y), 3, weights=weights), np.random.default_rng(0))
    assert {label for batch in drawn for label in batch} <= {2, 3}


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X, Y), {"weights": np.ones(3)}, r"one number of at least 0 for each of the 7 items, .* got float64 \(3,\)"),
        ((X, Y), {"weights": -np.ones(7)}, "at least 0"),
        ((X, Y), {"weights": "rare"}, "'balanced' or numbers, got 'rare'"),
        ([(X, Y)], {"weights": "balanced"}, "labels that are known before"),
        ((X, Y), {"drop_last": True, "batch_size": 8}, "leaves nothing of 7 items in batches of 8"),
        ((X, Y), {"workers": -1}, "workers requires a whole number of at least 0"),
        ((X, Y), {"prefetch": 0}, "prefetch requires a whole number of at least 1"),
    ],
)
def test_options_that_do_not_fit_are_named(data, options, message):
    with pytest.raises(InputError, match=message):
        Batches(data, **options)


def test_batches_are_taken_as_they_are():
    batches = Batches((X, Y), 3)
    assert Batches.of(batches, 64) is batches and Batches.of((X, Y), 5).batch_size == 5


def test_a_trainer_takes_batches_and_goes_on_within_an_epoch():
    x, labels = clusters()
    data = Batches((x, labels), 16, workers=2)
    trainer = tk.Trainer(classifier(), loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(1e-2))
    assert trainer.fit(data, 15, validation=data).epochs[-1].steps == 10
    assert trainer.evaluate(data)["accuracy"] > 0.95


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
