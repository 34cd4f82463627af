"""Everything that only a GPU can tell, as one command whose result is a JSON file.

    python -m tests.cuda.on_device --output tests/cuda/measured --models FOLDER --torch PYTHON --sanitize

Case rows against their references; gradients of layers, and models against the backend ``numpy``: their values in every
precision, their gradients, and the losses of training steps; times of ``--timed`` models; with ``--torch``, the
interpreter that has PyTorch, a race against it; with ``--sanitize``, what compute-sanitizer says. Nothing stops at a
failure: it is counted, and named with its reason. ``--backend cpu`` tries the script itself on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.progress import track

import toolkit as tk
from importers import load
from tests.cases import all_cases
from tests.cuda.race import ENGINES, race
from tests.cuda.sanitizer import sanitized
from tests.support.placed import agrees, is_planned
from toolkit import layers
from toolkit.backends.cuda.device import device
from toolkit.backends.registry import resolve
from toolkit.errors import NotDifferentiableError, ToolkitError
from toolkit.files import write_text
from toolkit.operators import load_everything

BATCHES = (1, 8, 64, 256)
TOLERANCE = 1e-4  # of float32 sums in another order
PRECISIONS = ("float32", "tf32", "float16", "bfloat16", "mixed")
WARM, ROUNDS, LEAST_SECONDS, STEPS = 3, 5, 0.3, 3


def attempt(work: Callable[[], Any]) -> Any:
    """What ``work`` gives, or why it gives nothing."""
    try:
        return work()
    except (AssertionError, ToolkitError, RuntimeError, ValueError, TypeError, OSError) as error:
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"}


def case_rows(backend: str, limit: int) -> dict[str, Any]:
    """How many rows the first backend takes, and which of them disagree with their references."""
    backends, met, failed = resolve(backend), 0, {}
    for case in track([case for case in all_cases() if is_planned(case)][:limit], "case rows"):
        found = attempt(lambda case=case: agrees(case, backends, tolerance=TOLERANCE))
        if isinstance(found, dict):
            failed[case.id] = found["failed"]
        else:
            met += found
    return {"agree": met, "failed": failed}


def models(backend: str, folder: Path, limit: int) -> dict[str, Any]:
    """Each model on its recorded inputs, against numpy: values by precision, gradients, and a few training steps."""
    names = sorted(path.parent.name for path in folder.glob("*/ort_ref.npz"))[:limit]
    return {
        name: {
            "difference": attempt(lambda name=name: _values(backend, folder / name)),
            "training": attempt(lambda name=name: _training(backend, folder / name)),
        }
        for name in track(names, "models")
    }


def _read(folder: Path) -> tuple[tk.Network, dict[str, np.ndarray]]:
    with np.load(folder / "ort_ref.npz", allow_pickle=True) as recorded:
        inputs = {key.removeprefix("in:"): recorded[key] for key in recorded.files if key.startswith("in:")}
    return load(folder / "model.onnx"), inputs


def _values(backend: str, folder: Path) -> dict[str, Any]:
    """The largest difference of each output from numpy's, by precision; of a second run, which may be a CUDA graph."""
    network, inputs = _read(folder)
    expected = network.run(inputs, backend="numpy")

    def differences(precision: str) -> dict[str, float | str]:
        for _ in range(2):
            found = network.run(inputs, backend=backend, precision=precision)
        return {name: _difference(found[name], array) for name, array in expected.items()}

    return {precision: attempt(lambda precision=precision: differences(precision)) for precision in PRECISIONS}


def _training(backend: str, folder: Path) -> dict[str, Any]:
    """The largest difference of gradients, and of the losses of some steps, where anything learns."""
    made = {}
    for name in ("numpy", backend):
        network, inputs = _read(folder)
        tensors = {key: value for key, value in network.outputs.items() if value.kind == "tensor"}
        numbers = [key for key, value in tensors.items() if value.dtype in (np.float32, np.float64)]
        if not numbers:
            return {"nothing": "no output is a tensor of floating-point numbers"}
        wanted = network.run(inputs, backend="numpy", outputs=numbers[:1])[numbers[0]]
        loss, optimizer = tk.losses.MeanSquaredError(output=numbers[0]), tk.optimizers.SGD(1e-3)
        try:
            trainer = tk.Trainer(network, loss=loss, optimizer=optimizer, backend=name)
            gradients = trainer.gradients(inputs, wanted * 0.9 + 0.1)
        except NotDifferentiableError as error:
            return {"nothing": str(error)[:200]}
        losses = [trainer.train_minibatch(inputs, wanted * 0.9 + 0.1)[0] for _ in range(STEPS)]
        made[name] = gradients, losses
    (expected, first), (found, second) = made["numpy"], made[backend]
    return {
        "gradients": max((_difference(found[key], array) for key, array in expected.items()), default=0.0),
        "losses": _difference(np.asarray(second), np.asarray(first)),
    }


