"""``finetune``'s options on the run: how long, where, in which precision and memory, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.autodiff import Rematerialise
from toolkit.cli.families import FAMILIES
from toolkit.cli.forms import Choice, Described, Either, File, Number, Switch, Text, Words
from toolkit.cli.settings import Group, Option
from toolkit.compiler.passes.batch_statistics import FORMS
from toolkit.errors import InputError
from toolkit.training.callbacks import Callback, Csv, EarlyStopping, JsonLines, TensorBoard

Settings = Mapping[str, Any]
RUNNING = (
    Option("backend", Words(), "cpu, numpy, or a list such as cuda,cpu (default: cpu)", ["cpu"]),
    Option("threads", Number(1), "processors to use (default: all)"),
)
RUN = Group(
    "run",
    "the run",
    (
        Option("epochs", Number(1), "passes over the data (default: 3)", 3),
        Option("seed", Number(), "decides shuffling, dropout, fresh weights and the held-out part (default: 0)", 0),
        Option("keep_best", Switch(), "end with the weights of the best epoch (default)", True),
        Option("monitor", Text("FIGURE"), "which figure tells the best epoch (default: accuracy, else loss)"),
        Option("mode", Choice(("min", "max")), "whether less or more of it is better (default: what suits the name)"),
        *RUNNING,
        Option("loss_backend", Words(), "where the loss runs (default: where the network does)"),
        Option("precision", Text(), "numbers to compute in (default: float32)", "float32"),
        Option(
            "loss_scale",
            Described("loss scale"),
            "scale the loss against numbers of half width that vanish: alone, or initial=1024,interval=500",
            bare={},
        ),
        Option(
            "straight_through",
            Either((Switch(), Words()), "OPERATOR,..."),
            "train through rounding: of quantisation and Round, or of the operators named, such as Floor,Round",
            bare=True,
        ),
        Option("batch_statistics", Choice(tuple(FORMS)), "what BatchNormalization uses (default: what the file says)"),
        Option(
            "rematerialise",
            Either((Number(1), Number(is_whole=False), Text()), "PART|BYTES|PATTERN|none"),
            "save memory by computing activations again: down to a part such as 0.5, or bytes, or for these layers "
            "(none: not even where it costs next to nothing)",
            is_repeated=True,
        ),
    ),
)
WATCHING = Group(
    "watching",
    "what is kept of the run",
    (
        Option("checkpoint", File(), "save everything to this file after each epoch"),
        Option("checkpoint_every", Number(1, metavar="STEPS"), "and after so many updates within one"),
        Option("keep_checkpoints", Number(1), "so many files, FILE.1 the one before FILE (default: 1)", 1),
        Option("resume", Switch(), "go on from --checkpoint where there is one; --epochs counts the whole run", False),
        Option("early_stopping", Number(1, metavar="EPOCHS"), "stop after so many epochs that were no better"),
        Option(
            "log",
            File("FILE.jsonl|FILE.csv|FOLDER"),
            "what every epoch reaches, as lines of JSON, a table, or for TensorBoard; any number of times",
            is_repeated=True,
        ),
        Option("report", File("FILE.html"), "a page with curves, confusion matrix and worst examples"),
        Option("callback", Described("callback"), "any other, any number of times", is_repeated=True),
        Option("progress", Switch(), "show a bar on a terminal (default)", True),
    ),
)
NOTHING = "none"  # where patterns of layers are expected
LOGS: dict[str, Callable[[str], Callback]] = {".jsonl": JsonLines, ".csv": Csv, "": TensorBoard}


def trainer_options(values: Settings) -> dict[str, Any]:
    """What ``Trainer`` takes beside network, loss and optimizer."""
    scale = values["loss_scale"]
    return {
        "backend": values["backend"],
        "loss_backend": values["loss_backend"],
        "threads": values["threads"],
        "precision": values["precision"],
        "seed": values["seed"],
        "straight_through": values["straight_through"],
        "batch_statistics": values["batch_statistics"],
        "rematerialise": _rematerialise(values["rematerialise"] or []),
        "accumulate": values["accumulate"],
        "loss_scale": None if scale is None else FAMILIES.built(FAMILIES["loss scale"], scale),
    }


def fit_options(values: Settings) -> dict[str, Any]:
    """What ``Trainer.fit`` takes on the run and on what is kept of it. Raises ``InputError``."""
    if values["resume"] and values["checkpoint"] is None:
        raise InputError("--resume goes on from a checkpoint: name its file with --checkpoint.")
    made: list[Callback] = [] if values["early_stopping"] is None else [EarlyStopping(values["early_stopping"])]
    made += [_log(path) for path in values["log"] or []]
    made += [FAMILIES.built(FAMILIES["callback"], described) for described in values["callback"] or []]
    same = ("keep_best", "monitor", "mode", "checkpoint", "checkpoint_every", "keep_checkpoints", "resume", "report")
    return {"callbacks": made, **{name: values[name] for name in same}}


def _log(path: str) -> Callback:
    suffix = Path(path).suffix.lower()
    if suffix not in LOGS:
        raise InputError(f"--log {path}: a file .jsonl or .csv, or a folder for TensorBoard, is expected.")
    return LOGS[suffix](path)


def _rematerialise(given: list[Any]) -> Rematerialise:
    """A budget where one number is given, nothing at all for the one word none, else patterns."""
    if given == [NOTHING]:
        return False
    if len(given) == 1 and not isinstance(given[0], str):
        budget: int | float = given[0]
        return budget
    return [str(item) for item in given] or None
