"""What the driver layer does on a driver that has host memory for a device; run by itself, the driver loaded first.

python -m tests.cuda.driver_check LIBCUDA LOG
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from toolkit.backends.cuda import library


def memory() -> dict[str, Any]:
    """Blocks are freed with their last buffer, whichever thread drops it."""
    from toolkit.backends.cuda.device import device
    from toolkit.backends.cuda.layouts import on_device
    from toolkit.backends.cuda.memory import DeviceMemory

    owner, lender = device(), DeviceMemory()
    free = owner.free_nbytes
    block = lender.allocate(1 << 20)
    buffers = [lender.buffer(on_device(np.dtype(np.float32), (8,)), block, 256)]
    taken = free - owner.free_nbytes
    del block
    held = free - owner.free_nbytes
    dropping = threading.Thread(target=buffers.clear)
    dropping.start()
    dropping.join()
    gc.collect()
    return {"taken": taken, "held by a buffer": held, "left": free - owner.free_nbytes}


def copies() -> dict[str, Any]:
    """What goes to the device in pinned memory comes back."""
    from toolkit.backends.cuda.device import device
    from toolkit.backends.cuda.layouts import on_device
    from toolkit.backends.cuda.memory import DeviceMemory, filled
    from toolkit.backends.cuda.queue import queue_of
    from toolkit.backends.cuda.transfer import transfer
    from toolkit.backends.host import HostBuffer
    from toolkit.backends.protocol import Resources, plain

    resources, lender = Resources(1), DeviceMemory()
    queue_of(resources).enter()
    rows, there = (make(np.dtype(np.float32), (3, 5)) for make in (plain, on_device))
    sent, received = (HostBuffer(rows, lender.staging(rows.nbytes)) for _ in range(2))
    sent.array[:] = np.arange(15).reshape(3, 5)
    target = lender.buffer(there, lender.allocate(there.nbytes))
    for source, end in ((sent, target), (target, received)):
        transfer(source.layout, end.layout, resources).bind([source], [end], None)()
    queue_of(resources).synchronise()
    table, block = np.zeros(15, np.float32), filled(sent.array.tobytes())
    with device().active() as driver:
        driver.memcpy_dtoh(table, block.address)
    return {"equal": bool((received.array == sent.array).all() and (table == sent.array.reshape(-1)).all())}


def network(log: Path) -> dict[str, Any]:
    """A network of elementwise layers: lowered, merged, compiled, placed, launched by two contexts on two streams."""
    from toolkit import layers
    from toolkit.backends.cuda.queue import Queue, queue_of

    made = layers.Sequential([layers.Tanh(), layers.ReLU()]).network((3,))
    streams = set()
    for size in (2, 4):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            context = made.context(batch_size=size, backend="cuda")
            for _ in range(3):
                context.run(np.ones((size, 3), np.float32))
        queue: Queue = queue_of(context.resources)
        streams.add(queue.handle)
    return {
        "steps": [(step.operator, step.backend) for step in context.explain().steps],
        "streams": len(streams),
        "launches": log.read_text().splitlines(),
        "warnings": [str(item.message) for item in told],
    }


class Recording:
    """The driver, which notes calls that enqueue, record or wait, with what they are given."""

    def __init__(self, real: Any, names: Sequence[str]) -> None:
        self.calls: list[tuple[Any, ...]] = []
        for name in names:
            setattr(self, name, self._noting(getattr(real, name), name))

    def _noting(self, function: Any, name: str) -> Any:
        class Noting:
            argtypes: Any = None

            def __call__(noting, *given: Any) -> Any:  # noqa: N805 - the driver is the other one
                self.calls.append((name, *given))
                function.argtypes = noting.argtypes
                return function(*given)

        return Noting()


def overlap() -> dict[str, Any]:
    """Batches of a stream: what is enqueued on which stream, and which events stand between."""
    from toolkit import layers
    from toolkit.backends.cuda import driver, launch
    from toolkit.backends.cuda.queue import queue_of

    libraries: Any = library
    launching: Any = launch

    recording = Recording(library.load("driver"), driver.SIGNATURES)
    driver.call.cache_clear()
    library_load, launch_loaded = libraries.load, launching.loaded
    libraries.load = lambda name: recording if name == "driver" else library_load(name)

    def loaded(function: Any) -> Any:
        kernel = launch_loaded(function)
        call = partial(_noted, recording, kernel)
        return SimpleNamespace(prepare=kernel.prepare, prepared_async_call=call)

    launching.loaded = loaded
    try:
        network = layers.Sequential([layers.Tanh(), layers.ReLU()]).network((1 << 14,))
        context = network.context(batch_size=2, backend="cuda")
        x = np.ones((2, 1 << 14), np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.run(x)
        recording.calls.clear()
        results = context.stream([x + number for number in range(3)])
        for _ in results:
            recording.calls.append(("results",))
        queue = queue_of(context.resources)
        names = {int(getattr(queue, name).handle): name for name in ("stream", "uploads", "downloads")}
    finally:
        libraries.load, launching.loaded = library_load, launch_loaded
        driver.call.cache_clear()
    return {"calls": [_told(call, names) for call in recording.calls]}


def _noted(recording: Recording, kernel: Any, blocks: Any, threads: Any, stream: Any, *given: Any) -> None:
    recording.calls.append(("launch", int(stream.handle)))
    kernel.prepared_async_call(blocks, threads, stream, *given)


def _told(call: tuple[Any, ...], names: dict[int, str]) -> list[Any]:
    """A call as (what, stream, event or addresses)."""
    what, *given = call
    stream = [names[item] for item in given if item in names]
    rest = [item for item in given if item not in names]
    return [what, *stream, *rest]


def looks() -> dict[str, Any]:
    """Gradients in two pieces: one look at each, one number back."""
    from toolkit.backends.cuda.finiteness import finiteness
    from toolkit.backends.cuda.layouts import on_device
    from toolkit.backends.cuda.memory import DeviceMemory
    from toolkit.backends.cuda.queue import queue_of
    from toolkit.backends.protocol import Resources

    resources, lender = Resources(1), DeviceMemory()
    queue_of(resources).enter()
    layouts = [on_device(np.dtype(np.float32), (size,)) for size in (100, 50, 70)]
    blocks = [lender.allocate(1024) for _ in range(2)]
    places = ((blocks[0], 0), (blocks[0], 512), (blocks[1], 0))
    buffers = [lender.buffer(layout, *place) for layout, place in zip(layouts, places, strict=True)]
    answers = [finiteness(buffers, resources) for _ in range(2)]
    queue_of(resources).synchronise()
    return {"finite": [answer() for answer in answers], "of nothing": finiteness([], resources)()}


def exhaustion() -> dict[str, Any]:
    """Memory that is not there is refused with figures."""
    from toolkit.backends.cuda.memory import DeviceMemory
    from toolkit.errors import BackendError

    try:
        DeviceMemory().allocate(1 << 50)
    except BackendError as error:
        return {"message": str(error)}
    return {"message": ""}


def main() -> None:
    libcuda, log = sys.argv[1], Path(sys.argv[2])
    os.environ["FAKECUDA_LOG"] = str(log)
    ctypes.CDLL(libcuda, ctypes.RTLD_GLOBAL)  # before pycuda, which then finds it by its name
    found = {"memory": memory(), "copies": copies(), "network": network(log), "exhaustion": exhaustion()}
    log.unlink()
    found["looks"] = {**looks(), "launches": log.read_text().splitlines()}
    print(json.dumps({**found, "overlap": overlap()}))


if __name__ == "__main__":
    main()
