"""Labelled data for training and judging: from files and folders to sources, and the options that say how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.cli.descriptions import parsed
from toolkit.cli.families import FAMILIES
from toolkit.cli.feeds import Arrays
from toolkit.cli.forms import Choice, Described, Either, File, Move, Number, Switch, Text
from toolkit.cli.labelled import Labels, read_labelled
from toolkit.cli.settings import Group, Option
from toolkit.errors import InputError
from toolkit.graph import Network
from toolkit.graph.class_names import class_names
from toolkit.graph.value import Dim
from toolkit.training.data import ArraySource, Augmented, Batches, Source, from_npy, split

Settings = Mapping[str, Any]
CHANNELS: dict[Dim, str] = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Columns:
    """One array of labels, ``KEY``, or several by the names that a loss gives them, ``NAME=KEY,NAME=KEY``."""

    metavar: str | None = "KEY|NAME=KEY,..."

    def plain(self, given: Any, move: Move = str) -> str | dict[str, str]:
        if isinstance(given, str) and "=" not in given:
            return move(given) if given.endswith(".npy") else given
        found = parsed(given, has_kind=False) if isinstance(given, str) else given
        if not isinstance(found, dict) or not all(isinstance(item, str) for item in found.values()):
            raise InputError(f"{self.metavar} is expected, got {given!r}")
        return found


READING = (
    Option("data", File("FILE|FOLDER"), "npz with inputs and labels, csv, npy of inputs, or a folder of images"),
    Option("x", Text("KEY"), "the array in the npz that feeds the only input"),
    Option("y", Columns(), "the array in the npz, csv column or npy file of the labels; several for several losses"),
    Option("images", Described("image folder"), "how images of a folder are read: size, fit, channels, mean, std, ..."),
    Option("batch_size", Number(1), "items per step (default: 64)", 64),
    Option("workers", Number(0), "threads that prepare batches ahead"),
)
TRAINING = (
    Option(
        "validation",
        Either((Number(is_whole=False), File()), "FILE|PART"),
        "held-out data, or the part of --data to hold out, such as 0.2",
    ),
    Option("stratify", Switch(), "hold out every class in proportion (default: where labels are classes)"),
    Option(
        "augment", Described("augmentation"), "random changes to images in training: flip=0.5,rotation=10,shift=0.1"
    ),
    Option(
        "balance",
        Choice(("weights", "sampling")),
        "against unbalanced classes: weigh them in the loss, or draw them alike",
    ),
    Option("shuffle", Switch(), "a new order for each epoch (default)", True),
    Option("drop_last", Switch(), "leave out a last batch that is smaller", False),
)
JUDGING_DATA = Group("data", "data", READING)
TRAINING_DATA = Group("data", "data", READING + TRAINING)


def read_source(network: Network, path: str, values: Settings) -> Source:
    """The data of a file or folder, as ``network`` takes it. Raises ``InputError``."""
    if Path(path).is_dir():
        return _images(network, path, values)
    if Path(path).suffix.lower() == ".npy":
        source: Source = _from_npy(network, path, values["y"])
    else:
        x, labels, classes = read_labelled(network, path, values["x"], values["y"])
        source = ArraySource(x if len(x) > 1 else next(iter(x.values())), labels, classes)
    if (augment := values.get("augment")) is None:
        return source
    scale = 255.0 if isinstance(source, ArraySource) and _is_bright(source.x) else 1.0
    augmentation = FAMILIES.built(FAMILIES["augmentation"], augment)
    return Augmented(source, augmentation, layout=_image_shape(network).get("layout", "NCHW"), scale=scale)


def training_and_held_out(network: Network, values: Settings) -> tuple[Source, Source | None]:
    """The data to train on, and what ``validation`` holds out of it or names beside it. Raises ``InputError``."""
    source, wanted = read_source(network, values["data"], values), values["validation"]
    if wanted is None:
        return source, None
    if isinstance(wanted, str):
        return source, read_source(network, wanted, {**values, "augment": None})
    if not 0 < wanted < 1:
        raise InputError(f"--validation {wanted}: a part between 0 and 1 that leaves items on both sides.")
    return split(source, wanted, stratify=values["stratify"], seed=values["seed"])


def batches_of(source: Source, values: Settings) -> Batches:
    """The batches to train on."""
    return Batches(
        source,
        values["batch_size"],
        drop_last=values["drop_last"],
        workers=values["workers"],
        weights="balanced" if values["balance"] == "sampling" else None,
    )


def labels_of(source: Source) -> Labels | None:
    """The labels of all items where they are known: an array, or arrays by name."""
    return source.targets if isinstance(source, ArraySource) else source.labels


def _from_npy(network: Network, path: str, y: Any) -> Source:
    if not isinstance(y, str) or not y.endswith(".npy"):
        raise InputError(f"{path!r} is a single array: labels are needed too. Name their npy file with --y.")
    if len(network.inputs) != 1:
        raise InputError(f"{path!r} is a single array, the network takes {list(network.inputs)}. Use an npz file.")
    return from_npy(path, y)


def _images(network: Network, path: str, values: Settings) -> Source:
    augment = values.get("augment")
    return FAMILIES.built(
        FAMILIES["image folder"],
        values["images"] or {},
        root=path,
        augmentation=None if augment is None else FAMILIES.built(FAMILIES["augmentation"], augment),
        classes=_order_of_folders(network, path),
        **_image_shape(network),
    )


def _order_of_folders(network: Network, path: str) -> list[str] | None:
    """The names of the network's classes, which give folders of these names their indices; ``None`` for other ones."""
    folders = {item.name for item in Path(path).iterdir() if item.is_dir() and not item.name.startswith(".")}
    known = [names for output in network.outputs if (names := class_names(network, output)) is not None]
    return next((names for names in known if set(names) == folders), None)


def _image_shape(network: Network) -> dict[str, Any]:
    """Size, channels and layout of images as the only input declares them, as far as it does."""
    unit = next(iter(network.inputs.values())).unit_shape
    if unit is None or len(unit) != 3:
        return {}
    layout = "NHWC" if unit[2] in CHANNELS and unit[0] not in CHANNELS else "NCHW"
    channels, *size = unit if layout == "NCHW" else (unit[2], *unit[:2])
    found: dict[str, Any] = {"layout": layout, "channels": CHANNELS.get(channels, "RGB")}
    if all(isinstance(item, int) for item in size):
        found["size"] = tuple(size)
    return found


def _is_bright(x: Arrays | np.ndarray) -> bool:
    """Whether pixels go up to 255 rather than to 1, by the first of them."""
    return isinstance(x, np.ndarray) and bool(x[:16].max() > 2)
