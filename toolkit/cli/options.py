"""Options that several commands share: the model, where it runs, and its sizes."""

from __future__ import annotations

import argparse

from importers import load
from toolkit.graph import Network

DIM_HINT = " On the command line: --dim NAME=SIZE."


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model file, and what may have to be said to read it."""
    parser.add_argument("model", metavar="MODEL", help="the ONNX file")
    add_batch_axis(parser)


def add_batch_axis(parser: argparse.ArgumentParser) -> None:
    """Which axis counts items, where the file does not tell."""
    parser.add_argument(
        "--batch-axis",
        metavar="NAME=AXIS",
        action="append",
        default=[],
        type=_axis,
        help="the axis of an input or output that counts items, or none, where the file is taken wrongly",
    )


def read_model(options: argparse.Namespace) -> Network:
    """The network of the model file. Raises ``ModelError``."""
    return load(options.model, batch_axis=dict(options.batch_axis))


def add_running(parser: argparse.ArgumentParser) -> None:
    """Where and how it runs."""
    parser.add_argument("--backend", default="cpu", help="cpu, numpy, or a list such as cuda,cpu (default: cpu)")
    parser.add_argument("--threads", type=count, help="processors to use (default: all)")


def add_dims(parser: argparse.ArgumentParser) -> None:
    """Sizes of symbolic dimensions."""
    parser.add_argument(
        "--dim", metavar="NAME=SIZE", action="append", default=[], type=_dim, help="size of a symbolic dimension"
    )


def count(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is expected, got {text!r}")
    return number


def seconds(text: str) -> float:
    """A time of at least 0 seconds."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds of at least 0 is expected, got {text!r}")
    return number


def _dim(text: str) -> tuple[str, int]:
    name, equals, size = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"NAME=SIZE is expected, got {text!r}")
    return name, count(size)


def _axis(text: str) -> tuple[str, int | None]:
    name, _, axis = text.rpartition("=")
    if not name or not (axis == "none" or axis.isdigit()):
        raise argparse.ArgumentTypeError(f"NAME=AXIS or NAME=none is expected, got {text!r}")
    return name, None if axis == "none" else int(axis)


def backends(options: argparse.Namespace) -> list[str]:
    """The preference list of ``--backend``."""
    return [name.strip() for name in options.backend.split(",")]
