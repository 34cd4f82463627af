"""Prefetching: results in order, errors where they belong, and no thread left behind."""

import signal
import threading
import time

import numpy as np
import pytest

from toolkit.training.data import Batches, Source
from toolkit.training.data.prefetch import announced, prefetched, read_ahead


def threads():
    return [item for item in threading.enumerate() if item.name.startswith("prefetch")]


def test_results_come_in_the_order_of_the_tasks():
    def slow(number):
        time.sleep(0.002 * (number % 3))
        return number

    assert list(prefetched((lambda n=n: slow(n) for n in range(20)), 4, 8)) == list(range(20))
    assert not threads()


def test_only_so_many_tasks_are_begun_ahead():
    begun = []
    results = prefetched((lambda n=n: begun.append(n) for n in range(50)), 2, 4)
    next(results)
    time.sleep(0.02)
    assert len(begun) <= 5
    results.close()
    assert not threads()


def test_an_error_comes_where_its_result_would_have():
    results = prefetched((lambda n=n: 6 // (3 - n) for n in range(9)), 3, 6)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not threads()


def test_a_stream_is_read_ahead_and_closed():
    closed = []

    def stream():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    elements = read_ahead(stream(), 3)
    assert [next(elements), next(elements)] == [0, 1]
    elements.close()
    assert closed and not threads()
    assert list(read_ahead(stream(), 3)) == list(range(100))


class Broken(Source):
    """Ten items; number 7 cannot be read. Reading takes a moment."""

    def __len__(self):
        return 10

    def batch(self, rows, seed):
        time.sleep(0.002)
        if 7 in (numbers := self.numbers(rows)):
            raise OSError("item 7 is damaged")
        return numbers, numbers


def test_what_fails_in_a_worker_surfaces_in_the_caller():
    seen = []
    with pytest.raises(OSError, match="item 7 is damaged"):
        for _, labels in Batches(Broken(), 2, workers=3):
            seen += labels.tolist()
    assert seen == [0, 1, 2, 3, 4, 5] and not threads()


def test_ctrl_c_stops_the_threads():
    def endless():
        while True:
            time.sleep(0.005)
            yield np.zeros((2, 1)), np.zeros(2, int)

    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            for count, _ in enumerate(Batches(endless, workers=1)):
                assert count < 30
                if count == 3:
                    signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, former)
    assert not threads()


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_the_number_of_threads_changes_nothing(workers):
    data = np.arange(100.0), np.arange(100)
    found = [labels.tolist() for _, labels in Batches(data, 7, workers=workers)(np.random.default_rng(3))]
    assert found == [labels.tolist() for _, labels in Batches(data, 7)(np.random.default_rng(3))]


def test_elements_are_told_of_before_the_one_in_front_of_them():
    told: list[object] = []
    found = [(element, list(told)) for element in announced("abc", told.append)]
    assert found == [("a", ["b"]), ("b", ["b", "c"]), ("c", ["b", "c"])]


def test_an_error_comes_where_its_element_would_have_come():
    def failing():
        yield from "ab"
        raise OSError("the disk is gone")

    found: list[str] = []
    told: list[object] = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(iter(announced(failing(), told.append)))
    assert told == ["b"]
    results = announced(failing(), told.append)
    assert [next(results), next(results)] == ["a", "b"]


def test_batches_tell_of_the_next_one_and_count_those_handed_out():
    told: list[object] = []
    batches = Batches((np.arange(12.0).reshape(6, 2), np.arange(6)), 2)
    positions = []
    for _, labels in batches(ahead=lambda batch: told.append(batch[1].tolist())):
        positions.append((labels.tolist(), batches.state()["position"], len(told)))
    assert told == [[2, 3], [4, 5]]
    assert positions == [([0, 1], 1, 1), ([2, 3], 2, 2), ([4, 5], 3, 2)]


@pytest.mark.parametrize(("workers", "count"), [(0, 0), (1, 2)], ids=["read in turn", "read by a thread"])
def test_an_iterable_that_is_read_in_turn_is_not_looked_ahead_in(workers, count):
    told: list[object] = []
    pairs = [(np.ones((2, 3)), np.zeros(2))] * 3
    for _ in Batches(lambda: iter(pairs), 2, workers=workers)(ahead=told.append):
        pass
    assert len(told) == count
