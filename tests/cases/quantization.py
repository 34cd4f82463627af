"""Cases of ``toolkit.operators.standard.quantization``."""

import ml_dtypes
import numpy as np
from onnx import TensorProto

from tests.support.case import Case, constant, integers, uniform, variable

FLOAT8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
TIES = [[-1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 300.0, -300.0, np.nan, np.inf, -np.inf]]
NARROW = {"int2": (-2, 2), "uint2": (0, 4), "int4": (-8, 8), "uint4": (0, 16)}


def place_of_scale(place, scale, axis, block_size):
    """Where the scale of a number lies: there is one for all, for each slice along an axis, or for each block on it."""
    if scale.ndim < 2:
        return place[axis] if scale.ndim else ()
    if not block_size:
        return place
    axis = (axis or 0) % len(place)
    return (*place[:axis], place[axis] // block_size, *place[axis + 1 :])


def on_grid(kind, precision="float32"):
    """A judge that quantises one number at a time to a type that other judges cannot give back."""

    def judge(x, scale, zero_point=None, axis=1, block_size=0, **_):
        low, high = NARROW.get(kind, (None, 0))
        y = np.empty(x.shape, getattr(ml_dtypes, kind, None) or kind)
        for place in np.ndindex(x.shape):
            where = place_of_scale(place, scale, axis, block_size)
            quotient = float(np.asarray(float(x[place]) / float(scale[where])).astype(precision))
            offset = 0 if zero_point is None else float(zero_point[where])
            y[place] = quotient + offset if low is None else min(max(round(quotient) + offset, low), high - 1)
        return y

    return judge


def from_grid(kind="float32"):
    """A judge that dequantises one number at a time."""

    def judge(x, scale, zero_point=None, axis=1, block_size=0, **_):
        y = np.empty(x.shape, getattr(ml_dtypes, kind, None) or kind)
        for place in np.ndindex(x.shape):
            where = place_of_scale(place, scale, axis, block_size)
            offset = 0 if zero_point is None else float(zero_point[where])
            y[place] = (float(x[place]) - offset) * float(scale[where])
        return y

    return judge


QUANTIZE = [
    Case("QuantizeLinear", [uniform("N", 3, 4), constant(0.02), constant(100, "uint8")], version=10, note="tensor"),
    Case("QuantizeLinear", [uniform("N", 3, 4), constant(0.02)], version=10, note="no zero point"),
    Case("QuantizeLinear", [variable(TIES), constant(0.5), constant(-3, "int8")], version=10, note="ties and edges"),
    Case("QuantizeLinear", [integers("N", 4, low=-900, high=900, dtype="int32"), constant(7.0), constant(3, "int8")],
         version=10, note="of integers", judge="onnx.reference"),
    Case("QuantizeLinear", [uniform("N", 3, 4), constant([0.01, 0.02, 0.03]), constant([1, 2, 3], "uint8")],
         version=13, note="axis 1 by default"),
    Case("QuantizeLinear", [uniform("N", 3, 4), constant([0.01, 0.02, 0.03, 1.0]), constant([0, -5, 9, 1], "int8")],
         {"axis": -1}, version=13, note="last axis"),
    Case("QuantizeLinear", [uniform("N", 4, low=-9, high=9), constant([0.5]), constant([7], "int8")], version=13,
         note="vector of one"),
    Case("QuantizeLinear", [uniform("N", 4, dtype="float16"), constant(0.013, "float16"), constant(9, "int8")],
         version=19, note="half"),
    *[
        Case("QuantizeLinear", [uniform("N", 4, high=400), constant(0.3), constant(0, kind)], version=19, note=kind,
             judge="onnx.reference")
        for kind in FLOAT8
    ],
    Case("QuantizeLinear", [uniform("N", 4, high=90), constant(0.3), constant(0, "float8_e5m2")], {"saturate": 0},
         version=19, note="float8 unsaturated", judge="onnx.reference"),
    Case("QuantizeLinear", [uniform("N", 5, 4), constant(lambda n: np.linspace(0.01, 0.1, 12 * n).reshape(n, 3, 4))],
         {"axis": 1, "block_size": 2, "output_dtype": TensorProto.INT16}, version=21, note="blocks",
         judge="onnx.reference"),
    Case("QuantizeLinear",
         [uniform("N", 4), constant(lambda n: np.linspace(0.01, 0.1, 2 * n).reshape(n, 2)),
          constant(lambda n: np.arange(2 * n).reshape(n, 2), "uint8")],
         {"axis": -1, "block_size": 2}, version=21, note="blocks with zero points"),
    *[
        Case("QuantizeLinear", [uniform("N", 6, low=-9, high=9), constant(0.7), constant(1, kind)], version=version,
             note=kind, judge=on_grid(kind))
        for kind, version in (("int4", 21), ("uint4", 21), ("int2", 25), ("uint2", 25))
    ],
    Case("QuantizeLinear", [uniform("N", 6, low=-9, high=9), constant(0.0001), constant(5, "uint16")], version=21,
         note="16 bits"),
    Case("QuantizeLinear", [uniform("N", 6), constant(0.01)], {"output_dtype": TensorProto.INT8}, version=21,
         note="type by attribute"),
    Case("QuantizeLinear", [uniform("N", 6, low=-9, high=9), constant(0.7)],
         {"output_dtype": TensorProto.FLOAT4E2M1}, version=23, note="float4", judge=on_grid("float4_e2m1fn")),
    Case("QuantizeLinear", [uniform("N", 6, low=-9, high=9), constant(0.7)],
         {"output_dtype": TensorProto.FLOAT6E2M3}, version=28, note="float6", judge=on_grid("float6_e2m3fn")),
    Case("QuantizeLinear", [uniform("N", 3, 4, dtype="float16"), constant(0.013, "float16"), constant(9, "int8")],
         version=23, note="half in half", judge="onnx.reference"),
    Case("QuantizeLinear", [uniform("N", 3, 4, dtype="float16"), constant(0.013), constant(9, "int8")],
         {"precision": TensorProto.FLOAT16}, version=24, note="precision", judge="onnx.reference"),
    Case("QuantizeLinear", [uniform("N", 3, 4), constant([0.5, 2.0, 1.0], "float8_e8m0fnu")],
         {"output_dtype": TensorProto.INT8}, version=25, note="powers of two", judge="onnx.reference"),
]  # fmt: skip

DEQUANTIZE = [
    Case("DequantizeLinear", [integers("N", 3, 4, low=0, high=256, dtype="uint8"), variable(0.02),
                              constant(7, "uint8")], version=10, note="tensor"),
    Case("DequantizeLinear", [integers("N", 3, low=-900, high=900, dtype="int32"), variable(0.02)], version=10,
         note="of int32"),
    Case("DequantizeLinear",
         [integers("N", 3, 4, low=-128, high=128, dtype="int8"), uniform(3, low=0.1), constant([1, 0, -3], "int8")],
         version=13, note="axis 1"),
    Case("DequantizeLinear", [integers("N", 3, 4, low=-128, high=128, dtype="int8"), uniform(4, low=0.1)],
         {"axis": -1}, version=13, note="last axis"),
    Case("DequantizeLinear", [integers("N", 4, low=0, high=256, dtype="uint8"), variable([0.5])], version=13,
         note="vector of one"),
    Case("DequantizeLinear", [integers("N", 4, low=0, high=256, dtype="uint8"), constant(0.01, "float16")],
         version=19, note="half"),
    Case("DequantizeLinear", [integers("N", 4, low=0, high=256, dtype="uint8"), variable(0.01, "bfloat16")],
         version=19, note="bfloat16", judge=from_grid("bfloat16")),
    *[
        Case("DequantizeLinear", [uniform("N", 4, high=90, dtype=kind), variable(0.3)], version=19, note=kind,
             differentiable=[1], judge=from_grid())
        for kind in FLOAT8
    ],
    Case("DequantizeLinear",
         [integers("N", 5, 3, low=0, high=256, dtype="uint8"), uniform("N", 3, 3, low=0.1),
          integers("N", 3, 3, low=0, high=256, dtype="uint8", is_constant=True)],
         {"axis": 1, "block_size": 2}, version=21, note="blocks, the last one short", judge="onnx.reference"),
    Case("DequantizeLinear", [integers("N", 4, low=-99, high=99, dtype="int8"), uniform("N", 2, low=0.1)],
         {"axis": -1, "block_size": 2}, version=21, note="blocks"),
    Case("DequantizeLinear", [integers("N", 4, low=0, high=60000, dtype="uint16"), variable(0.01),
                              constant(33000, "uint16")], version=21, note="16 bits"),
    *[
        Case("DequantizeLinear", [integers("N", 4, low=low, high=high, dtype=kind), variable(0.01), constant(1, kind)],
             version=25, note=kind, judge=from_grid())
        for kind, (low, high) in NARROW.items()
    ],
    Case("DequantizeLinear", [uniform("N", 4, dtype="float4_e2m1fn"), variable(0.3)], version=23, note="float4",
         judge=from_grid()),
    Case("DequantizeLinear", [uniform("N", 4, dtype="float6_e3m2fn"), variable(0.3)], version=28, note="float6",
         judge=from_grid()),
    Case("DequantizeLinear", [integers("N", 4, low=0, high=256, dtype="uint8"), constant(0.5, "float8_e8m0fnu")],
         {"output_dtype": TensorProto.FLOAT}, version=24, note="powers of two", judge=from_grid()),
    Case("DequantizeLinear", [integers("N", 4, low=0, high=256, dtype="uint8"), variable(0.5, "float16")],
         {"output_dtype": TensorProto.FLOAT}, version=23, note="wider result", differentiable=(), judge=from_grid()),
]  # fmt: skip

CASES = [
    *QUANTIZE,
    *DEQUANTIZE,
    Case("DynamicQuantizeLinear", [uniform("N", 3, 4)], version=11, outputs=3),
    Case("DynamicQuantizeLinear", [uniform("N", 3, low=1.0)], version=11, outputs=3, note="positive"),
    Case("DynamicQuantizeLinear", [uniform("N", 3, low=-2.0, high=-1.0)], version=11, outputs=3, note="negative"),
    Case("DynamicQuantizeLinear", [variable([[0.0, 0.0]])], version=11, outputs=3, note="zeros"),
]  # fmt: skip
