"""Batches: data gone through once an epoch, in an order that a random state decides and that can be resumed anywhere.

What the data is, is the affair of ``recognition`` and the sources. Nothing is converted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.runtime.feeds import arrayed
from toolkit.training.data.items import grouped
from toolkit.training.data.prefetch import announced, prefetched, read_ahead
from toolkit.training.data.recognition import elements, source_of
from toolkit.training.data.sampling import item_weights
from toolkit.training.data.source import Batch, Rows, Source, arrays_of


class Batches:
    """Data cut into batches, for ``Trainer.fit`` and ``evaluate`` or a loop of one's own.

    - ``data``: ``(x, labels)`` as arrays (x a dict where there are several inputs), a dict of arrays with a column of
      labels, a path (npz, csv, a folder of images), a ``Source``, a dataset of numbered items, an iterable of items or
      of batches (a PyTorch DataLoader), or a function that returns such an iterable for each pass
    - ``batch_size``: items a batch, the last one smaller; iterables of batches keep their own
    - ``drop_last``: leave out the last batch where it is smaller
    - ``weights``: one number per item, how likely it is to be drawn (with replacement, as many items a pass as there
      are), or ``"balanced"``: every class as likely as any other. Passes without random state ignore it
    - ``workers``: threads that prepare batches ahead, at most ``prefetch`` for each; 0 for none, by default what the
      source asks for. Their number changes nothing but the speed; iterables are read by one thread

    ``items`` is the number of items, ``None`` where only the iterable knows. Raises ``InputError`` for data that is
    none of these and for options that do not fit it.
    """

    def __init__(
        self,
        data: Any,
        batch_size: int = 64,
        *,
        drop_last: bool = False,
        weights: Any = None,
        workers: int | None = None,
        prefetch: int = 2,
    ) -> None:
        self.batch_size = _count("batch_size", batch_size, 1)
        self.data = source_of(data)
        self.drop_last = drop_last
        self.items = len(self.data) if isinstance(self.data, Source) else None
        self.workers = _count("workers", getattr(self.data, "workers", 0) if workers is None else workers, 0)
        self.prefetch = _count("prefetch", prefetch, 1)
        self._chances = None if weights is None else self._as_chances(weights)
        if drop_last and self.items is not None and self.items < self.batch_size:
            raise InputError(
                f"drop_last leaves nothing of {self.items} items in batches of {self.batch_size}. Lower batch_size."
            )
        self._position = 0
        self._began: dict[str, Any] | None = None
        self._resumed: dict[str, Any] | None = None

    @classmethod
    def of(cls, data: Any, batch_size: int) -> Batches:
        """``data`` itself where it is ``Batches``, which knows its size; else its batches of ``batch_size``."""
        return data if isinstance(data, cls) else cls(data, batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One pass in the order of the data, nothing drawn: what ``evaluate`` goes through."""
        return self()

    def __call__(
        self,
        random: np.random.Generator | None = None,
        *,
        shuffle: bool = True,
        ahead: Callable[[Batch], None] | None = None,
    ) -> Iterator[Batch]:
        """One pass. ``random`` decides the order (``shuffle``), what is drawn by ``weights``, and augmentations.

        ``ahead`` is told of every batch before the one in front of it is handed out. It hears nothing of an iterable
        that is read in turn (``workers=0``), which may have but one batch at a time.

        After ``restore`` the first pass is the rest of the one that was under way, whatever ``random`` is.
        """
        start, resumed = 0, self._resumed
        if resumed is not None:
            start, self._resumed = resumed["position"], None
            random, shuffle = _generator(resumed["random"]), resumed["shuffle"]
        state = None if random is None else random.bit_generator.state
        self._position, self._began = start, {"random": state, "shuffle": shuffle}
        batches = self._from_source(random, shuffle, start) if self.items is not None else self._from_stream(start)
        told = None if self.items is None and not self.workers else ahead
        return self._counted(batches if told is None else announced(batches, told))

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._position += 1
            yield batch
        self._position, self._began = 0, None

    def _from_source(self, random: np.random.Generator | None, shuffle: bool, start: int) -> Iterator[Batch]:
        source, items = self.data, self.items
        assert isinstance(source, Source) and items is not None
        order, seed = None, None
        if random is not None:
            if self._chances is not None:
                order = random.choice(items, items, p=self._chances)
            elif shuffle:
                order = random.permutation(items)
            seed = int(random.integers(2**63))
        stop = items - items % self.batch_size if self.drop_last else items
        first = range(start * self.batch_size, stop, self.batch_size)
        cuts = (slice(begin, min(begin + self.batch_size, items)) for begin in first)
        rows: Iterator[Rows] = cuts if order is None else (order[cut] for cut in cuts)
        if not self.workers:
            return (source.batch(numbers, seed) for numbers in rows)
        tasks = (partial(source.batch, numbers, seed) for numbers in rows)
        return prefetched(tasks, self.workers, self.workers * self.prefetch)

    def _from_stream(self, start: int) -> Iterator[Batch]:
        assert not isinstance(self.data, Source)
        pairs, are_items = elements(self.data)
        found = grouped(pairs, self.batch_size) if are_items else map(_as_arrays, pairs)
        if self.drop_last and are_items:
            found = (batch for batch in found if len(batch[1]) == self.batch_size)
        found = islice(found, start, None)
        yield from read_ahead(found, self.workers * self.prefetch) if self.workers else found

    # going on later -----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Where the pass under way stands, for JSON: ``restore`` goes on behind the last batch that was handed out."""
        began = self._began or {"random": None, "shuffle": True}
        return {"position": self._position, "items": self.items, "batch_size": self.batch_size, **began}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Let the next pass be the rest of the one that ``state`` was taken in; the batches before are not prepared.

        A state taken between passes changes nothing. Raises ``InputError`` for a state of other data. An iterable is
        read up to the position; what it draws itself is its own affair.
        """
        mine = {"items": self.items, "batch_size": self.batch_size}
        wrong = {name: state.get(name) for name, value in mine.items() if state.get(name, object) != value}
        if wrong or not {"position", "random", "shuffle"} <= set(state):
            raise InputError(
                f"The state belongs to other batches: it says {wrong or sorted(state)}, here are {mine}. "
                "Go on with the data and the batch size that it was saved with."
            )
        self._resumed = dict(state) if state["position"] else None

    def _as_chances(self, weights: Any) -> np.ndarray:
        labels = getattr(self.data, "labels", None)
        if isinstance(weights, str):
            if weights != "balanced" or labels is None:
                what = (
                    "labels that are known before"
                    if weights == "balanced"
                    else f"'balanced' or numbers, got {weights!r}"
                )
                raise InputError(f"weights: drawing items requires {what}. Pass one number per item.")
            return item_weights(labels)
        chances = arrayed(weights).astype(np.float64)
        if (
            self.items is None
            or chances.shape != (self.items,)
            or not (chances >= 0).all()
            or not 0 < chances.sum() < np.inf
        ):
            raise InputError(
                f"weights requires one number of at least 0 for each of the {self.items} items, not all 0, got "
                f"{chances.dtype} {chances.shape}. Iterables draw on their own."
            )
        return chances / chances.sum()


def _as_arrays(pair: Batch) -> Batch:
    return arrays_of(pair[0]), arrays_of(pair[1])


def _generator(state: Mapping[str, Any] | None) -> np.random.Generator | None:
    if state is None:
        return None
    kind = getattr(np.random, str(state.get("bit_generator")), None)
    if not isinstance(kind, type) or not issubclass(kind, np.random.BitGenerator):
        raise InputError(f"The state of the batches has no random state of numpy, got {state!r}. Start the epoch anew.")
    bits = kind()
    bits.state = state
    return np.random.Generator(bits)


def _count(name: str, value: Any, least: int) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} requires a whole number of at least {least}, got {value!r}.")
    return int(value)
