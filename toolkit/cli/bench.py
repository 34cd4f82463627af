"""``onnx-toolkit bench``: this toolkit side by side with the engines that are installed, on one model or many."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from importers import load
from toolkit.cli.bench_feeds import all_feeds, model_files, titles
from toolkit.cli.bench_profile import write_profile
from toolkit.cli.bench_race import NEEDS, OWN, lacking_modules, race, threads
from toolkit.cli.bench_table import Result, sized, tell_engines, tell_models, write_page
from toolkit.cli.feeds import Arrays
from toolkit.cli.options import add_batch_axis, add_dims, add_running, backends, count, seconds
from toolkit.cli.report import Report
from toolkit.errors import BackendError, InputError, ToolkitError
from toolkit.graph import Network
from toolkit.runtime.feeds import sizes


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("models", metavar="MODEL", nargs="+", help="an ONNX file, or a folder with ONNX files in it")
    add_batch_axis(parser)
    parser.add_argument("--batch-size", help="one size, or several: 1,8,32 (default: as recorded, or 1)")
    add_dims(parser)
    parser.add_argument(
        "--input",
        metavar="[NAME=]FILE",
        action="append",
        help="data instead of arrays in:NAME of an npz file beside the model, or of random numbers",
    )
    parser.add_argument("--engine", action="append", choices=list(NEEDS), help="default: all that are installed")
    parser.add_argument("--peer-python", metavar="FILE", help="the interpreter that runs the other engines")
    parser.add_argument("--rounds", type=count, default=7, help="turns of each engine (default: 7)")
    parser.add_argument("--iterations", type=count, help="runs in a turn (default: what takes about 0.1 s)")
    parser.add_argument(
        "--rest", metavar="SECONDS", type=seconds, default=0.1, help="pause before each turn (default: 0.1)"
    )
    parser.add_argument("--profile", metavar="STEM", help="write STEM.trace.json (for a trace viewer) and STEM.html")
    parser.add_argument("--page", metavar="FILE", help="write the figures of all models as an HTML page with charts")
    add_running(parser)


def execute(options: argparse.Namespace, report: Report) -> int:
    """Run the command; returns the exit status.

    Raises ``BackendError`` when the toolkit could not run a model, after all others are told.
    """
    paths = model_files(options.models)
    if len(paths) > 1 and options.input:
        raise InputError(f"--input is for one model, there are {len(paths)}: put npz files beside them.")
    lacking = lacking_modules(options.peer_python)
    wanted = options.engine or list(NEEDS)
    absent = {name: lacking[name] for name in wanted if name in lacking}
    engines = list(dict.fromkeys([OWN, *(name for name in wanted if name not in absent)]))
    results: list[Result] = []
    with _watched(len(paths)) as progress:
        for path, title in zip(paths, titles(paths), strict=True):
            progress.update(progress.task_ids[0], description=title)
            results += _measured(path, title, engines, options, report, len(paths) > 1)
            progress.advance(progress.task_ids[0])
    if len(paths) > 1:
        tell_models(report, results)
    if options.page:
        write_page(Path(options.page), results)
        report.line(f"The figures are in {options.page}.")
    for name, reason in absent.items():
        report.line(f"{name} was left out: {reason}")
    report.result({"threads": threads(options), "models": _by_model(results), "left_out": absent})
    failed = [f"{result.title}: {result.error}" for result in results if result.error]
    if failed:
        raise BackendError(f"The toolkit could not run {len(failed)} of {len(paths)} models: {' '.join(failed)}")
    return 0


def _measured(
    path: Path, title: str, engines: list[str], options: argparse.Namespace, report: Report, is_one_of_many: bool
) -> Iterator[Result]:
    """The results of one model, a batch size at a time. Among many a model that fails is told, alone it is an error."""
    try:
        network = load(path, batch_axis=dict(options.batch_axis))
        for feeds in all_feeds(network, path, options):
            batch, dims = sizes(network, feeds)
            rows = race(engines, str(path.resolve()), feeds, (batch, dims), options)
            if "error" in rows[OWN]:
                raise BackendError(f"The toolkit could not run the model: {rows[OWN]['error']}")
            result = Result(title, str(path), batch, rows)
            if not is_one_of_many:
                tell_engines(report, result)
            if options.profile:
                stem = f"{options.profile}-{title.replace('/', '-')}" if is_one_of_many else options.profile
                _profile(stem, network, feeds, result, options, report)
            yield result
    except ToolkitError as error:
        if not is_one_of_many:
            raise
        yield Result(title, str(path), None, {}, str(error))


def _profile(
    stem: str, network: Network, feeds: Arrays, result: Result, options: argparse.Namespace, report: Report
) -> None:
    """Write trace and page of one batch size, and note their paths with the toolkit's figures."""
    batch, dims = sizes(network, feeds)
    context = network.context(batch_size=batch, dims=dims, threads=threads(options), backend=backends(options))
    several = options.batch_size is not None and "," in options.batch_size
    stem = f"{stem}-b{batch}" if several else stem
    heading = f"{Path(result.model).name}, batch size {sized(batch)}"
    written = write_profile(stem, heading, context, feeds, options.iterations or 10, result.rows)
    result.rows[OWN]["profile"] = [str(path) for path in written]
    report.line(f"The profile is in {' and '.join(map(str, written))}.")


def _by_model(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The results as JSON has them: one entry a model, one result a batch size."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        entry = found.setdefault(result.model, {"model": result.model, "results": []})
        if result.error:
            entry["error"] = result.error
        else:
            entry["results"].append({"batch_size": result.batch_size, "engines": result.rows, "why": result.reason})
    return list(found.values())


@contextmanager
def _watched(count: int) -> Iterator[Progress]:
    """A bar over the models, on standard error and only where somebody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task("", total=count)
        yield progress
