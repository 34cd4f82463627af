"""``onnx-toolkit finetune``: train a model on labelled data and write it as the same ONNX file with better weights.

Every option can stand in a recipe as well. What the options mean is in ``sources``, ``judging`` and ``finetune_*``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from exporters import Change, diff, to_proto
from importers import load
from toolkit.cli.families import FAMILIES, family_named, list_kinds
from toolkit.cli.finetune_compression import COMPRESSION, Compression
from toolkit.cli.finetune_network import ADAPTERS, EDITS, SELECTION, prepare, unfreezing_for, write
from toolkit.cli.finetune_run import RUN, WATCHING, fit_options, trainer_options
from toolkit.cli.finetune_update import UPDATE, averages, optimizer_for, schedule_for
from toolkit.cli.forms import Choice, Either, File, Named, Number
from toolkit.cli.judging import TRAINING_OBJECTIVE, describe_loss, loss_for, metrics_for
from toolkit.cli.recipe import read_recipe, write_recipe
from toolkit.cli.report import Report, complain, figure
from toolkit.cli.settings import Group, Option, declare, settle
from toolkit.cli.sources import TRAINING_DATA, batches_of, labels_of, training_and_held_out
from toolkit.errors import InputError
from toolkit.graph import Network
from toolkit.graph.class_names import class_names
from toolkit.graph.folded_normalization import note_on_folding
from toolkit.training import History, Trainer

TENSORS = ("initializer", "constant")  # what training changes
WRITTEN = ("output", "adapter_output", "checkpoint", "report")
SHOWN = 6  # further changes of the file that a line tells
FILES = Group(
    "files",
    "files",
    (
        Option("model", File("MODEL"), "the ONNX file", is_positional=True),
        Option("output", File("FILE.onnx"), "where to write the tuned model"),
        Option(
            "batch_axis",
            Named(Either((Number(0), Choice(("none",))), None), "NAME=AXIS"),
            "the axis of an input or output that counts items, or none, where the file is taken wrongly",
            is_repeated=True,
        ),
        Option("dim", Named(Number(1), "NAME=SIZE"), "size of a symbolic dimension, for a new head", is_repeated=True),
    ),
)
GROUPS = (FILES, TRAINING_DATA, TRAINING_OBJECTIVE, UPDATE, SELECTION, EDITS, ADAPTERS, COMPRESSION, RUN, WATCHING)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "%(prog)s MODEL --data FILE --output FILE.onnx [options], or %(prog)s --recipe FILE.toml"
    recipes = parser.add_argument_group("recipes")
    recipes.add_argument("--recipe", metavar="FILE.toml", help="options from a file; flags go before it")
    recipes.add_argument("--save-recipe", metavar="FILE.toml", help="write the options used, for --recipe")
    recipes.add_argument(
        "--list",
        metavar="FAMILY",
        dest="family",
        type=family_named,
        help=f"what there is, with parameters, and end: {', '.join(family.plural for family in FAMILIES)}",
    )
    declare(parser, GROUPS)


def execute(options: argparse.Namespace, report: Report) -> int:
    """Run the command; returns the exit status: 1 after Ctrl-C, with the best weights written."""
    if options.family is not None:
        list_kinds(options.family, report)
        return 0
    recipe = {} if options.recipe is None else read_recipe(options.recipe, GROUPS)
    values = settle(options, GROUPS, recipe, required=("model", "data", "output"))
    _require_places(values, options.save_recipe)
    return _train(values, options.save_recipe, report)


def _train(values: Mapping[str, Any], recipe: str | None, report: Report) -> int:
    network = _read(values)
    original = to_proto(network) if _is_same_file(values["model"], values["output"]) else values["model"]
    training, held_out = training_and_held_out(network, values)
    adapter = prepare(network, training, values)
    compression = Compression(network, training, values)
    network = compression.network
    loss, optimizer = loss_for(network, values, labels_of(training)), optimizer_for(values)
    classes = class_names(network, judged[0]) if len(judged := loss.judged(list(network.outputs))) == 1 else None
    metrics = metrics_for(loss, values, classes)
    options = trainer_options(values)
    if compression.is_aware and options["straight_through"] is None:
        options["straight_through"] = True
    trainer = Trainer(network, loss=loss, optimizer=optimizer, **options)
    running = fit_options(values)
    running["callbacks"] += compression.callbacks
    if recipe is not None:
        write_recipe(recipe, GROUPS, values)
    data = training if held_out is None else held_out
    before = trainer.evaluate(data, batch_size=values["batch_size"], metrics=metrics)
    report.line(f"{len(training)} items to train on, {describe_loss(loss, network)}, {optimizer!r}")
    for note in (note_on_folding(network.graph), None if adapter is None else repr(adapter)):
        if note:
            report.line(note)
    history = trainer.fit(
        batches_of(training, values),
        values["epochs"],
        held_out,
        batch_size=values["batch_size"],
        shuffle=values["shuffle"],
        metrics=metrics,
        progress=values["progress"] and not report.as_json,
        schedule=schedule_for(values),
        unfreezing=unfreezing_for(values),
        **running,
    )
    is_averaged = averages(values) and trainer.steps > 0
    with trainer.averaged() if is_averaged else nullcontext():
        written = write(network, adapter, values, compression.finished)
        after = None
        if not history.interrupted:
            judge = Trainer(written, loss=loss, optimizer=optimizer, **options) if compression.is_asked else trainer
            after = judge.evaluate(data, batch_size=values["batch_size"], metrics=metrics)
    changes = diff(original, values["output"])
    report.result(
        {
            "model": values["model"],
            "output": values["output"],
            "loss_function": describe_loss(loss, network),
            "optimizer": repr(optimizer),
            "averaged": is_averaged,
            "adapter": None if adapter is None else {"layers": adapter.layers, "left_out": adapter.left_out},
            **_told(history),
            "before": before,
            "after": after,
            "changed": [str(change) for change in changes],
            "options": {name: value for name, value in values.items() if value is not None},
        }
    )
    if after is None:
        complain(f"{history.message} They are written to {values['output']}.")
        return 1
    report.line(str(history))
    rows = [[name, figure(before[name]), figure(after[name])] for name in before]
    report.table(("figure", "before", "after"), rows, right=("before", "after"))
    what = "averaged weights, " if is_averaged else ""
    report.line(f"{what}judged on {len(data)} items{', held out' if held_out else ' that it was trained on'}")
    report.line(f"written to {values['output']}: {_difference(changes)}")
    return 0


def _read(values: Mapping[str, Any]) -> Network:
    axes = {name: None if axis == "none" else axis for name, axis in (values["batch_axis"] or {}).items()}
    return load(values["model"], batch_axis=axes)


def _require_places(values: Mapping[str, Any], recipe: str | None) -> None:
    """Raise ``InputError`` for files in folders that do not exist, before anything is computed for them."""
    for name in (*(values[key] for key in WRITTEN), recipe):
        if name is not None and not os.path.isdir(os.path.dirname(name) or "."):
            raise InputError(
                f"{name!r} cannot be written: there is no folder {os.path.dirname(name)!r}. Make it first."
            )


def _is_same_file(one: str, other: str) -> bool:
    return os.path.exists(other) and os.path.samefile(one, other)


def _difference(changes: list[Change]) -> str:
    trained = [change for change in changes if change.kind in TENSORS and change.detail == "values"]
    rest = [str(change) for change in changes if change not in trained]
    counts = [(sum(change.kind == kind for change in trained), kind) for kind in TENSORS]
    listed = " and ".join(f"{count} {kind}s" for count, kind in counts if count) or "no tensors"
    if len(rest) > SHOWN:
        rest[SHOWN:] = [f"and {len(rest) - SHOWN} more"]
    return f"{listed} differ from the original, {'; '.join(rest) or 'nothing else does'}"


def _told(history: History) -> dict[str, Any]:
    return {
        "best_epoch": history.best_epoch,
        "interrupted": history.interrupted,
        "message": history.message,
        "notes": history.notes,
        "epochs": [asdict(epoch) for epoch in history],
    }
