"""``finetune``'s options on the size of the file: fewer weights, smaller numbers, and training that knows of both."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np

from toolkit.cli.families import FAMILIES
from toolkit.cli.forms import Described, Number
from toolkit.cli.settings import Group, Option
from toolkit.errors import InputError
from toolkit.graph import Network
from toolkit.training.callbacks import Callback, Run
from toolkit.training.data import Source
from toolkit.training.pruning import Gradual, Pruning, prune
from toolkit.training.quantisation import QuantisationAware

Settings = Mapping[str, Any]
DEFAULT_SHARE = signature(prune).parameters["share"].default
SAMPLE = 512  # items that the ranges of activations are told by
COMPRESSION = Group(
    "compression",
    "fewer weights, smaller numbers",
    (
        Option("prune_units", Described("unit pruning"), "drop whole filters and units first: share=0.3", bare={}),
        Option("prune", Described("pruning"), "zeros that stay zero: share=0.8,scope=layer", bare={}),
        Option("prune_steps", Number(1), "let the share of --prune grow over so many updates"),
        Option("quantise", Described("quantisation"), "write 8-bit integers: method=percentile,weights=int8", bare={}),
        Option(
            "quantise_aware",
            Described("aware quantisation"),
            "train on the grids of the integers that are written: weights=int4,learn_steps=true",
            bare={},
        ),
    ),
)


class Compression:
    """What is made of a network before training (``network``), while it is trained (``callbacks``), and at the end."""

    def __init__(self, network: Network, source: Source, values: Settings) -> None:
        _require_one_way(values)
        self._values, self._source = values, source
        self._pruning: Pruning | None = None
        self._aware: QuantisationAware | None = None
        if values["prune_units"] is not None:
            FAMILIES.built(FAMILIES["unit pruning"], values["prune_units"])(network)
        if values["prune"] is not None:
            grows = values["prune_steps"] is not None
            start = {**values["prune"], "share": 0.0} if grows else values["prune"]
            self._pruning = FAMILIES.built(FAMILIES["pruning"], start)(network)
        if values["quantise_aware"] is not None:
            made = FAMILIES.built(FAMILIES["aware quantisation"], values["quantise_aware"])
            self._aware = made(network, self._sample())
        self.network = network if self._aware is None else self._aware.network

    @property
    def is_asked(self) -> bool:
        """Whether the file is another network than the trained one, to be judged by itself."""
        return self._pruning is not None or self.is_aware or self._values["quantise"] is not None

    @property
    def is_aware(self) -> bool:
        """Whether training has to pass the rounding of grids."""
        return self._aware is not None

    @property
    def callbacks(self) -> list[Callback]:
        """What has to happen between two batches."""
        steps = self._values["prune_steps"]
        if self._pruning is None or steps is None:
            return []
        return [_Growing(self._pruning, Gradual(self._share, steps))]

    def finished(self, network: Network) -> Network:
        """The network to write, made of the trained one."""
        if self._pruning is not None:  # the best epoch may be one in which there were fewer zeros
            network = self._pruning.update(self._share).finish()
        if self._aware is not None:
            return self._aware.convert()
        if self._values["quantise"] is not None:
            made: Network = FAMILIES.built(FAMILIES["quantisation"], self._values["quantise"])(network, self._sample())
            return made
        return network

    @property
    def _share(self) -> float:
        return float(self._values["prune"].get("share", DEFAULT_SHARE))

    def _sample(self) -> Any:
        """Some of the inputs, evenly spread."""
        rows = np.linspace(0, len(self._source) - 1, min(SAMPLE, len(self._source)), dtype=np.int64)
        return self._source.batch(np.unique(rows), None)[0]


class _Growing(Callback):
    """Lets the share of zeros follow a schedule of updates."""

    def __init__(self, pruning: Pruning, schedule: Gradual) -> None:
        self._pruning, self._schedule = pruning, schedule

    def batch_ends(self, run: Run) -> None:
        share = self._schedule.share(run.trainer.steps)
        if share is not None:
            self._pruning.update(share)


def _require_one_way(values: Settings) -> None:
    """Raise ``InputError`` for options that exclude each other."""
    given = [name for name in ("prune", "quantise", "quantise_aware") if values[name] is not None]
    if "quantise_aware" in given and len(given) > 1:
        raise InputError(f"--quantise-aware and --{given[0]} exclude each other. Leave one of them out.")
    adapted = values["adapter"] is not None or values["adapter_from"] is not None
    if given and adapted and (values["adapter_form"] != "merged" or given != ["quantise"]):
        raise InputError(
            f"--{given[0].replace('_', '-')} beside an adapter: only --quantise with --adapter-form merged can be. "
            "Train the adapter first, and compress the merged file in a second run."
        )
    if values["prune_steps"] is not None and values["prune"] is None:
        raise InputError("--prune-steps tells how long --prune takes. Say how much: --prune share=0.8.")
