"""The list of what CuPy lacks, against CuPy itself where it is installed; no GPU is asked."""

from __future__ import annotations

import inspect
from functools import reduce
from typing import Any

import numpy as np
import pytest

from tests.cuda.cupy_lacks import FUNCTIONS, METHODS_OF_UFUNCS, PARAMETERS, UFUNCS_WITHOUT_BFLOAT16
from tests.cuda.strict_array import METHODS

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")


def found(path: str) -> Any:
    return reduce(lambda module, name: getattr(module, name, None), path.split("."), cupy)


def test_functions_are_missing() -> None:
    assert [path for path in FUNCTIONS if found(path) is not None] == []


def test_functions_that_the_list_does_not_name_are_there() -> None:
    public = {
        name
        for name in dir(np)
        if callable(getattr(np, name)) and name[0].islower() and not isinstance(getattr(np, name), type)
    }
    missing = {name for name in public if not hasattr(cupy, name)}
    of_arrays = {name for name in missing if hasattr(getattr(np, name), "__array_function__") or name in FUNCTIONS}
    assert of_arrays <= FUNCTIONS | missing
    assert {name for name in FUNCTIONS if "." not in name} <= missing


def test_parameters_are_missing() -> None:
    for path, names in PARAMETERS.items():
        assert not set(names).intersection(inspect.signature(found(path)).parameters), path


def test_methods_are_there() -> None:
    assert [name for name in METHODS if not hasattr(cupy.ndarray, name)] == []


def test_only_the_named_ufuncs_scatter() -> None:
    assert all(hasattr(cupy, name) for names in METHODS_OF_UFUNCS.values() for name in names)
    scattering = {name for name in dir(np) if isinstance(getattr(np, name), np.ufunc) and scatters(name)}
    assert scattering == METHODS_OF_UFUNCS["at"]


def scatters(name: str) -> bool:
    return bool(getattr(getattr(cupy, name, None), "_scatter_op", None))


def test_ufuncs_lack_bfloat16() -> None:
    for name in UFUNCS_WITHOUT_BFLOAT16:
        assert not any("E" in kinds for kinds in getattr(cupy, name).types), name
