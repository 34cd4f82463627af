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
from pathlib import Path
from typing import Any

import numpy as np


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
    from toolkit.backends.cuda.layouts import on_device
    from toolkit.backends.cuda.memory import DeviceMemory
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
    return {"equal": bool((received.array == sent.array).all())}


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
    print(json.dumps({"memory": memory(), "copies": copies(), "network": network(log), "exhaustion": exhaustion()}))


if __name__ == "__main__":
    main()
