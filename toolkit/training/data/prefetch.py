"""Prefetching: work done ahead in threads, its results handed over in order.

No order of threads shows outside: results come in the order of the tasks, an error where its result would have come.
However the reader ends (exhausted, by an exception, by Ctrl-C), no thread is left running.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def prefetched(tasks: Iterable[Callable[[], T]], workers: int, ahead: int) -> Generator[T]:
    """The results of ``tasks`` in their order, with at most ``ahead`` of them begun before they are asked for."""
    pending = iter(tasks)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    begun: deque[Future[T]] = deque()
    try:
        begun.extend(pool.submit(task) for task in islice(pending, ahead))
        while begun:
            result = begun.popleft().result()
            begun.extend(pool.submit(task) for task in islice(pending, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_ahead(elements: Iterable[T], ahead: int) -> Generator[T]:
    """The elements of an iterable, which one thread of its own reads up to ``ahead`` in advance."""
    iterator = iter(elements)

    def endless() -> Iterator[Callable[[], T]]:
        while True:
            yield lambda: next(iterator, _END)

    results = prefetched(endless(), 1, ahead)
    try:
        for element in results:
            if element is _END:
                return
            yield element
    finally:
        results.close()  # first the thread, then what it reads
        if hasattr(iterator, "close"):
            iterator.close()


def announced(elements: Iterable[T], tell: Callable[[T], None]) -> Generator[T]:
    """The elements of an iterable; each is told of before the one in front of it is handed out.

    An error of the iterable comes where its element would have come.
    """
    iterator, error = iter(elements), None
    element = next(iterator, _END)
    while element is not _END:
        try:
            following = next(iterator, _END)
        except Exception as found:  # whatever the source raises, once its turn has come
            following, error = _END, found
        if following is not _END:
            tell(following)
        yield element
        if error is not None:
            raise error
        element = following
