"""Cases of ``toolkit.operators.standard.cast``."""

import ml_dtypes
import numpy as np
from onnx import TensorProto

from tests.support.case import Case, booleans, integers, uniform, variable

WILD = [[0.3, 500.0, -1e9, 17.3, np.inf, -np.inf, -0.0, 1e-7, 464.0]]
TAME = [[0.3, 200.0, -240.0, 17.3, 0.0, 1e-7, 0.01]]
POWERS = [[0.0, 0.124, 0.25, 1.1, 1.5, 3.0, 5.9, 2.0**-127, 3e38, np.inf]]
TEXTS = [["1.5", "-2", "+INF", "-inf", "NaN", "1e-5"]]
BYTES = np.arange(-8, 8).reshape(1, 16)


def powers(*exponents):
    """A judge that answers with these powers of 2 in float8e8m0, whatever it is given."""
    coded = np.array([[power + 127 for power in exponents]], np.uint8)
    return lambda *inputs, **attributes: coded.view(ml_dtypes.float8_e8m0fnu)


def low_bits(bits, signed):
    """A judge that keeps the low bits of integers."""
    name = f"{'' if signed else 'u'}int{bits}"

    def judge(x, **_):
        kept = x.astype(np.int64) % (1 << bits)
        return (np.where(kept >= 1 << (bits - 1), kept - (1 << bits), kept) if signed else kept).astype(
            getattr(ml_dtypes, name)
        )

    return judge


