"""``finetune``'s options on how weights are moved: optimizer, transforms around it, schedule of the rate."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from toolkit.cli.descriptions import KIND
from toolkit.cli.families import FAMILIES
from toolkit.cli.forms import Described, Number
from toolkit.cli.kinds import parameters_of
from toolkit.cli.settings import Group, Option
from toolkit.cli.usage import UsageError
from toolkit.training import schedules
from toolkit.training.optimizers import ClipByGlobalNorm, ClipByValue, Optimizer, Transform, chain

Settings = Mapping[str, Any]
RATE = 1e-3  # of optimizers that have none of their own
MOMENTUM = 0.9  # of sgd
AVERAGES = {"ExponentialAverage", "StochasticAverage"}
SHORTHANDS = {"lr": "learning_rate", "momentum": "momentum", "weight_decay": "weight_decay"}
ANY = Number(is_whole=False, metavar="NUMBER")
UPDATE = Group(
    "update",
    "how weights are moved",
    (
        Option("optimizer", Described("optimizer"), "default: adam", {KIND: "Adam"}),
        Option("lr", ANY, "learning rate (default: that of the optimizer, 0.001 for sgd)"),
        Option("momentum", ANY, "of optimizers that have one (default: 0.9 for sgd)"),
        Option("weight_decay", ANY, "default: that of the optimizer"),
        Option(
            "schedule", Described("schedule"), "how the rate moves over the run: cosine, one_cycle, step:size=100, ..."
        ),
        Option("warm_up", Number(1, metavar="STEPS"), "let the rate rise over so many steps, before the schedule"),
        Option("clip_norm", ANY, "scale gradients down to this norm of all of them"),
        Option("clip_value", ANY, "bound every element of the gradients"),
        Option("before", Described("transform"), "a transform of the gradients, any number of times", is_repeated=True),
        Option(
            "after", Described("transform"), "a transform behind the optimizer, any number of times", is_repeated=True
        ),
        Option("average", Described("transform"), "write averaged weights: ema, ema:decay=0.99, swa:start=100"),
        Option("accumulate", Number(1), "batches for each update (default: 1)", 1),
    ),
)


def optimizer_for(values: Settings) -> Optimizer:
    """The optimizer with its transforms. Raises ``TrainingError`` for numbers that it cannot work with, ``UsageError``
    for numbers that it does not have."""
    described = dict(values["optimizer"])
    kind = described[KIND]
    parameters = parameters_of(FAMILIES["optimizer"].kinds[kind])
    for option, name in SHORTHANDS.items():
        if values[option] is None:
            continue
        if name not in parameters:
            raise UsageError(f"--{option.replace('_', '-')}: {kind} has no {name}. Leave it out.")
        described[name] = values[option]
    if kind == "SGD":
        described = {"learning_rate": RATE, "momentum": MOMENTUM, **described}
    supplied = {"learning_rate": RATE} if parameters["learning_rate"].default is inspect.Parameter.empty else {}
    optimizer = FAMILIES.built(FAMILIES["optimizer"], described, **supplied)
    before: list[Transform] = _transforms(values["before"])
    before += [] if values["clip_value"] is None else [ClipByValue(values["clip_value"])]
    before += [] if values["clip_norm"] is None else [ClipByGlobalNorm(values["clip_norm"])]
    after = _transforms([*(values["after"] or []), *([values["average"]] if values["average"] else [])])
    return chain(*before, optimizer, *after) if before or after else optimizer


def averages(values: Settings) -> bool:
    """Whether the optimizer keeps averages of the weights, which are what is written then."""
    described = [*(values["after"] or []), *([values["average"]] if values["average"] else [])]
    return any(item[KIND] in AVERAGES for item in described)


def schedule_for(values: Settings) -> schedules.Schedule | None:
    """The schedule, behind the warm-up; ``None`` for a rate that does not move."""
    schedule = values["schedule"] and FAMILIES.built(FAMILIES["schedule"], values["schedule"])
    return schedules.warm_up(values["warm_up"], schedule) if values["warm_up"] else schedule


def _transforms(described: list[Any] | None) -> list[Transform]:
    return [FAMILIES.built(FAMILIES["transform"], item) for item in described or []]