def gradients(backend: str) -> dict[str, Any]:
    """Layers that keep memory of their own for the way back: their gradients, against numpy."""
    made = {
        "LSTM": layers.LSTM(5),
        "LSTM both ways": layers.LSTM(5, 2, bidirectional=True),
        "GRU": layers.GRU(5),
        "GRU both ways": layers.GRU(5, bidirectional=True),
        "RNN": layers.RNN(5),
        "RNN both ways": layers.RNN(5, bidirectional=True),
    }
    return {name: attempt(lambda layer=layer: _gradients(layer, backend)) for name, layer in made.items()}


def _gradients(layer: Any, backend: str) -> dict[str, Any]:
    """The largest difference of each, in the second step, where what can be fused is."""
    network, random = layers.Sequential([layer]).network((4, 3)), np.random.default_rng(0)
    x = random.standard_normal((2, 4, 3)).astype(np.float32)
    found = []
    for own in ("numpy", backend):
        context = network.context(batch_size=2, training=True, backend=own)
        for _ in range(2):
            ((name, y),) = context.forward(x).items()
            grads = context.backward({name: np.cos(np.arange(y.size)).reshape(y.shape)})
        found.append(grads["inputs"] | grads["parameters"])
    return {name: _difference(found[1][name], array) for name, array in found[0].items()}


def _difference(found: Any, expected: Any) -> float | str:
    """The largest difference, as a part of the largest number."""
    if not isinstance(expected, np.ndarray) or expected.dtype == object:
        return "equal" if str(found) == str(expected) else "different"
    given, wanted = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.abs(given - wanted).max(initial=0) / (np.abs(wanted).max(initial=0) or 1))


def times(backend: str, path: Path) -> dict[str, Any]:
    """Milliseconds of inference by batch size and precision, medians with the least and the most of all rounds."""
    network = load(path)
    return {
        f"batch {size}, {precision}": attempt(
            lambda size=size, precision=precision: _time(network, size, precision, backend)
        )
        for size in BATCHES
        for precision in PRECISIONS
    }


def _time(network: tk.Network, size: int, precision: str, backend: str) -> dict[str, Any]:
    context = network.context(batch_size=size, backend=backend, precision=precision)
    feeds = {name: np.zeros(shape, network.inputs[name].dtype) for name, shape in context.shapes.items()}
    for _ in range(WARM):
        context.run(feeds)
    rounds = []
    for _ in range(ROUNDS):
        runs, started = 0, time.perf_counter()
        while time.perf_counter() - started < LEAST_SECONDS:
            context.run(feeds)
            runs += 1
        rounds.append(1e3 * (time.perf_counter() - started) / runs)
    placed = Counter(step.backend for step in context.explain().steps)
    return {"median": median(rounds), "least": min(rounds), "most": max(rounds), "steps": dict(placed)}


def arguments() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(description="Check the backend cuda on this machine's GPU.")
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--output", type=Path, required=True, help="folder of the JSON file")
    parser.add_argument("--models", type=Path, help="folder of models with recorded inputs, NAME/model.onnx")
    parser.add_argument("--timed", type=Path, nargs="*", default=[], help="models whose times are taken")
    parser.add_argument("--limit", type=int, default=1 << 30, help="of rows and models, to try the script")
    parser.add_argument("--sanitize", action="store_true", help="repeat case rows under compute-sanitizer")
    parser.add_argument("--torch", help="an interpreter that has PyTorch, to race against")
    parser.add_argument("--race", nargs="*", default=["resnet50", "bert_base", "lstm"], help="the models in the race")
    parser.add_argument("--batches", type=int, nargs="*", default=list(BATCHES))
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=ENGINES)
    return parser


def main() -> None:
    """Run what was asked for and write the file."""
    options = arguments().parse_args()
    load_everything()
    found: dict[str, Any] = {"machine": platform.platform(), "backend": options.backend, "date": time.strftime("%F")}
    found["device"] = attempt(lambda: device().name) if options.backend == "cuda" else platform.processor()
    found["case rows"] = case_rows(options.backend, options.limit)
    found["gradients"] = gradients(options.backend)
    if options.models:
        found["models"] = models(options.backend, options.models, options.limit)
    found["times"] = {path.stem: attempt(lambda path=path: times(options.backend, path)) for path in options.timed}
    if options.sanitize:
        with TemporaryDirectory() as folder:
            again = ["--backend", options.backend, "--limit", str(options.limit), "--output", folder]
            found["sanitizer"] = sanitized(again)
    if options.torch:
        what = options.race, options.batches, options.precisions, options.engines
        place = "cuda" if options.backend == "cuda" else "cpu"
        found["race"] = attempt(lambda: race(*what, place, options.torch))
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / f"{options.backend}-{found['date']}.json", json.dumps(found, indent=1))
    print(f"rows: {found['case rows']['agree']} agree, {len(found['case rows']['failed'])} do not")


if __name__ == "__main__":
    main()