CASES = [
    Case("Cast", [uniform("N", 5)], {"to": "INT32"}, version=1, note="truncates", differentiable=(),
         judge=lambda x, to: np.trunc(x).astype(np.int32)),
    Case("Cast", [uniform("N", 5, dtype="float64")], {"to": "double"}, version=1, judge=lambda x, to: x),
    Case("Cast", [uniform("N", 5, dtype="float64")], {"to": TensorProto.DOUBLE}, version=6, note="old float"),
    Case("Cast", [uniform("N", 5)], {"to": TensorProto.INT32}, version=9, note="truncates", differentiable=()),
    Case("Cast", [integers("N", 5, low=-3, high=4)], {"to": TensorProto.FLOAT}, note="from integers"),
    Case("Cast", [integers("N", 5, low=-999, high=999)], {"to": TensorProto.INT8}, version=13, note="low bits"),
    Case("Cast", [uniform("N", 5, dtype="float64")], {"to": TensorProto.DOUBLE}, note="float"),
    Case("Cast", [uniform("N", 5)], {"to": TensorProto.FLOAT16}, note="half", differentiable=()),
    Case("Cast", [uniform("N", 5)], {"to": TensorProto.BFLOAT16}, note="bfloat16", judge="onnx.reference",
         differentiable=()),
    Case("Cast", [uniform("N", 5)], {"to": TensorProto.BOOL}, version=13, note="truth", differentiable=()),
    Case("Cast", [integers("N", 3, low=-9, high=9)], {"to": TensorProto.STRING}, version=13, note="text"),
    Case("Cast", [variable([[1 / 3, 1e20, -0.0, np.nan, np.inf, -np.inf]])], {"to": TensorProto.STRING}, version=9,
         note="floats as text", differentiable=()),
    Case("Cast", [booleans("N", 3)], {"to": TensorProto.STRING}, version=9, note="truth as text"),
    Case("Cast", [variable([["1.5", "-2"]], "object")], {"to": TensorProto.FLOAT}, version=13, note="from text"),
    Case("Cast", [variable(TEXTS, "object")], {"to": TensorProto.DOUBLE}, version=9, note="special texts"),
    Case("Cast", [variable([["9223372036854775807", "-5", "2.7"]], "object")], {"to": TensorProto.INT64}, version=19,
         note="text to integers"),
    Case("Cast", [variable([["18446744073709551615", "7"]], "object")], {"to": TensorProto.UINT64}, version=19,
         note="text to unsigned integers"),
    Case("Cast", [variable([["300", "-1", "5"]], "object")], {"to": TensorProto.INT8}, version=19,
         note="text to low bits"),
    *[
        Case("Cast", [variable(WILD if saturate else TAME)], {"to": getattr(TensorProto, kind), "saturate": saturate},
             version=19, note=f"{kind} {saturate}", judge="onnx.reference", differentiable=())
        for kind in ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
        for saturate in (0, 1)
    ],
    *[
        Case("Cast", [integers("N", 9, low=-300, high=300)], {"to": getattr(TensorProto, kind)}, version=25, note=kind,
             judge=low_bits(int(kind[-1]), not kind.startswith("U")))
        for kind in ("INT2", "UINT2", "INT4", "UINT4")
    ],
    *[
        Case("Cast", [variable(WILD)], {"to": getattr(TensorProto, kind)}, version=28, note=kind,
             judge="onnx.reference", differentiable=())
        for kind in ("FLOAT4E2M1", "FLOAT6E2M3", "FLOAT6E3M2")
    ],
    Case("Cast", [variable(POWERS)], {"to": TensorProto.FLOAT8E8M0}, version=24, note="e8m0 up", differentiable=(),
         judge=powers(-127, -3, -2, 1, 1, 2, 3, -127, 127, 127)),
    Case("Cast", [variable(POWERS)], {"to": TensorProto.FLOAT8E8M0, "round_mode": "down"}, version=25,
         note="e8m0 down", differentiable=(), judge=powers(-127, -4, -2, 0, 0, 1, 2, -127, 127, 127)),
    Case("Cast", [variable(POWERS)], {"to": TensorProto.FLOAT8E8M0, "round_mode": "nearest", "saturate": 1},
         version=25, note="e8m0 nearest", differentiable=(),
         judge=powers(-127, -3, -2, 0, 1, 2, 2, -127, 127, 127)),
    Case("Cast", [variable([[1.0, 4.0, 2.0**-127]], "float8_e8m0fnu")], {"to": TensorProto.FLOAT}, version=24,
         note="from e8m0", judge=lambda x, to: np.array([[1.0, 4.0, 2.0**-127]], np.float32)),
    Case("CastLike", [booleans("N", 3), uniform(1)], version=15, note="from truth", differentiable=()),
    Case("CastLike", [uniform("N", 3, dtype="float64"), uniform(1, dtype="float64")], version=19, differentiable=[0]),
    Case("CastLike", [variable(TAME), uniform(0, dtype="float8_e4m3fn")], {"saturate": 0}, version=21,
         note="float8", judge="onnx.reference", differentiable=()),
    Case("CastLike", [variable(POWERS), variable([1.0], "float8_e8m0fnu")], {"round_mode": "down"}, version=25,
         note="e8m0", judge=powers(-127, -4, -2, 0, 0, 1, 2, -127, 127, 127), differentiable=()),
    Case("BitCast", [uniform("N", 3)], {"to": TensorProto.INT32}, version=26, judge=lambda x, to: x.view(np.int32)),
    Case("BitCast", [integers("N", 3, low=0, high=9)], {"to": TensorProto.DOUBLE}, version=26, note="to double",
         judge=lambda x, to: x.view(np.float64)),
    Case("BitCast", [variable(BYTES, "int4")], {"to": TensorProto.UINT4}, version=26, note="nibbles",
         judge=lambda x, to: (BYTES % 16).astype(ml_dtypes.uint4)),
    Case("BitCast", [variable(1.0, "bfloat16")], {"to": TensorProto.UINT16}, version=26, note="bfloat16",
         judge=lambda x, to: np.array(0x3F80, np.uint16)),
    Case("Identity", [uniform("N", 3)], version=1),
    Case("Identity", [integers("N", 3, low=0, high=9)], version=16, note="integers"),
]  # fmt: skip
