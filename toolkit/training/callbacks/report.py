"""The report of a run as it goes on: an HTML page that is renewed after every epoch, and complete at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.files import write_text
from toolkit.training.callbacks.callback import Callback
from toolkit.training.reporting.document import document
from toolkit.training.reporting.examination import Examination, examine, require_worst
from toolkit.training.run import Run

MOST_POINTS = 400  # of the curve over updates, an even number; for more to come, neighbours become one


class Report(Callback):
    """Writes a self-contained page to ``path``: curves, confusion matrix, classes, worst examples, configuration.

    Classes and examples are those of ``data``, by default of the validation data, of the training data without them;
    they come with the end of the run, unless the data is an iterator that serves one pass only. The other options are
    those of ``write_report``. After every epoch the page shows how far it is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        data: Any = None,
        title: str = "Training report",
        worst: int = 12,
        names: Sequence[str] | None = None,
        image_shape: Sequence[int] | None = None,
    ) -> None:
        self.path, self.data, self.title = os.fspath(path), data, title
        self.worst, self.names, self.image_shape = require_worst(worst), names, image_shape
        self._points: list[list[float]] = []
        self._width, self._is_resumed = 1, False

    def fit_begins(self, run: Run) -> None:
        if not self._is_resumed:
            self._points, self._width = [], 1
        self._is_resumed = False

    def batch_ends(self, run: Run) -> None:
        if self._points and self._points[-1][2] < self._width:
            step, loss, count = self._points[-1]
            self._points[-1] = [step, (loss * count + run.loss) / (count + 1), count + 1]
            return
        if len(self._points) == MOST_POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [[one[0], (one[1] + two[1]) / 2, one[2] + two[2]] for one, two in pairs]
            self._width *= 2
        self._points.append([run.trainer.steps, run.loss, 1])

    def epoch_ends(self, run: Run) -> None:
        self._write(run, None)

    def fit_ends(self, run: Run) -> None:
        data = next((item for item in (self.data, run.validation) if item is not None), run.batches)
        if isinstance(getattr(data, "data", data), Iterator):  # gone through already, and it does not begin again
            self._write(run, None)
            return
        size = run.batches.batch_size
        self._write(run, examine(run.trainer, data, worst=self.worst, batch_size=size, names=self.names))

    def _write(self, run: Run, examination: Examination | None) -> None:
        options = {
            "epochs": run.epochs,
            "items": run.batches.items,
            "batch_size": run.batches.batch_size,
            "monitor": run.monitor,
            **run.options,
        }
        steps = [(point[0], point[1]) for point in self._points]
        content = document(
            self.title,
            run.trainer,
            run.history,
            examination,
            image_shape=self.image_shape,
            steps=steps,
            options=options,
        )
        write_text(self.path, content)

    def state(self) -> dict[str, Any]:
        return {"points": self._points, "width": self._width}

    def recall(self, state: Mapping[str, Any]) -> None:
        self._points, self._width = [list(point) for point in state["points"]], int(state["width"])
        self._is_resumed = True
