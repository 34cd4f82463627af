"""The families of kinds that options describe: what the toolkit makes public under each of its namespaces."""

from __future__ import annotations

import inspect
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from toolkit import layers
from toolkit.cli.descriptions import KIND
from toolkit.cli.kinds import Families, Family
from toolkit.cli.report import Report
from toolkit.cli.suggestions import folded, hint
from toolkit.layers import Definition, initialisers
from toolkit.layers.initialisers import Initialiser
from toolkit.training import adapters, callbacks, data, losses, metrics, optimizers, pruning, quantisation, schedules
from toolkit.training.callbacks import Callback
from toolkit.training.data import Augmentation
from toolkit.training.loss_scale import DynamicLossScale
from toolkit.training.losses import Loss
from toolkit.training.optimizers import Optimizer, Transform
from toolkit.training.schedules import Schedule


def public(namespace: ModuleType) -> dict[str, Any]:
    """The public things of a namespace: those it lists, or those that are defined in it."""
    listed = getattr(namespace, "__all__", None)
    if listed is not None:
        return {name: getattr(namespace, name) for name in listed}
    return {
        name: item
        for name, item in vars(namespace).items()
        if not name.startswith("_") and getattr(item, "__module__", "") == namespace.__name__
    }


def classes(namespace: ModuleType, base: type) -> dict[str, Callable[..., Any]]:
    """The public classes of a namespace that derive from ``base`` and can be made objects of."""
    return {
        name: item
        for name, item in public(namespace).items()
        if inspect.isclass(item) and issubclass(item, base) and item is not base and not inspect.isabstract(item)
    }


def _schedules() -> dict[str, Callable[..., Any]]:
    """The functions that return a schedule, and the classes whose objects are one."""
    return {
        name: item
        for name, item in public(schedules).items()
        if (inspect.isfunction(item) and inspect.signature(item, eval_str=True).return_annotation == Schedule)
        or (inspect.isclass(item) and "__call__" in vars(item))
    }


def _metrics() -> dict[str, Callable[..., Any]]:
    """The classes whose objects accumulate, and the functions of a batch."""
    return {
        name: item
        for name, item in public(metrics).items()
        if inspect.isfunction(item)
        or (inspect.isclass(item) and not inspect.isabstract(item) and item is not metrics.Metric)
    }


def _single(
    name: str, target: Callable[..., Any], *hidden: str, makes: Any = None, leading: tuple[str, ...] = ()
) -> Family:
    return Family(name, {target.__name__: target}, makes, frozenset(hidden), leading, is_single=True)


FAMILIES = Families(
    Family("loss", classes(losses, Loss), Loss),
    Family("metric", _metrics(), leading=("output", "labels")),
    Family("optimizer", classes(optimizers, Optimizer), Optimizer, supplied=frozenset({"learning_rate"})),
    Family(
        "transform",
        classes(optimizers, Transform),
        Transform,
        aliases={"ema": "ExponentialAverage", "swa": "StochasticAverage"},
    ),
    Family("schedule", _schedules(), Schedule, aliases={"constant": "fixed"}),
    Family("layer", classes(layers, Definition), Definition, supplied=frozenset({"units"})),
    Family("initialiser", classes(initialisers, Initialiser), Initialiser),
    Family("adapter", {"lora": adapters.lora, "dora": adapters.dora}, leading=("network",)),
    Family("callback", classes(callbacks, Callback), Callback, hidden=frozenset({"data"})),
    _single("augmentation", Augmentation, makes=Augmentation),
    _single("image folder", data.ImageFolder, "root", "augmentation", "classes"),
    _single("distillation", losses.Distillation, "loss"),
    _single("loss scale", DynamicLossScale),
    _single("pruning", pruning.prune, leading=("network",)),
    _single("unit pruning", pruning.prune_units, leading=("network",)),
    _single("quantisation", quantisation.quantise, leading=("network", "data")),
    _single("aware quantisation", quantisation.prepare, leading=("network", "data")),
)


def family_named(text: str) -> str:
    """The name of the family that somebody calls ``text``, one or many. Raises ``ArgumentTypeError``."""
    plurals = {family.plural: family.name for family in FAMILIES}
    found = next((name for many, name in plurals.items() if folded(text) in (folded(many), folded(name))), None)
    if found is None:
        raise ArgumentTypeError(f"there are {', '.join(plurals)}, got {text!r}{hint(text, plurals)}")
    return found


def list_kinds(wanted: str, report: Report) -> None:
    """What a family offers: every kind with its parameters and what it is."""
    family = FAMILIES[wanted]
    rows = []
    for name, target in sorted(family.kinds.items(), key=lambda item: item[0].lower()):
        summary = " ".join((inspect.getdoc(target) or "").split("\n\n")[0].split())
        rows.append((name, ", ".join(_shown(family.parameters(target).values())), summary))
    report.table((KIND, "parameters", "what it is"), rows)
    left_out = {name: family.reason(name) for name in family.targets if name not in family.kinds}
    for name, reason in left_out.items():
        report.line(f"{name} is left to Python: {reason}.")
    report.result(
        {
            "family": wanted,
            "kinds": [dict(zip((KIND, "parameters", "summary"), row, strict=True)) for row in rows],
            "left_to_python": left_out,
        }
    )


def _shown(parameters: Iterable[inspect.Parameter]) -> Iterable[str]:
    for item in parameters:
        if item.default is item.empty:
            yield item.name
        else:
            value = item.default if isinstance(item.default, (bool, int, float, str, tuple, type(None))) else "..."
            yield f"{item.name}={'none' if value is None else value if isinstance(value, str) else repr(value).lower()}"
