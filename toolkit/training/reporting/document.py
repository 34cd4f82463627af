"""The page about a run, put together from sections: summary, curves, classes, worst examples, how it was made."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.files import write_text
from toolkit.report import Markup, heat_map, lines, page, paragraph, section, table
from toolkit.training.history import Epoch, History
from toolkit.training.metrics import ConfusionMatrix
from toolkit.training.reporting.circumstances import configuration, environment
from toolkit.training.reporting.examination import Examination, examine, require_worst
from toolkit.training.reporting.examples import examples
from toolkit.training.run import Learner

MOST_CLASSES = 50  # in the picture of the confusion matrix; the tables have all of them
MOST_CONFUSIONS = 10
Steps = Sequence[tuple[float, float]]  # (update, loss)


def write_report(
    path: str | os.PathLike[str],
    trainer: Learner,
    data: Any = None,
    *,
    history: History | None = None,
    title: str = "Training report",
    worst: int = 12,
    batch_size: int = 64,
    names: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
) -> None:
    """Write an HTML page about ``trainer``'s network as it is, judged on ``data``, and about its ``history``.

    - ``worst``: so many examples that the network is most wrong about; pictures where an input is an image, or where
      ``image_shape`` (height, width) or (channels, height, width) makes one of it
    - ``names``: of the classes; by default those of the model's metadata, or of the folder of images

    The file is written whole or not at all, and needs nothing beside it.
    """
    examination = (
        None if data is None else examine(trainer, data, worst=require_worst(worst), batch_size=batch_size, names=names)
    )
    write_text(path, document(title, trainer, history, examination, image_shape=image_shape))


def document(
    title: str,
    trainer: Learner,
    history: History | None,
    examination: Examination | None,
    *,
    image_shape: Sequence[int] | None = None,
    steps: Steps = (),
    options: Mapping[str, Any] | None = None,
) -> str:
    """The page as text."""
    epochs = [] if history is None else history.epochs
    seconds = sum(epoch.seconds for epoch in epochs)
    lead = f"{history.message} " if history is not None and history.message else ""
    lead += f"{trainer.steps} updates in {seconds:.1f} s. " if epochs else ""
    sections = [
        *_summary(history, examination),
        *_curves(epochs, steps),
        *(_classes(examination.matrix) if examination is not None else []),
        *(_worst(examination, image_shape) if examination is not None else []),
        *_epochs(epochs),
        section("Configuration", table(("option", "value"), configuration(trainer, options or {}))),
        section("Environment", table(("part", "version"), environment())),
    ]
    if history is not None and history.notes:
        sections.insert(0, section("Notes", *map(paragraph, history.notes)))
    return page(title, lead + time.strftime("Written on %Y-%m-%d at %H:%M."), sections)


def _summary(history: History | None, examination: Examination | None) -> list[Markup]:
    kept = next((epoch for epoch in history or () if history and epoch.number == history.best_epoch), None)
    columns: dict[str, Mapping[str, float]] = {}
    if kept is not None:
        columns |= {"training": kept.training} | ({"validation": kept.validation} if kept.validation else {})
    if examination is not None:
        columns["as it is now"] = examination.figures
    if not columns:
        return []
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    rows = [[name, *(_number(figures.get(name)) for figures in columns.values())] for name in names]
    notes = []
    if kept is not None:
        notes.append(f"Training and validation are those of epoch {kept.number}, whose weights the network has.")
    if examination is not None:
        notes.append(f"The network as it is now was judged on {examination.items} items.")
    return [section("Figures", paragraph(" ".join(notes)), table(("figure", *columns), rows, right=list(columns)))]


def _curves(epochs: Sequence[Epoch], steps: Steps) -> list[Markup]:
    """A chart for each figure, training and validation in one, and one of the learning rate where it moves."""
    found = []
    if len(steps) > 1:
        x = [step for step, _ in steps]
        drawn = lines({"loss of a batch": [loss for _, loss in steps]}, x=x, x_label="update", y_label="loss")
        found.append(section("Loss by update", drawn))
    if len(epochs) > 1:
        x = [float(epoch.number) for epoch in epochs]
        for name in dict.fromkeys(name for epoch in epochs for name in (*epoch.training, *epoch.validation)):
            series = {
                "training": [epoch.training.get(name) for epoch in epochs],
                "validation": [epoch.validation.get(name) for epoch in epochs],
            }
            known = {key: values for key, values in series.items() if any(value is not None for value in values)}
            title = f"{name[:1].upper()}{name[1:]} by epoch"
            found.append(section(title, lines(known, x=x, x_label="epoch", y_label=name)))
        rates = [epoch.learning_rate for epoch in epochs]
        if len(set(rates)) > 1:
            drawn = lines({"learning rate": rates}, x=x, x_label="epoch", y_label="learning rate")
            found.append(section("Learning rate by epoch", drawn))
    return found


def _classes(matrix: ConfusionMatrix | None) -> list[Markup]:
    if matrix is None or not matrix.counts.sum():
        return []
    counts, scores = matrix.counts, matrix.scores()
    names = [_name(matrix, index) for index in range(len(counts))]
    found = []
    if len(names) <= MOST_CLASSES:
        words = "Colours are shares of a row; rest on a cell to read its number."
        drawn = heat_map(counts.tolist(), names, rows="is", columns="was taken for")
        found.append(section("Confusion matrix", paragraph(words), drawn))
    wrong = sorted(((int(counts[a, b]), a, b) for a, b in zip(*counts.nonzero(), strict=True) if a != b), reverse=True)[
        :MOST_CONFUSIONS
    ]
    rows = [[names[a], names[b], count, f"{count / counts[a].sum():.1%}"] for count, a, b in wrong]
    if rows:
        head = ("is", "was taken for", "items", "of the class")
        found.append(section("Most frequent confusions", table(head, rows, right=head[2:])))
    columns = ("class", "items", "precision", "recall", "F1")
    per_class = [
        [name, int(counts[index].sum()), *(f"{value:.4f}" for value in scores[:, index])]
        for index, name in enumerate(names)
    ]
    mean = ["mean of classes", int(counts.sum()), *(f"{matrix._averaged(which, 'macro'):.4f}" for which in range(3))]
    found.append(section("Classes", table(columns, [*per_class, mean], right=columns[1:])))
    return found


def _worst(examination: Examination, image_shape: Sequence[int] | None) -> list[Markup]:
    if not examination.worst:
        return []
    words = "What the network is most wrong about, the worst first; items are counted from 0."
    return [section("Worst examples", paragraph(words), examples(examination.worst, image_shape))]


def _epochs(epochs: Sequence[Epoch]) -> list[Markup]:
    if not epochs:
        return []
    training = list(dict.fromkeys(name for epoch in epochs for name in epoch.training))
    held_out = list(dict.fromkeys(name for epoch in epochs for name in epoch.validation))
    head = ("epoch", *training, *(f"validation {name}" for name in held_out), "learning rate", "seconds")
    rows = [
        [
            f"{epoch.number}" if epoch.complete else f"{epoch.number} (part of it)",
            *(_number(epoch.training.get(name)) for name in training),
            *(_number(epoch.validation.get(name)) for name in held_out),
            "" if epoch.learning_rate is None else f"{epoch.learning_rate:.4g}",
            f"{epoch.seconds:.2f}",
        ]
        for epoch in epochs
    ]
    return [section("Epochs", table(head, rows, right=head[1:]))]


def _name(matrix: ConfusionMatrix, index: int) -> str:
    return matrix.names[index] if matrix.names is not None and index < len(matrix.names) else str(index)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"
