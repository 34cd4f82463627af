"""The look at gradients, compiled for the host: it finds the one number that is none, wherever it is."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.cuda.host import COMPILER, HostKernels, placed
from toolkit.backends.cuda.finiteness import looking
from toolkit.backends.cuda.launch import Input, Launch, Output

TYPES = [np.dtype(name) for name in (np.float32, np.float16, ml_dtypes.bfloat16, np.float64)]
COUNTS = (1, 3, 1000, 20_001)
CASES = [(dtype, count) for dtype in TYPES for count in COUNTS]


@pytest.mark.skipif(COMPILER is None, reason="needs g++")
def test_one_number_that_is_none_is_found(tmp_path: Path) -> None:
    launches = {case: looking(case[0], Input(0), Output(0), case[1]) for case in CASES}
    kernels = HostKernels([launch.function for launch in launches.values()], tmp_path)
    for (dtype, count), launch in launches.items():
        x = placed(np.full(count, np.finfo(dtype).max if dtype.kind == "f" else 3e38, dtype))
        flag = np.zeros(1, np.uint32)

        def seen(x: np.ndarray = x, flag: np.ndarray = flag, launch: Launch = launch) -> bool:
            flag[:] = 0
            kernels.launch(launch, [x.ctypes.data], [flag.ctypes.data], 0)
            return bool(flag[0])

        assert not seen(), (dtype, count)
        for place in {0, count // 2, count - 1}:
            for value in (np.nan, np.inf, -np.inf):
                kept, x[place] = x[place], value
                assert seen(), (dtype, count, place, value)
                x[place] = kept
