"""cuDNN itself on a machine without a GPU: it chooses plans for a device that is only described."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from toolkit.backends.cuda import library
from toolkit.backends.cuda.cudnn.functions import Functions
from toolkit.backends.cuda.cudnn.session import Session
from toolkit.backends.protocol import Resources
from toolkit.errors import BackendError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cuda"
DEVICE = SHARED / "h200.json"


@cache
def session() -> Session | str:
    """A session for the described device, or why there is none.

    Without a driver that can be loaded cuDNN offers fewer engines and says nothing; ``LIBCUDA`` may name one.
    """
    if not DEVICE.is_file():
        return "no description of a device"
    try:
        ctypes.CDLL(os.environ.get("LIBCUDA", "libcuda.so.1"), ctypes.RTLD_GLOBAL)
        native = library.load("cudnn")
    except (OSError, BackendError) as error:
        return str(error)
    return Session.for_device(Functions(native), DEVICE.read_bytes())


def resources(strict: bool) -> Resources:
    """Resources whose cuDNN only chooses."""
    found = Resources(1, strict=strict)
    found.own("cuda: cudnn", session)
    return found
