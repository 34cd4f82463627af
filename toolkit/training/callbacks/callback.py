"""What a callback is: an object that is told of the events of a fit, sees all of it, and may ask it to stop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from toolkit.errors import TrainingError

if TYPE_CHECKING:
    from toolkit.training.run import Run

EVENTS = ("fit_begins", "epoch_begins", "batch_ends", "validation_ends", "epoch_ends", "fit_ends")


class Callback:
    """Derive from this and write the events that matter; each is called with the ``Run`` under way.

    The run tells everything: ``run.trainer``, ``run.epoch``, ``run.batch``, ``run.loss``, ``run.figures``,
    ``run.learning_rate``, ``run.history``; ``run.stop("why")`` ends it after the batch or epoch under way. An error
    that a callback raises ends the run; the trainer then is as it was after the last step, and so is the checkpoint as
    it was last saved.
    """

    def fit_begins(self, run: Run) -> None:
        """Before the first epoch, or before the first one after resuming."""

    def epoch_begins(self, run: Run) -> None:
        """Before the first batch of an epoch, or before the first one after resuming within it."""

    def batch_ends(self, run: Run) -> None:
        """After a training step: ``run.loss``, ``run.items``, ``run.outputs``."""

    def validation_ends(self, run: Run) -> None:
        """After the validation of an epoch: ``run.validation_figures``."""

    def epoch_ends(self, run: Run) -> None:
        """After an epoch is in ``run.history``, before its checkpoint is saved."""

    def fit_ends(self, run: Run) -> None:
        """After the best weights are back in the network; not called when an error ends the run."""

    def close(self) -> None:
        """Give back files and terminals, however the run ended."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps for it: values that JSON has."""
        return {}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave, before ``fit_begins``."""


class Callbacks:
    """Several callbacks as one: an event reaches them in their order, those that do not listen are not called."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.all = list(callbacks)
        for item in self.all:
            if not isinstance(item, Callback):
                raise TrainingError(
                    f"fit: callbacks requires objects of tk.callbacks.Callback, got {item!r}. Derive from it, and pass "
                    "an object of the class."
                )
        self._listeners = {
            event: [getattr(item, event) for item in self.all if _listens(item, event)] for event in EVENTS
        }

    def tell(self, event: str, run: Run) -> None:
        """Call ``event`` of everybody who listens."""
        for listener in self._listeners[event]:
            listener(run)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close all of them when the block ends, also when some of them fail to."""
        with ExitStack() as stack:
            for item in self.all:
                stack.callback(item.close)
            yield

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint keeps of each, with its kind."""
        return [{"kind": type(item).__name__, **item.state()} for item in self.all]

    def recall(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Hand each what one of its kind gave; those that are new begin anew."""
        left = list(states)
        for item in self.all:
            mine = next((state for state in left if state["kind"] == type(item).__name__), None)
            if mine is not None:
                left.remove(mine)
                item.recall({name: value for name, value in mine.items() if name != "kind"})


def _listens(item: Callback, event: str) -> bool:
    return getattr(type(item), event) is not getattr(Callback, event) or event in vars(item)
