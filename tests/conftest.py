"""Settings of every run: property tests are reproducible, slow machines do not fail them, every operator is there.

Compiled kernels are kept for the run, for all its processes, and not where the user's lie.
"""

import gc
import os
import shutil
import tempfile

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if WORKER and hasattr(os, "sched_setaffinity"):  # a core for each worker: kernels that share one wait for each other
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(WORKER.removeprefix("gw")) % len(cores)]})
KERNELS = "" if WORKER else tempfile.mkdtemp(prefix="onnx-toolkit-kernels-")  # workers inherit the variable
if KERNELS:
    os.environ["ONNX_TOOLKIT_CACHE"] = KERNELS

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from toolkit.operators import load_everything  # noqa: E402

gc.disable()  # until all tests are listed: what that makes stays, and would be visited again and again
settings.register_profile("repository", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repository")
load_everything()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no worker is alone with one in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_unconfigure() -> None:
    """Remove what was kept for the run."""
    if KERNELS:
        shutil.rmtree(KERNELS, ignore_errors=True)


def pytest_collection_finish() -> None:
    """What collecting has made lives to the end, millions of objects: the garbage collector need not visit them."""
    gc.collect()
    gc.freeze()
    gc.enable()
