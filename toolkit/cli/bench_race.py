"""The race: engines on one model and one set of feeds, each in its own process, turn by turn with a rest between turns.

Engines take turns (A B C A B C ...) and wait while another one runs, so that load on the machine meets all of them. The
rest is for the threads of the engine before, which go on spinning for a while after its last run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from typing import Any

import numpy as np

from toolkit.cli.arrays import write_npz
from toolkit.cli.bench_process import Engine
from toolkit.cli.bench_reason import reason
from toolkit.cli.feeds import Arrays
from toolkit.cli.options import backends
from toolkit.errors import InputError
from toolkit.runtime.context import resources

OWN = "ours"
NEEDS = {OWN: (), "onnxruntime": ("onnxruntime",), "openvino": ("openvino",), "pytorch": ("torch", "onnx2torch")}
TURN_SECONDS = 0.1  # how long a turn takes about where nobody says how many runs it has
FEWEST_RUNS, MOST_RUNS = 3, 2000
Rows = dict[str, dict[str, Any]]


def threads(options: argparse.Namespace) -> int:
    """Processors that every engine is to use."""
    return resources(options.threads, 0, False).threads


def lacking_modules(python: str | None) -> dict[str, str]:
    """Why an engine cannot take part, for those that cannot: what this interpreter, or another one, cannot import."""
    modules = sorted({name for names in NEEDS.values() for name in names})
    absent = _absent(modules, python)
    found = {}
    for engine, needed in NEEDS.items():
        lacking = [name for name in needed if name in absent]
        if lacking:
            why = " (PyTorch reads no ONNX files itself)" if lacking == ["onnx2torch"] else ""
            found[engine] = f"{' and '.join(lacking)} is not installed{why}"
    return found


def _absent(modules: list[str], python: str | None) -> set[str]:
    if python is None:
        return {name for name in modules if find_spec(name) is None}
    program = "import json, sys; from importlib.util import find_spec as f; "
    program += "print(json.dumps([name for name in sys.argv[1:] if f(name) is None]))"
    try:
        done = subprocess.run([python, "-c", program, *modules], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"--peer-python {python}: it is no Python interpreter that runs ({error}).") from error
    return set(json.loads(done.stdout))


def race(
    names: list[str], model: str, feeds: Arrays, sizes: tuple[int | None, dict[str, int]], options: argparse.Namespace
) -> Rows:
    """Figures, or the error, of each engine; the first one is the toolkit, which also says where its time goes."""
    batch, dims = sizes
    with tempfile.TemporaryDirectory() as folder:
        write_npz(f"{folder}/feeds.npz", feeds)
        shared = {
            "model": model,
            "feeds": f"{folder}/feeds.npz",
            "batch_size": batch,
            "dims": dims,
            "batch_axis": dict(options.batch_axis),
            "threads": threads(options),
            "backend": backends(options),
        }
        engines: list[Engine] = []
        try:
            for name in names:  # one after the other, so that loading is not slowed down by others that load
                python = sys.executable if name == OWN or options.peer_python is None else options.peer_python
                engines.append(Engine(name, {**shared, "outputs": f"{folder}/{name}.npz"}, python))
                engines[-1].wait_until_ready()
            for _ in range(options.rounds):
                for engine in engines:
                    time.sleep(options.rest)
                    engine.take_turn(options.iterations or _runs(engine))
            own = engines[0]
            steps = own.steps(_runs(own))
        finally:
            for engine in engines:
                engine.close()
        rows = {engine.name: _figures(engine, own, batch) for engine in engines}
        if "error" not in rows[OWN]:
            rows[OWN]["where"] = reason(steps, rows[OWN]["median_ms"])
        return rows


def fastest_peer(rows: Rows) -> str | None:
    """The engine beside the toolkit that took the least time, ``None`` where none could run."""
    able = [name for name, row in rows.items() if name != OWN and "error" not in row]
    return min(able, key=lambda name: rows[name]["median_ms"], default=None)


def _runs(engine: Engine) -> int:
    return min(max(int(TURN_SECONDS / max(engine.warm_seconds, 1e-9)), FEWEST_RUNS), MOST_RUNS)


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
    """The largest absolute difference of any numeric output that both have in the same shape."""
    shared = [
        name
        for name in mine
        if name in theirs and mine[name].shape == theirs[name].shape and theirs[name].dtype.kind in "biuf"
    ]
    gaps = [np.abs(mine[name].astype(np.float64) - theirs[name]).max(initial=0.0) for name in shared]
    return float(max(gaps)) if gaps else None
