"""Cases of ``toolkit.operators.standard.quantized_bytes``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.quantized_grid import sums as convolved
from tests.support.case import Case, Given, Size, integers, uniform

FLOATS = {"low": -128.0, "high": 127.0, "scale": 0.02}  # a grid in the middle, floats behind it
BYTES = {"least": -90.0, "most": 165.0}
ON = {"low": -90.0, "high": 60.0, "scale": 0.0213, "step": 0.0299, "least": -110.0, "most": 145.0}  # of two grids
ADDED = {"residual_zero": 101, "residual_scale": 0.01011}


def ended(y: Any, residual: Any, **given: float) -> np.ndarray:
    """In float64; the rows have no ties."""
    if "low" in given:
        y = np.rint(np.clip(y, given["low"], given["high"]))
    y = y * given.get("scale", 1.0)
    if residual is not None:
        y = y + given["residual_scale"] * (residual.astype(np.float64) - given["residual_zero"])
    y = y / given.get("step", 1.0)
    if "least" not in given:
        return y.astype(np.float32)
    return (np.rint(np.clip(y, given["least"], given["most"])) - given["least"]).astype(np.uint8)


def convolution_judge(
    x: Any, w: Any, bias: Any, multiplier: Any, residual: Any = None, *, zero: int = 0, **given: Any
) -> np.ndarray:
    """The sums by a loop over positions."""
    geometry = {name: given.pop(name) for name in ("strides", "pads", "dilations", "group")}
    wide = {"low": -1e9, "high": 1e9}
    y = convolved(x.astype(np.float64) - zero, w, bias, np.ones(1), **geometry, **wide).astype(np.float64)
    return ended(y * multiplier.astype(np.float64).reshape(-1, 1, 1), residual, **given)


def product_judge(
    x: Any, w: Any, bias: Any, multiplier: Any, residual: Any = None, *, zero: int = 0, **given: Any
) -> np.ndarray:
    """The sums as integers."""
    y = ((x.astype(np.int64) - zero) @ w.astype(np.int64)).astype(np.float64) + bias
    return ended(y * multiplier.astype(np.float64), residual, **given)


def whole(*shape: Size) -> Given:
    """Unsigned bytes."""
    return integers(*shape, low=0, high=256, dtype="uint8")


def weights(*shape: int) -> Given:
    """Signed bytes, known beforehand."""
    return integers(*shape, low=-128, high=128, dtype="int8", is_constant=True)


def convolution(
    note: str, x: tuple[Size, ...], w: tuple[int, ...], *further: Given, bias: bool = True, **attributes: Any
) -> Case:
    """A row of ``ByteConv`` with a multiplier for each channel, or with one where there is no bias."""
    settings = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1, **attributes}
    added = integers(w[0], low=-5000, high=5000, dtype="float32") if bias else None
    inputs = [whole(*x), weights(*w), added, uniform(w[0] if bias else 1, low=0.0005, high=0.004), *further]
    judge = convolution_judge
    return Case("ByteConv", inputs, settings, version=1, domain="toolkit", judge=judge, note=note)


def product(note: str, x: tuple[Size, ...], w: tuple[int, ...], *further: Given, **attributes: Any) -> Case:
    """A row of ``ByteMatMul``."""
    added = integers(w[1], low=-500, high=500, dtype="float32")
    inputs = [whole(*x), weights(*w), added, uniform(w[1], low=0.0005, high=0.004), *further]
    return Case("ByteMatMul", inputs, attributes, version=1, domain="toolkit", judge=product_judge, note=note)


def regrid(note: str, x: Given, **attributes: float) -> Case:
    """A row of ``Regrid``."""
    return Case(
        "Regrid",
        [x],
        attributes,
        version=1,
        domain="toolkit",
        judge=lambda x, zero, **given: ended(x.astype(np.float64) - zero, None, **given),
        note=note,
    )


CASES = [
    convolution("sums", ("N", 16, 5, 4), (8, 16, 3, 3), bias=False, zero=7),
    convolution("window", ("N", 3, 6, 5), (8, 3, 3, 3), pads=[1, 1, 1, 1], zero=129, **BYTES),
    convolution("pointwise", ("N", 16, 4, 4), (24, 16, 1, 1), zero=3, **FLOATS),
    convolution(
        "depthwise", ("N", 16, 7, 6), (16, 1, 3, 3), group=16, strides=[2, 2], pads=[1] * 4, least=0.0, most=200.0
    ),
    convolution("above a zero", ("N", 16, 7, 6), (16, 1, 3, 3), group=16, pads=[1, 1, 1, 1], zero=99, **BYTES),
    convolution("groups", ("N", 8, 5, 5), (6, 4, 3, 2), group=2, zero=11, least=0.0, most=255.0),
    convolution("on another grid", ("N", 8, 5, 5), (16, 8, 1, 1), **ON),
    convolution("with a residual", ("N", 8, 5, 5), (16, 8, 1, 1), whole("N", 16, 5, 5), zero=5, **ADDED, **ON),
    product("bytes", ("N", 20), (20, 9), **BYTES),
    product("floats", ("N", 3, 32), (32, 16), zero=130),
    product("on another grid", ("N", 3, 32), (32, 16), zero=2, **ON),
    product("with a residual", ("N", 3, 32), (32, 16), whole("N", 3, 16), zero=2, **ADDED, **ON),
    regrid("finer", whole("N", 4, 5, 3), zero=131, scale=0.0231, step=0.011317, least=-77.0, most=178.0),
    regrid("narrower", whole("N", 7), zero=0, scale=0.0231, step=0.0312, least=0.0, most=90.0),
]
