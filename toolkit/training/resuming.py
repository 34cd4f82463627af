"""Going on after a run was cut off: when a fit saves itself, and how the next one takes over where it was."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from toolkit.errors import TrainingError
from toolkit.training.callbacks.callback import Callbacks
from toolkit.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolkit.training.run import Arrays, Run

LEFT_BEHIND = r"\.{name}\.[0-9a-f]+"  # what a process that was killed while writing leaves: see ``toolkit.files``


class Saving:
    """Saves ``run`` to ``path`` after every epoch, and after ``every`` so many updates within one.

    ``keep`` files are kept: ``path`` is the newest, ``path.1`` the one before, and so on. The newest is whole at any
    moment, whenever the process ends. Without a ``path`` nothing is saved.
    """

    def __init__(
        self, run: Run, callbacks: Callbacks, path: str | os.PathLike[str] | None, every: int | None, keep: int
    ) -> None:
        for option, value in (("checkpoint_every", every), ("keep_checkpoints", keep)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise TrainingError(f"fit: {option} requires a whole number of at least 1, got {value!r}.")
        if every is not None and path is None:
            raise TrainingError(
                "fit: checkpoint_every requires a checkpoint to write. Pass checkpoint='run.checkpoint'."
            )
        self._run, self._callbacks = run, callbacks
        self._path, self._every, self._keep = None if path is None else Path(path), every, keep
        self._saved = run.trainer.steps

    def resume(self) -> bool:
        """Go on from the file, if there is one; tells whether there was.

        Raises ``TrainingError`` when it is damaged or belongs to another network or optimizer.
        """
        if self._path is None:
            raise TrainingError("fit(resume=True) requires the file to go on from. Pass checkpoint='run.checkpoint'.")
        _sweep(self._path)
        if not self._path.exists():
            return False
        found = load_checkpoint(self._path)
        self._require_same_optimizer(found)
        run, trainer = self._run, self._run.trainer
        trainer.restore(found, str(self._path))
        self._saved, run.began = trainer.steps, trainer.epochs
        if found.run:
            run.recall(found.run, found.arrays)
            self._callbacks.recall(found.run["callbacks"])
        return bool(found.run)

    def after_batch(self, is_last: bool) -> None:
        """Save when it is due, or was the last; gradients that are being gathered are waited for."""
        due = self._every is not None and self._run.trainer.steps - self._saved >= self._every
        if (due or (is_last and self._path is not None)) and not self._run.trainer.waiting:
            self.save()

    def after_epoch(self) -> None:
        """Save, if anything is saved at all."""
        if self._path is not None:
            self.save()

    def save(self) -> None:
        """Write the run as it is now."""
        assert self._path is not None
        arrays: Arrays = {}
        made = self._run.trainer.checkpoint()
        made.run = {**self._run.state(arrays), "callbacks": self._callbacks.state()}
        made.arrays = arrays
        self._shift(self._path)
        save_checkpoint(self._path, made)
        self._saved = self._run.trainer.steps

    def _shift(self, path: Path) -> None:
        """Let those before move up by one; the newest stays in its place until another takes it."""
        if self._keep == 1 or not path.exists():
            return
        names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, self._keep))]
        for at in range(len(names) - 1, 1, -1):
            if names[at - 1].exists():
                os.replace(names[at - 1], names[at])
        copy = path.with_name(f".{path.name}.0")
        copy.unlink(missing_ok=True)
        try:
            os.link(path, copy)
        except OSError:  # a file system without second names for a file
            shutil.copyfile(path, copy)
        os.replace(copy, names[1])

    def _require_same_optimizer(self, found: Checkpoint) -> None:
        optimizer = self._run.trainer.optimizer
        missing = sorted(set(optimizer.slots) - {name.partition("/")[0] for name in found.state})
        if missing and found.progress["steps"]:
            raise TrainingError(
                f"Checkpoint {str(self._path)!r} has no {', '.join(missing)} of {optimizer!r}: it was saved with "
                "another optimizer. Pass that one, or begin anew with another file."
            )


def _sweep(path: Path) -> None:
    """Remove what a killed process left half-written."""
    pattern = re.compile(LEFT_BEHIND.format(name=re.escape(path.name)))
    for item in path.parent.iterdir() if path.parent.is_dir() else ():
        if pattern.fullmatch(item.name):
            item.unlink(missing_ok=True)
