"""One inference engine in a process of its own: ``python -P bench_engine.py SPECIFICATION``, driven by ``bench``.

It is started by its path and loads nothing but the engine it measures, so that its peak memory is the engine's alone.
SPECIFICATION is JSON: engine, model, feeds and outputs (npz files), batch_size, dims, batch_axis, threads, backend. It
answers every line of standard input with a line of JSON. ``12`` are twelve iterations: the seconds of each, and the
peak of memory. ``profile 12`` asks for the steps of a run: operator, backend, and the median milliseconds.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

Arrays = dict[str, np.ndarray]
Runner = Callable[[], Arrays]
Steps = list[tuple[str, str, float]]
Profiler = Callable[[int], Steps]
BODIED = ("If", "Loop", "Scan", "SequenceMap")  # the steps of their bodies are steps too
WARM_UP = 3  # runs before anything is measured


def no_profile(runs: int) -> Steps:
    """What engines that say nothing about their steps answer."""
    return []


def ours(specification: dict[str, Any], feeds: Arrays) -> tuple[Runner, Profiler]:
    """The toolkit."""
    from importers import load

    context = load(specification["model"], batch_axis=specification["batch_axis"]).context(
        batch_size=specification["batch_size"],
        dims=specification["dims"],
        threads=specification["threads"],
        backend=specification["backend"],
    )

    def profile(runs: int) -> Steps:
        context.profile()
        for _ in range(runs):
            context.run(feeds)
        steps = context.explain().steps
        context.profile(False)
        return own_times([(step.operator, step.backend, step.layer, step.milliseconds or 0.0) for step in steps])

    return lambda: context.run(feeds), profile


def own_times(steps: list[tuple[str, str, str, float]]) -> Steps:
    """Operator, backend and time of steps that are told with their layer: bodies in a layer are told beside it."""
    found = []
    for operator, backend, layer, taken in steps:
        inside = sum(other for _, _, name, other in steps if name.startswith(f"{layer}/"))
        found.append((operator, backend, max(0.0, taken - inside) if operator in BODIED else taken))
    return found


def onnxruntime(specification: dict[str, Any], feeds: Arrays) -> tuple[Runner, Profiler]:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = specification["threads"]
    session = onnxruntime.InferenceSession(specification["model"], options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, feeds), strict=True)), no_profile


def openvino(specification: dict[str, Any], feeds: Arrays) -> tuple[Runner, Profiler]:
    """OpenVINO on the CPU, in float32."""
    import openvino

    core = openvino.Core()
    model = core.read_model(specification["model"])
    model.reshape({name: list(array.shape) for name, array in feeds.items()})
    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": specification["threads"],
    }
    request = core.compile_model(model, "CPU", hints).create_infer_request()

    def run() -> Arrays:
        found = request.infer(feeds, share_inputs=True, share_outputs=True)
        return {output.get_any_name(): array for output, array in found.items()}

    return run, no_profile


def pytorch(specification: dict[str, Any], feeds: Arrays) -> tuple[Runner, Profiler]:
    """PyTorch, on the module that onnx2torch makes of the file."""
    import onnx
    import onnx2torch
    import torch

    torch.set_num_threads(specification["threads"])
    model = onnx.load(specification["model"])
    names = [output.name for output in model.graph.output]
    module = onnx2torch.convert(model).eval()
    tensors = [torch.from_numpy(array) for array in feeds.values()]

    def run() -> Arrays:
        with torch.inference_mode():
            found = module(*tensors)
        results = found if isinstance(found, (tuple, list)) else (found,)
        return {name: item.numpy() for name, item in zip(names, results, strict=True)}

    return run, no_profile


ENGINES = {"ours": ours, "onnxruntime": onnxruntime, "openvino": openvino, "pytorch": pytorch}


def peak_memory() -> int:
    """The most bytes that this process has had in memory; not what its parent had when it was started."""
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def serve(specification: dict[str, Any], answers: TextIO) -> None:
    """Load, warm up, keep the outputs for comparison, then run on demand."""

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    with np.load(specification["feeds"], allow_pickle=False) as archive:
        feeds = {name: archive[name] for name in archive.files}
    start = time.perf_counter()
    run, profile = ENGINES[specification["engine"]](specification, feeds)
    outputs = run()
    loading = time.perf_counter() - start
    with open(specification["outputs"], "wb") as file:
        arrays = {name: item for name, item in outputs.items() if isinstance(item, np.ndarray) and item.dtype != object}
        kept = {f"output {name}": array for name, array in arrays.items()}
        np.savez(file, allow_pickle=False, **kept)
    warm = 0.0
    for _ in range(WARM_UP):
        start = time.perf_counter()
        run()
        warm = time.perf_counter() - start
    answer({"first_result_seconds": loading, "warm_seconds": warm})
    for line in sys.stdin:
        if line.startswith("profile "):
            answer({"steps": profile(int(line.removeprefix("profile ")))})
            continue
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        answer({"seconds": seconds, "peak_bytes": peak_memory()})


if __name__ == "__main__":
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what an engine prints must not mix with the answers
    serve(json.loads(sys.argv[1]), own)
