"""Cases of ``operators.standard.straight_through``; where the estimate is no slope, tests/training judges it."""

import numpy as np
from onnx import TensorProto

from tests.support.case import Case, constant, integers, uniform, variable

INT8, UINT8, FLOAT8 = TensorProto.INT8, TensorProto.UINT8, TensorProto.FLOAT8E4M3FN


def scale_at(scale, place, axis, block_size):
    """The place of the scale that an element belongs to."""
    if scale.ndim == 0:
        return ()
    if block_size:
        return tuple(at // block_size if number == axis else at for number, at in enumerate(place))
    return place[axis]


def quantized(x, scale, zero_point=None, to=INT8, axis=1, block_size=0, **_):
    """One number at a time: on the grid, and whether it was in range."""
    low, high = {INT8: (-128, 127), UINT8: (0, 255)}[to]
    y, inside = np.empty(x.shape, np.float32), np.empty(x.shape, bool)
    for place in np.ndindex(x.shape):
        where = scale_at(scale, place, axis, block_size)
        free = round(float(np.float32(x[place]) / np.float32(scale[where]))) + (
            0 if zero_point is None else int(zero_point[where])
        )
        y[place], inside[place] = min(max(free, low), high), low <= free <= high
    return y, inside


def dequantized(x, scale, zero_point=None, axis=1, block_size=0, **_):
    """One number at a time."""
    y = np.empty(x.shape, np.float32)
    for place in np.ndindex(x.shape):
        where = scale_at(scale, place, axis, block_size)
        y[place] = (x[place] - (0 if zero_point is None else zero_point[where])) * scale[where]
    return y


def row(operator, *inputs, note, **further):
    return Case(operator, inputs, domain="toolkit", version=1, note=note, **further)


def dynamic(x):
    """The scale and zero point of a range that holds 0."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    return np.float32((high - low) / 255), np.uint8(round(-low / ((high - low) / 255)))


CASES = [
    row("DynamicRange", uniform("N", 4), outputs=2, judge=dynamic, note="around 0"),
    *(
        row(
            "StraightThrough",
            variable([-2.5, -0.7, 0.5, 1.5, 0.0]),
            attributes={"operator": name},
            note=name,
            judge=lambda x, operator: {"Round": np.rint, "Floor": np.floor, "Ceil": np.ceil, "Sign": np.sign}[operator](
                x
            ),
            differentiable=(),
        )
        for name in ("Round", "Floor", "Ceil", "Sign")
    ),
    row(
        "StraightThrough",
        uniform("N", 5, low=1.5, high=3.0),
        attributes={"operator": "Sign"},
        judge=lambda x, operator: np.ones_like(x),
        note="Sign is flat beyond 1",
    ),
    row(
        "QuantizeStraightThrough",
        uniform("N", 3, 4),
        constant(0.01),
        constant(5, "int8"),
        attributes={"to": INT8},
        outputs=2,
        judge=quantized,
        differentiable=(),
        note="tensor",
    ),
    row(
        "QuantizeStraightThrough",
        uniform("N", 3, 4),
        constant([0.01, 0.02, 0.5]),
        constant([128, 0, 255], "uint8"),
        attributes={"to": UINT8, "axis": 1},
        outputs=2,
        judge=quantized,
        differentiable=(),
        note="axis",
    ),
    row(
        "QuantizeStraightThrough",
        uniform("N", 5),
        uniform("N", 3, low=0.01, high=0.03),
        outputs=2,
        attributes={"to": INT8, "axis": 1, "block_size": 2},
        judge=quantized,
        differentiable=(),
        note="blocks",
    ),
    row(
        "QuantizeStraightThrough",
        uniform("N", 5, low=-900, high=900),
        constant(1.0),
        outputs=2,
        attributes={"to": FLOAT8},
        judge=lambda x, scale, to: (np.clip(x, -448, 448).astype("float8_e4m3fn").astype(np.float32), np.abs(x) <= 448),
        differentiable=(),
        note="float8",
    ),
    row(
        "QuantizeStraightThrough",
        uniform("N", 3, low=2.0, high=3.0),
        uniform(low=0.001, high=0.002),
        constant(5, "int8"),
        attributes={"to": INT8, "scale_slope": 1.0},
        outputs=2,
        judge=quantized,
        seeded=[0],
        note="flat out of range",
    ),
    row(
        "DequantizeStraightThrough",
        uniform("N", 3, 4, low=-128, high=127),
        uniform(low=0.1, high=0.2),
        constant(5, "int8"),
        attributes={"scale_slope": 1.0},
        judge=dequantized,
        note="tensor",
    ),
    row(
        "DequantizeStraightThrough",
        uniform("N", 3, 4),
        uniform(3, low=0.1, high=0.2),
        constant([1, 2, 3], "int8"),
        attributes={"axis": 1, "scale_slope": 1.0},
        judge=dequantized,
        note="axis",
    ),
    row(
        "DequantizeStraightThrough",
        integers("N", 5, low=-9, high=9, dtype="float32"),
        uniform("N", 3, low=0.1, high=0.2),
        attributes={"axis": 1, "block_size": 2, "scale_slope": 1.0},
        judge=dequantized,
        note="blocks",
    ),
]
