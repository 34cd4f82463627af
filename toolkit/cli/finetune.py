"""``onnx-toolkit finetune``: train a model on labelled data and write it as the same ONNX file with better weights."""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from exporters import Change, diff, save, to_proto
from toolkit.autodiff import Rematerialise
from toolkit.cli.feeds import Arrays, read_labelled
from toolkit.cli.options import (
    OPTIMIZERS,
    add_data,
    add_model,
    add_running,
    backends,
    count,
    describe_loss,
    loss_for,
    optimizer_for,
    read_model,
)
from toolkit.cli.report import Report, complain, figure
from toolkit.compiler.passes.batch_statistics import FORMS
from toolkit.errors import InputError
from toolkit.graph import Network
from toolkit.graph.folded_normalization import note_on_folding
from toolkit.training import History, Trainer
from toolkit.training.schedules import Schedule, one_cycle

SUMMARY = "train a model on labelled data and write it back"
TENSORS = ("initializer", "constant")  # what training changes
Labelled = tuple[Arrays, np.ndarray]
SCHEDULES: dict[str, Schedule | None] = {"constant": None, "one_cycle": one_cycle()}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--output", metavar="FILE.onnx", required=True, help="where to write the tuned model")
    add_data(parser)
    parser.add_argument(
        "--validation", metavar="FILE|PART", help="held-out data, or the part of --data to hold out, such as 0.2"
    )
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="default: adam")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: 0.001)")
    parser.add_argument(
        "--schedule", choices=SCHEDULES, default="constant", help="how the rate moves over the run (default: constant)"
    )
    parser.add_argument("--momentum", type=float, default=0.9, help="of sgd (default: 0.9)")
    parser.add_argument("--weight-decay", type=float, help="default: that of the optimizer")
    parser.add_argument("--epochs", type=count, default=3, help="passes over the data (default: 3)")
    parser.add_argument("--freeze", metavar="PATTERN", action="append", default=[], help="layers that stay as they are")
    parser.add_argument("--train", metavar="PATTERN", action="append", default=[], help="the only layers that learn")
    parser.add_argument(
        "--straight-through",
        metavar="OPERATORS",
        nargs="?",
        const=True,
        default=None,
        help="train through rounding: of quantisation and Round, or of the operators named, such as Floor,Round",
    )
    parser.add_argument(
        "--batch-statistics", choices=FORMS, help="what BatchNormalization uses (default: what the file says)"
    )
    parser.add_argument(
        "--rematerialise",
        metavar="PART|BYTES|PATTERN",
        action="append",
        default=[],
        help="save memory by computing activations again: down to a part such as 0.5, or bytes, or for these layers",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides shuffling, dropout and the held-out part")
    add_running(parser)


def execute(options: argparse.Namespace, report: Report) -> int:
    """Run the command; returns the exit status: 1 after Ctrl-C, with the best weights written."""
    network = read_model(options)
    original = to_proto(network) if _is_same_file(options.model, options.output) else options.model
    training, held_out = _data(network, options)
    _choose_parameters(network, options)
    loss, optimizer = loss_for(network, options, training[1]), optimizer_for(options)
    trainer = Trainer(
        network,
        loss=loss,
        optimizer=optimizer,
        backend=backends(options),
        threads=options.threads,
        seed=options.seed,
        straight_through=_rounding(options.straight_through),
        batch_statistics=options.batch_statistics,
        rematerialise=_rematerialise(options.rematerialise),
    )
    judged = training if held_out is None else held_out
    before = trainer.evaluate(judged, batch_size=options.batch_size)
    report.line(f"{len(training[1])} items to train on, {describe_loss(loss)}, {optimizer!r}")
    if note := note_on_folding(network.graph):
        report.line(note)
    history = trainer.fit(
        training,
        options.epochs,
        held_out,
        batch_size=options.batch_size,
        progress=not report.as_json,
        schedule=SCHEDULES[options.schedule],
    )
    save(network, options.output)
    changes = diff(original, options.output)
    if history.interrupted:
        report.result(_result(options, loss, optimizer, history, before, None, changes))
        complain(f"{history.message} They are written to {options.output}.")
        return 1
    after = trainer.evaluate(judged, batch_size=options.batch_size)
    report.line(str(history))
    rows = [[name, figure(before[name]), figure(after[name])] for name in before]
    report.table(("figure", "before", "after"), rows, right=("before", "after"))
    report.line(f"judged on {len(judged[1])} items{', held out' if held_out else ' that it was trained on'}")
    report.line(f"written to {options.output}: {_difference(changes)}")
    report.result(_result(options, loss, optimizer, history, before, after, changes))
    return 0


def _rounding(asked: str | bool | None) -> bool | list[str] | None:
    """What ``--straight-through`` names."""
    return [name.strip() for name in asked.split(",")] if isinstance(asked, str) else asked


def _rematerialise(words: list[str]) -> Rematerialise:
    """A budget where one number is given, else patterns."""
    if len(words) == 1:
        for kind in (int, float):
            try:
                return kind(words[0])
            except ValueError:
                continue
    return words or None


def _is_same_file(one: str, other: str) -> bool:
    return os.path.exists(other) and os.path.samefile(one, other)


def _data(network: Network, options: argparse.Namespace) -> tuple[Labelled, Labelled | None]:
    """The data to train on and the data held out."""
    x, labels = read_labelled(network, options.data, options.x, options.y)
    if options.validation is None:
        return (x, labels), None
    try:
        part = float(options.validation)
    except ValueError:
        return (x, labels), read_labelled(network, options.validation, options.x, options.y)
    held = round(len(labels) * part)
    if not 0 < part < 1 or not 0 < held < len(labels):
        raise InputError(f"--validation {options.validation}: a part between 0 and 1 that leaves items on both sides.")
    order = np.random.default_rng(options.seed).permutation(len(labels))
    return _rows(x, labels, order[held:]), _rows(x, labels, order[:held])


def _rows(x: Arrays, labels: np.ndarray, rows: np.ndarray) -> Labelled:
    return {name: array[rows] for name, array in x.items()}, labels[rows]


def _choose_parameters(network: Network, options: argparse.Namespace) -> None:
    if options.train:
        for parameter in network.parameters.values():
            parameter.requires_grad = False
        network.select(*options.train).unfreeze()
    if options.freeze:
        network.select(*options.freeze).freeze()


def _difference(changes: list[Change]) -> str:
    trained = [change for change in changes if change.kind in TENSORS and change.detail == "values"]
    rest = [str(change) for change in changes if change not in trained]
    counts = [(sum(change.kind == kind for change in trained), kind) for kind in TENSORS]
    listed = " and ".join(f"{count} {kind}s" for count, kind in counts if count) or "no tensors"
    return f"{listed} differ from the original, {'; '.join(rest) or 'nothing else does'}"


def _result(
    options: argparse.Namespace,
    loss: Any,
    optimizer: Any,
    history: History,
    before: dict[str, float],
    after: dict[str, float] | None,
    changes: list[Change],
) -> dict[str, Any]:
    return {
        "model": options.model,
        "output": options.output,
        "loss_function": describe_loss(loss),
        "optimizer": repr(optimizer),
        "before": before,
        "after": after,
        "best_epoch": history.best_epoch,
        "interrupted": history.interrupted,
        "message": history.message,
        "epochs": [
            {
                "number": epoch.number,
                "training": epoch.training,
                "validation": epoch.validation,
                "seconds": epoch.seconds,
                "complete": epoch.complete,
            }
            for epoch in history
        ],
        "changed": [str(change) for change in changes],
    }
