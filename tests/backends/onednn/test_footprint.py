"""Handing back the code pages of the library: it shrinks the process and everything still runs."""

import subprocess
import sys

import numpy as np
import pytest

from tests.support.models import feed, mlp
from toolkit.backends.onednn.footprint import release_code_pages
from toolkit.backends.onednn.library import FILE, available

RESIDENT = """
from pathlib import Path
import {module}
from toolkit.backends.onednn import footprint, library
if {keep}:
    library.release_code_pages = lambda name: 0
library.load()
print(int(Path("/proc/self/statm").read_text().split()[1]))
"""


@pytest.mark.skipif(not available(), reason="oneDNN is not available on this machine")
def test_kernels_run_after_their_code_was_dropped():
    net = mlp()
    context, x = net.context(2), feed(net, 2)
    before = context.run(x)["y"]
    assert release_code_pages(FILE) > 1 << 20
    np.testing.assert_array_equal(context.run(x)["y"], before)


@pytest.mark.skipif(not available(), reason="oneDNN is not available on this machine")
def test_loading_leaves_less_behind():
    pages = [
        int(subprocess.check_output([sys.executable, "-c", RESIDENT.format(module="toolkit", keep=keep)], text=True))
        for keep in (True, False)
    ]
    assert pages[1] < pages[0] - 1000  # 4 KiB each


def test_an_unknown_library_releases_nothing():
    assert release_code_pages("no such library") == 0
