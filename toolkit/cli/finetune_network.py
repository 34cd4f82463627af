"""``finetune``'s options on the network: what is edited before training, what of it learns, what beside it.

The edits come in this order: BatchNormalization back, a new head, dropout, adapters; then what learns is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from exporters import save, save_adapter
from importers import read_adapter
from toolkit.cli.families import FAMILIES
from toolkit.cli.forms import Choice, Described, Either, File, Form, Named, Number, Text, Words
from toolkit.cli.labelled import Labels
from toolkit.cli.settings import Group, Option
from toolkit.cli.sources import labels_of
from toolkit.errors import InputError
from toolkit.graph import Network, Selection
from toolkit.graph.class_names import name_classes
from toolkit.training import adapters
from toolkit.training.adapters import Adapter
from toolkit.training.data import Source
from toolkit.training.head import append_head, replace_head
from toolkit.training.surgery import GradualUnfreezing, insert_dropout, unfold_batch_normalization

Settings = Mapping[str, Any]
PATTERN, FACTOR = Text("PATTERN"), Number(is_whole=False)
SAMPLE = 256  # items whose statistics an un-folded BatchNormalization begins with


def _patterns(name: str, text: str) -> Option:
    return Option(name, PATTERN, text, is_repeated=True)


def _by_pattern(name: str, text: str) -> Option:
    return Option(name, Named(FACTOR, "PATTERN=NUMBER"), text, is_repeated=True)


STAGE: Form = Either((Number(1), PATTERN), "PATTERN|N")
SELECTION = Group(
    "selection",
    "what learns",
    (
        _patterns("train", "the only layers that learn; beside adapters: layers that learn as well"),
        _patterns("freeze", "layers that stay as they are"),
        Option("train_last", Number(1), "only the last so many layers with weights learn"),
        _patterns("train_settings", "what is no weight and shall learn: exponents, statistics, step sizes, ..."),
        _by_pattern("lr_factor", "factor on the learning rate of some layers"),
        _by_pattern("decay_factor", "factor on the weight decay of some layers, such as *bias=0"),
        _patterns("freeze_statistics", "BatchNormalization layers that keep their running statistics"),
        _patterns("unfreeze_statistics", "BatchNormalization layers that use those of each batch"),
        Option(
            "stage", STAGE, "gradual unfreezing: what learns first, then next, ...; N is the last N", is_repeated=True
        ),
        Option("stage_epochs", Number(1), "epochs between two stages (default: 1)", 1),
    ),
)
EDITS = Group(
    "edits",
    "edits before training",
    (
        Option("head", Described("layer"), "new last layers: linear, linear:units=5, sequential:layers=[...]"),
        Option("head_at", Text("LAYER"), "from where on they replace what is there (default: the last linear layer)"),
        Option("head_output", Text("NAME"), "the output that gets them, where there are several"),
        Option(
            "extra_head",
            Named(Described("layer")),
            "one more output of these layers behind --head-at",
            is_repeated=True,
        ),
        Option("classes", Words(), "what the classes are called; noted in the model"),
        Option("dropout", Named(FACTOR, "PATTERN=RATIO"), "dropout behind layers", is_repeated=True),
        Option(
            "unfold_batch_normalization",
            Words("PATTERN,..."),
            "give convolutions back what was folded into them; without patterns where names tell",
            bare=[],
        ),
    ),
)
ADAPTERS = Group(
    "adapters",
    "adapters",
    (
        Option(
            "adapter", Described("adapter"), "train low-rank changes: lora:rank=8,patterns=[encoder/*], dora:rank=4"
        ),
        Option("adapter_from", File(), "go on with an adapter from a .safetensors or .onnx_adapter file"),
        Option("adapter_output", File(), "write the adapter alone, as .safetensors or .onnx_adapter"),
        Option(
            "adapter_form",
            Choice(("merged", "apart", "exposed")),
            "what --output holds: better weights, layers beside them, or inputs for .onnx_adapter (default: merged)",
            "merged",
        ),
    ),
)


def prepare(network: Network, source: Source, values: Settings) -> Adapter | None:
    """Edit the network as ``values`` say, and settle what learns; returns the adapter. Raises ``GraphError``."""
    if values["unfold_batch_normalization"] is not None:
        x, _ = source.batch(np.arange(min(SAMPLE, len(source))), None)
        unfold_batch_normalization(network, *values["unfold_batch_normalization"], data=x)
    _renew_heads(network, source, values)
    for pattern, ratio in (values["dropout"] or {}).items():
        insert_dropout(network, pattern, ratio=ratio)
    adapter = _adapt(network, values)
    _choose(network, values, beside=adapter is not None)
    return adapter


def unfreezing_for(values: Settings) -> GradualUnfreezing | None:
    """The stages of gradual unfreezing, where there are some."""
    return GradualUnfreezing(values["stage"], epochs=values["stage_epochs"]) if values["stage"] else None


def write(
    network: Network, adapter: Adapter | None, values: Settings, finished: Callable[[Network], Network]
) -> Network:
    """Write what ``values`` ask for; returns the network that is in the file of ``output``.

    ``finished`` makes the network to write of the trained one.
    """
    made = network
    if adapter is not None and values["adapter_form"] != "apart":
        forms: dict[str, Callable[[Network], Network]] = {"merged": adapters.merged, "exposed": adapters.exposed}
        made = forms[values["adapter_form"]](network)
    made = finished(made)
    save(made, values["output"])
    if values["adapter_output"] is not None and adapter is not None:
        save_adapter(adapter, values["adapter_output"])
    return made


def _renew_heads(network: Network, source: Source, values: Settings) -> None:
    classes = values["classes"] or (list(source.classes) if source.classes is not None else None)
    supplied = {} if (count := _class_count(labels_of(source), classes)) is None else {"units": count}
    options = {"seed": values["seed"], "dims": dict(values["dim"] or {})}
    if values["head"] is not None:
        head = FAMILIES.built(FAMILIES["layer"], values["head"], **supplied)
        replace_head(network, head, values["head_at"], values["head_output"], classes=classes, **options)
    elif values["classes"] is not None and values["extra_head"] is None:
        name_classes(network, values["classes"], values["head_output"])
    for name, described in (values["extra_head"] or {}).items():
        if values["head_at"] is None:
            raise InputError("--extra-head needs the layer that it stands behind. Name it with --head-at.")
        head = FAMILIES.built(FAMILIES["layer"], described, **supplied)
        append_head(network, head, values["head_at"], name, classes=classes, **options)


def _class_count(labels: Labels | None, classes: Sequence[str] | None) -> int | None:
    """How many classes a head tells apart, where it does not say."""
    if classes is not None:
        return len(classes)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.size:
        return int(labels.max()) + 1
    return None


def _adapt(network: Network, values: Settings) -> Adapter | None:
    if values["adapter_from"] is not None:
        return adapters.attach(network, read_adapter(values["adapter_from"]))
    if values["adapter"] is not None:
        made: Adapter = FAMILIES.built(FAMILIES["adapter"], {"seed": values["seed"], **values["adapter"]})(network)
        return made
    if values["adapter_output"] is not None:
        raise InputError("--adapter-output needs an adapter. Describe it with --adapter, or name a file of one.")
    return None


def _choose(network: Network, values: Settings, *, beside: bool) -> None:
    """Freeze and unfreeze; ``beside`` adapters, what shall learn is added to them."""
    if (values["train"] or values["train_last"]) and not beside:
        for parameter in network.parameters.values():
            parameter.requires_grad = False
    if values["train"]:
        network.select(*values["train"]).unfreeze()
    if values["train_last"]:
        network.select("*").last(values["train_last"]).unfreeze()
    if values["train_settings"]:
        network.select(*values["train_settings"]).unfreeze(settings=True)
    if values["freeze"]:
        network.select(*values["freeze"]).freeze()
    for name, change in (("lr_factor", Selection.learning_rate), ("decay_factor", Selection.weight_decay)):
        for pattern, factor in (values[name] or {}).items():
            change(network.select(pattern), factor)
    if values["freeze_statistics"]:
        network.select(*values["freeze_statistics"]).freeze_statistics()
    if values["unfreeze_statistics"]:
        network.select(*values["unfreeze_statistics"]).unfreeze_statistics()
