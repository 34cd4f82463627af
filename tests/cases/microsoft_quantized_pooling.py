"""Cases of ``toolkit.operators.microsoft.quantized_pooling``."""

import numpy as np

from tests.cases.microsoft_quantization import DOMAIN
from tests.cases.microsoft_quantized_elementwise import grid
from tests.cases.quantized_linear import signed, unsigned
from tests.support.case import Case, constant


def mean(x, x_scale, x_zero_point, y_scale, y_zero_point=0, axes=None, keepdims=1):
    """QLinearReduceMean in float64; onnxruntime has no kernel for it."""
    number = (x.astype(np.float64) - (0 if x_zero_point is None else x_zero_point)) * x_scale
    y = number.mean(axis=None if axes is None else tuple(axes), keepdims=bool(keepdims))
    return np.clip(np.rint(y / y_scale) + y_zero_point, *((0, 255) if x.dtype == np.uint8 else (-128, 127))).astype(
        x.dtype
    )


CASES = [
    Case("QLinearAveragePool", [unsigned("N", 2, 6, 5), *grid(0, "uint8"), *grid(1, "uint8")],
         {"kernel_shape": [3, 2]}, **DOMAIN),
    Case("QLinearAveragePool", [signed("N", 2, 6, 5), *grid(0, "int8"), *grid(1, "int8")],
         {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1], "count_include_pad": 1}, **DOMAIN,
         note="padding counts"),
    Case("QLinearAveragePool", [unsigned("N", 2, 6, 5), *grid(0, "uint8"), *grid(1, "uint8")],
         {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 2], "ceil_mode": 1}, **DOMAIN, note="ceil"),
    Case("QLinearAveragePool", [unsigned("N", 6, 5, 3), *grid(0, "uint8"), *grid(1, "uint8")],
         {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER", "channels_last": 1}, **DOMAIN, note="channels last"),
    Case("QLinearGlobalAveragePool", [unsigned("N", 3, 5, 4), *grid(0, "uint8"), *grid(1, "uint8")], **DOMAIN),
    Case("QLinearGlobalAveragePool", [signed("N", 5, 4, 3), *grid(0, "int8"), *grid(1, "int8")],
         {"channels_last": 1}, **DOMAIN, note="channels last"),
    Case("QLinearReduceMean", [unsigned("N", 3, 4), *grid(0, "uint8"), *grid(1, "uint8")],
         {"axes": [-1], "keepdims": 1}, **DOMAIN, judge=mean),
    Case("QLinearReduceMean", [signed("N", 3, 4), *grid(0, "int8"), *grid(1, "int8")],
         {"axes": [1, 2], "keepdims": 0}, **DOMAIN, note="two axes", judge=mean),
    Case("QLinearReduceMean", [unsigned("N", 3), constant(0.02), None, constant(0.01)], {"keepdims": 0}, **DOMAIN,
         note="everything", judge=mean),
    Case("ReduceSumInteger", [unsigned("N", 3, 4)], {"axes": [-1, 1], "keepdims": 0}, **DOMAIN,
         judge=lambda x, **_: np.array([int(item.sum()) for item in x], np.uint32)),
    Case("ReduceSumInteger", [signed("N", 3, 4)], {"axes": [1], "keepdims": 1}, **DOMAIN, note="signed",
         judge=lambda x, **_: (x[:, :1].astype(np.int32) + x[:, 1:2] + x[:, 2:])),
]  # fmt: skip
