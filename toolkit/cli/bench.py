"""``onnx-toolkit bench``: this toolkit side by side with the engines that are installed, each in its own process.

Engines take turns (A B C A B C ...) and wait while another one runs, so that load on the machine meets all of them
and spinning threads disturb nobody.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.cli.arrays import write_npz
from toolkit.cli.bench_process import Engine
from toolkit.cli.bench_profile import write_profile
from toolkit.cli.feeds import Arrays, read_inputs
from toolkit.cli.options import DIM_HINT, add_dims, add_model, add_running, backends, count, read_model
from toolkit.cli.report import Report
from toolkit.compiler.sizes import input_shapes
from toolkit.errors import BackendError, InputError
from toolkit.graph import Network
from toolkit.runtime.context import resources
from toolkit.runtime.feeds import sizes

SUMMARY = "compare speed and memory with other engines"
NEEDS = {"ours": (), "onnxruntime": ("onnxruntime",), "openvino": ("openvino",), "pytorch": ("torch", "onnx2torch")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--batch-size", default="1", help="one size, or several: 1,8,32 (default: 1)")
    add_dims(parser)
    parser.add_argument("--input", metavar="[NAME=]FILE", action="append", help="data instead of random numbers")
    parser.add_argument("--engine", action="append", choices=list(NEEDS), help="default: all that are installed")
    parser.add_argument("--rounds", type=count, default=7, help="turns of each engine (default: 7)")
    parser.add_argument("--iterations", type=count, default=10, help="runs in a turn (default: 10)")
    parser.add_argument("--profile", metavar="STEM", help="write STEM.trace.json (for a trace viewer) and STEM.html")
    add_running(parser)


def execute(options: argparse.Namespace, report: Report) -> int:
    """Run the command; returns the exit status. Raises ``BackendError`` when the toolkit itself could not run."""
    network = read_model(options)
    wanted = options.engine or list(NEEDS)
    absent = {name: _missing(name) for name in wanted if _missing(name)}
    engines = list(dict.fromkeys(["ours", *(name for name in wanted if name not in absent)]))
    results: list[dict[str, Any]] = []
    for feeds in _all_feeds(network, options):
        batch, dims = sizes(network, feeds)
        rows = _race(engines, feeds, batch, dims, options)
        if "error" in rows["ours"]:
            raise BackendError(f"The toolkit could not run the model: {rows['ours']['error']}")
        results.append({"batch_size": batch, "engines": rows})
        _tell(report, batch, rows)
        if options.profile:
            results[-1]["profile"] = _profile(network, feeds, batch, dims, rows, options, report)
    for name, reason in absent.items():
        report.line(f"{name} was left out: {reason}")
    report.result({"model": options.model, "threads": _threads(options), "results": results, "left_out": absent})
    return 0


def _profile(
    network: Network,
    feeds: Arrays,
    batch: int | None,
    dims: dict[str, int],
    rows: dict[str, dict[str, Any]],
    options: argparse.Namespace,
    report: Report,
) -> list[str]:
    """Write trace and page of one batch size; returns their paths."""
    context = network.context(batch_size=batch, dims=dims, threads=_threads(options), backend=backends(options))
    several = len(options.batch_size.split(",")) > 1
    stem = f"{options.profile}-b{batch}" if several else options.profile
    title = f"{Path(options.model).name}, batch size {batch if batch is not None else 'fixed by the file'}"
    paths = [str(path) for path in write_profile(stem, title, context, feeds, options.iterations, rows)]
    report.line(f"The profile is in {' and '.join(paths)}.")
    return paths


def _missing(engine: str) -> str:
    lacking = [name for name in NEEDS[engine] if find_spec(name) is None]
    if not lacking:
        return ""
    why = " (PyTorch reads no ONNX files itself)" if lacking == ["onnx2torch"] else ""
    return f"{' and '.join(lacking)} is not installed{why}"


def _threads(options: argparse.Namespace) -> int:
    return resources(options.threads, 0, False).threads


def _all_feeds(network: Network, options: argparse.Namespace) -> list[Arrays]:
    """One set of feeds per batch size; numbers drawn from a normal distribution, integers from 0 and 1."""
    if options.input:
        return [read_inputs(network, options.input)]
    found = []
    for text in options.batch_size.split(","):
        if not text.strip().isdigit() or int(text) < 1:
            raise InputError(f"--batch-size {options.batch_size}: whole numbers of at least 1 with commas between.")
        random = np.random.default_rng(0)
        try:
            shapes = input_shapes(network, int(text), dict(options.dim))
        except InputError as error:
            raise InputError(f"{error}{DIM_HINT}") from error
        found.append({name: _random(random, network, name, shape) for name, shape in shapes.items()})
    return found


def _random(random: np.random.Generator, network: Network, name: str, shape: tuple[int, ...] | None) -> np.ndarray:
    dtype = network.inputs[name].dtype
    if dtype is None or shape is None or dtype.kind not in "iubfV":
        raise InputError(f"Input {name!r} {network.inputs[name].describe()}: pass real data with --input.")
    drawn = random.integers(0, 2, shape) if dtype.kind in "iub" else random.standard_normal(shape, np.float32)
    return drawn.astype(dtype)


def _race(
    names: list[str], feeds: Arrays, batch: int | None, dims: dict[str, int], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Figures, or the error, of each engine."""
    with tempfile.TemporaryDirectory() as folder:
        write_npz(f"{folder}/feeds.npz", feeds)
        shared = {
            "model": str(Path(options.model).resolve()),
            "feeds": f"{folder}/feeds.npz",
            "batch_size": batch,
            "dims": dims,
            "threads": _threads(options),
            "backend": backends(options),
        }
        engines = [Engine(name, {**shared, "outputs": f"{folder}/{name}.npz"}) for name in names]
        try:
            for engine in engines:
                engine.wait_until_ready()
            for _ in range(options.rounds):
                for engine in engines:
                    engine.take_turn(options.iterations)
        finally:
            for engine in engines:
                engine.close()
        own = engines[0]
        return {engine.name: _figures(engine, own, batch) for engine in engines}


