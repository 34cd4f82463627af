"""Weights against unbalanced classes, judged by scikit-learn, and splits that keep proportions."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from toolkit.errors import InputError
from toolkit.training.data import ArraySource, Batches, class_weights, item_weights, split

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 10)


def test_class_weights_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    assert class_weights(LABELS) == pytest.approx(expected)
    assert class_weights(LABELS, classes=5).tolist()[3:] == [0, 0]


def test_item_weights_give_every_class_the_same_sum():
    weights = item_weights(LABELS)
    assert [weights[label == LABELS].sum() for label in range(3)] == pytest.approx([1 / 3] * 3)


def test_a_split_keeps_the_classes_in_proportion():
    train, held_out = split((np.arange(100), LABELS), 0.2)
    assert np.bincount(held_out.labels).tolist() == [12, 6, 2]
    rows = [x for part in (train, held_out) for x, _ in Batches(part, 1000)]
    assert sorted(np.concatenate(rows)) == list(range(100))
    assert len(train) == 80


def test_a_split_follows_its_seed():
    first, again, other = (split((LABELS, LABELS), seed=seed)[1].rows.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_real_targets_are_split_at_random():
    train, held_out = split((LABELS, LABELS * 0.5), 0.3)
    assert (len(train), len(held_out)) == (70, 30)
    assert not np.array_equal(held_out.rows, np.arange(70, 100))


def test_a_part_of_a_part_keeps_its_rows():
    part = split(split((np.arange(100), LABELS), 0.5)[0], 0.5)[1]
    x, labels = part.batch(slice(0, len(part)), None)
    assert np.array_equal(labels, LABELS[x])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: class_weights(np.array([0.5])), "require class indices from 0 on, got float64"),
        (lambda: class_weights(np.array([-1, 0])), "require class indices"),
        (lambda: class_weights(LABELS, classes=2), r"must lie in \[0, 1\], got 2"),
        (lambda: split((LABELS, LABELS), 1.0), "leaves a part without any"),
        (lambda: split((LABELS[:2], LABELS[:2]), 0.1), "leaves a part without any"),
        (lambda: split(iter([(LABELS, LABELS)])), "split requires arrays, files or a dataset"),
        (lambda: split([(1, 2)] * 9, stratify=True), "labels that are known without reading"),
        (lambda: split([(1, 2)] * 9, stratify=[0, 1]), "a class for each of 9 items, got 2"),
    ],
)
def test_what_cannot_be_weighed_or_split_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_the_classes_to_keep_in_proportion_may_be_given():
    kinds = np.array([0] * 9 + [1] * 3)
    _, held_out = split([(index, index) for index in range(12)], 1 / 3, stratify=kinds)
    assert np.bincount(kinds[held_out.rows]).tolist() == [3, 1]


def test_names_of_classes_survive_a_split():
    source = ArraySource(np.arange(4), np.array([0, 0, 1, 1]), classes=["cat", "dog"])
    assert all(part.classes == ["cat", "dog"] for part in split(source, 0.5))
