"""One engine in a process of its own: ``python -P racer.py SPECIFICATION``, driven by ``race``.

It is started by its path and imports nothing but the engine it measures. SPECIFICATION is JSON: engine, model (a name
of ``torch_models``), is_training, batch, precision, device (``cuda`` or ``cpu``), folder (of the ONNX files). It
answers with lines of JSON: what it needed to begin, then for every number that it reads, the seconds of so many
iterations.

Every iteration goes from arrays of the host to arrays of the host. ``stream`` and ``resident`` leave copies out of
account: the toolkit's by doing them beside the work, PyTorch's by having its inputs on the device already.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Any]
WARM_UP = 5
CLASSES = {"resnet50": 1000, "bert_base": 2, "lstm": 10, "tiny": 3}
RATE = 1e-4


def arrays_of(specification: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The inputs, which PyTorch's interpreter has written, and labels."""
    name, batch = specification["model"], specification["batch"]
    with np.load(Path(specification["folder"]) / f"{name}_{batch}.npz") as found:
        inputs = {key: found[key] for key in found.files}
    return inputs, np.random.default_rng(0).integers(0, CLASSES[name], batch)


# the toolkit ----------------------------------------------------------------------------------------------------------


def ours(specification: dict[str, Any]) -> Run:
    """``ours``, ``ours.steps`` (kernels launched one by one), ``ours.stream`` (copies beside the work)."""
    import toolkit as tk
    from importers import load

    _, _, variant = specification["engine"].partition(".")
    if variant == "steps":
        from toolkit.backends.cuda.backend import CudaBackend

        CudaBackend.fuse = lambda *given: None
    name, kind = specification["model"], "_train" if specification["is_training"] else ""
    network = load(Path(specification["folder"]) / f"{name}{kind}.onnx")
    inputs, labels = arrays_of(specification)
    how: dict[str, Any] = {"backend": specification["device"], "precision": specification["precision"]}
    if not specification["is_training"]:
        context = network.context(batch_size=specification["batch"], **how)
        if variant == "stream":
            results = context.stream(repeat(inputs))
            return lambda: next(results)
        return lambda: context.run(inputs)
    optimizer = tk.optimizers.SGD(RATE, momentum=0.9) if name == "resnet50" else tk.optimizers.AdamW(RATE)
    trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=optimizer, **how)

    def step() -> float:
        if variant == "stream":
            trainer.expect(inputs, labels)
        return trainer.train_minibatch(inputs, labels)[0]

    return step


# PyTorch --------------------------------------------------------------------------------------------------------------


def pytorch(specification: dict[str, Any]) -> Run:
    """PyTorch, eager or otherwise; with ``.resident`` inputs lie on the device before.

    ``torch.compile`` is compiled, ``torch.reduce`` is that in CUDA graphs, ``torch.graphs`` is eager in one CUDA graph.
    """
    import torch

    made = import_module("torch_models").made
    words = specification["engine"].split(".")[1:]
    device, precision = specification["device"], specification["precision"]
    exact = precision == "float32"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = True
    model = made(specification["model"]).to(device)
    if specification["model"] == "resnet50" and device == "cuda":
        model = model.to(memory_format=torch.channels_last)
    inputs, labels = arrays_of(specification)
    given = [torch.from_numpy(array) for array in inputs.values()]
    target = torch.from_numpy(labels)
    if device == "cuda":
        given, target = [item.pin_memory() for item in given], target.pin_memory()
    placed = [item.to(device) for item in (*given, target)]

    def bring() -> None:
        if "resident" not in words:
            for place, item in zip(placed, (*given, target), strict=True):
                place.copy_(item, non_blocking=True)

    make = _training if specification["is_training"] else _inference
    work = make(torch, model, placed, precision, words)
    if "graphs" in words:
        work = _captured(torch, work)

    def iteration() -> Any:
        bring()
        return work().cpu().numpy()

    return iteration


def _compiled(torch: Any, model: Any, words: list[str]) -> Any:
    if "reduce" in words:
        return torch.compile(model, mode="reduce-overhead")
    return torch.compile(model) if "compile" in words else model


def _cast(torch: Any, precision: str, device: str) -> Any:
    half = {"float16": torch.float16, "bfloat16": torch.bfloat16, "mixed": torch.bfloat16}.get(precision)
    return contextlib.nullcontext() if half is None else torch.autocast(device, half)


def _inference(torch: Any, model: Any, placed: list[Any], precision: str, words: list[str]) -> Run:
    """All in half width, or by ``autocast`` for ``mixed``."""
    half = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision)
    model = model.eval() if half is None else model.eval().to(half)
    forward, inputs = _compiled(torch, model, words), placed[:-1]

    def work() -> Any:
        with torch.inference_mode(), _cast(torch, precision if half is None else "", inputs[0].device.type):
            fitting = [item.to(half) if half is not None and item.is_floating_point() else item for item in inputs]
            return forward(*fitting).float()

    return work


def _training(torch: Any, model: Any, placed: list[Any], precision: str, words: list[str]) -> Run:
    """Parameters of full width, half width by ``autocast``, and a scaled loss for float16."""
    model, device = model.train(), placed[0].device.type
    forward, is_cuda = _compiled(torch, model, words), device == "cuda"
    is_convolutional = any(isinstance(item, torch.nn.Conv2d) for item in model.modules())
    if is_convolutional:
        optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, fused=is_cuda)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), RATE, fused=is_cuda, capturable="graphs" in words)
    scaler = torch.amp.GradScaler(device, enabled=precision == "float16")
    loss_of = torch.nn.CrossEntropyLoss()

    def work() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with _cast(torch, precision, device):
            loss = loss_of(forward(*placed[:-1]), placed[-1])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return work


def _captured(torch: Any, work: Run) -> Run:
    """The work as one CUDA graph, warmed up on another stream before, as PyTorch's manual wants it."""
    if not torch.cuda.is_available():
        raise RuntimeError("CUDA graphs need a GPU")
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def exporter(specification: dict[str, Any]) -> dict[str, Any]:
    """Write the ONNX files and inputs of a model for some batch sizes; returns its figures."""
    models = import_module("torch_models")
    name, folder = specification["model"], Path(specification["folder"])
    for batch in specification["batches"]:
        np.savez(
            folder / f"{name}_{batch}.npz", **{key: item.numpy() for key, item in models.example(name, batch).items()}
        )
    return models.export(name, folder)


# the process ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering() -> Iterator[Callable[[Any], None]]:
    """Standard output for answers alone: what an engine prints goes where errors go."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(content: Any) -> None:
        own.write(json.dumps(content) + "\n")
        own.flush()

    yield answer


def main() -> None:
    specification = json.loads(sys.argv[1])
    with answering() as answer:
        if specification["engine"] == "export":
            answer(exporter(specification))
            return
        started = time.perf_counter()
        make = ours if specification["engine"].startswith("ours") else pytorch
        run = make(specification)
        for _ in range(WARM_UP):
            found = run()
        assert np.isfinite(np.asarray(found if specification["is_training"] else _first(found))).all()
        answer({"ready after": time.perf_counter() - started})
        for line in sys.stdin:
            begun = time.perf_counter()
            for _ in range(int(line)):
                run()
            seconds = (time.perf_counter() - begun) / int(line)
            host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            answer({"seconds": seconds, "host bytes": host})


def _first(found: Any) -> Any:
    return next(iter(found.values())) if isinstance(found, dict) else found


if __name__ == "__main__":
    main()