def _figures(engine: Engine, own: Engine, batch: int | None) -> dict[str, Any]:
    if engine.error or own.error:
        return {"error": engine.error or "not compared"}
    median = statistics.median(engine.rounds)
    paired = [mine / theirs for mine, theirs in zip(own.rounds, engine.rounds, strict=True)]
    return {
        "median_ms": median * 1e3,
        "minimum_ms": min(engine.rounds) * 1e3,
        "maximum_ms": max(engine.rounds) * 1e3,
        "items_per_second": (batch or 1) / median,
        "ratio": statistics.median(own.rounds) / median,
        "ratio_minimum": min(paired),
        "ratio_maximum": max(paired),
        "peak_mib": engine.peak_bytes / 2**20,
        "first_result_seconds": engine.first_result_seconds,
        "largest_difference": _difference(engine.outputs(), own.outputs()),
    }


def _difference(theirs: Arrays, mine: Arrays) -> float | None:
    """The largest absolute difference of any output that both have in the same shape."""
    shared = [name for name in mine if name in theirs and mine[name].shape == theirs[name].shape]
    gaps = [np.abs(mine[name].astype(np.float64) - theirs[name]).max(initial=0.0) for name in shared]
    return float(max(gaps)) if gaps else None


def _tell(report: Report, batch: int | None, rows: dict[str, dict[str, Any]]) -> None:
    columns = ("ms", "min", "max", "items/s", "ours / it", "min", "max", "peak MiB", "first result s", "difference")
    cells = []
    for name, row in rows.items():
        if "error" in row:
            report.line(f"{name} failed: {row['error']}")
            continue
        gap = row["largest_difference"]
        cells.append(
            [name]
            + [f"{row[key]:.3f}" for key in ("median_ms", "minimum_ms", "maximum_ms")]
            + [f"{row['items_per_second']:,.0f}"]
            + [f"{row[key]:.3f}" for key in ("ratio", "ratio_minimum", "ratio_maximum")]
            + [f"{row['peak_mib']:,.0f}", f"{row['first_result_seconds']:.2f}", "" if gap is None else f"{gap:.1e}"]
        )
    report.line(f"batch size {batch if batch is not None else 'fixed by the file'}")
    report.table(("engine", *columns), cells, right=columns)
