"""``onnx-toolkit run``: arrays in, outputs out."""

from __future__ import annotations

import argparse
import time

import numpy as np

from toolkit.cli.arrays import flat, write_npz
from toolkit.cli.feeds import Arrays, read_inputs
from toolkit.cli.options import add_model, add_running, backends, count, read_model
from toolkit.cli.report import Report, figure
from toolkit.errors import InputError
from toolkit.graph import Network


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument(
        "--input",
        metavar="[NAME=]FILE",
        action="append",
        required=True,
        help="npz, npy or csv for an input; an npz without NAME holds arrays by input name",
    )
    parser.add_argument("--output", metavar="FILE.npz", help="where to write the outputs, by name")
    parser.add_argument("--batch-size", type=count, help="run in batches of this many items (default: all at once)")
    add_running(parser)


def execute(options: argparse.Namespace, report: Report) -> int:
    """Run the command; returns the exit status."""
    network = read_model(options)
    feeds = read_inputs(network, options.input)
    start = time.perf_counter()
    outputs = flat(run_in_batches(network, feeds, options))
    seconds = time.perf_counter() - start
    if options.output:
        write_npz(options.output, outputs)
    described = {name: _describe(array) for name, array in outputs.items()}
    columns = ("dtype", "shape", "minimum", "mean", "maximum")
    report.table(
        ("output", *columns),
        [[name, *(_cell(row.get(column)) for column in columns)] for name, row in described.items()],
        right=columns[2:],
    )
    if options.output:
        report.line(f"written to {options.output}")
    report.result({"model": options.model, "output": options.output, "seconds": seconds, "outputs": described})
    return 0


def run_in_batches(network: Network, feeds: Arrays, options: argparse.Namespace) -> Arrays:
    """All outputs, computed ``--batch-size`` items at a time where that is given.

    Raises ``InputError`` when the network has no batch axis to cut along.
    """
    arguments = {"backend": backends(options), "threads": options.threads}
    axes = {name: value.batch_axis for name, value in network.inputs.items()}
    if options.batch_size is None:
        return network.run(feeds, **arguments)
    into = {name: value.batch_axis for name, value in network.outputs.items()}
    unknown = [name for name, axis in {**axes, **into}.items() if axis is None]
    if unknown:
        raise InputError(f"--batch-size: {unknown} have no batch axis to cut along. Leave the option out.")
    items = max(feeds[name].shape[axis] for name, axis in axes.items() if axis is not None)
    parts = []
    for first in range(0, items, options.batch_size):
        rows = range(first, min(first + options.batch_size, items))
        parts.append(network.run({name: feeds[name].take(rows, axis) for name, axis in axes.items()}, **arguments))
    return {name: np.concatenate([part[name] for part in parts], axis or 0) for name, axis in into.items()}


def _describe(array: np.ndarray) -> dict[str, object]:
    row: dict[str, object] = {"dtype": "string" if array.dtype == object else array.dtype.name, "shape": array.shape}
    if array.size and (array.dtype.kind in "iuf" or array.dtype.name == "bfloat16"):
        wide = array.astype(np.float64)
        row |= {"minimum": float(wide.min()), "mean": float(wide.mean()), "maximum": float(wide.max())}
    return row


def _cell(item: object) -> str:
    return "" if item is None else figure(item) if isinstance(item, float) else str(item)
