"""Cases of ``toolkit.operators.microsoft.quantized_weights``."""

import numpy as np

from tests.cases.microsoft_quantization import DOMAIN
from tests.cases.quantized_linear import unsigned
from tests.support.case import Case, constant, integers, uniform


def weight(bits, n=3, k=40, block=16):
    """The packed weight of a product with K=40 and N=3, unless told otherwise."""
    return unsigned(n, -(-k // block), block * bits // 8, is_constant=True)


def sizes(bits, n=3, k=40, block=16):
    return {"bits": bits, "N": n, "K": k, "block_size": block}


def packed(x, bits):
    """The numbers of 2, 4 or 8 bits in bytes, low ones first, as a plain loop."""
    shifts = range(0, 8, bits)
    rows = [
        [(int(byte) >> shift) % (1 << bits) for byte in row for shift in shifts] for row in x.reshape(-1, x.shape[-1])
    ]
    return np.array(rows).reshape(*x.shape[:-1], -1)


def n_bits(a, b, scales, zero_points=None, groups=None, bias=0.0, *, bits, N, K, block_size):
    """MatMulNBits one weight at a time."""
    numbers = packed(b, bits).reshape(N, -1)
    if zero_points is not None and zero_points.dtype == np.uint8:
        zero_points = packed(zero_points, bits)
    weight = np.empty((N, K))
    for row, column in np.ndindex(N, K):
        block = column // block_size if groups is None else groups[column]
        zero_point = 1 << (bits - 1) if zero_points is None else zero_points[row, block]
        weight[row, column] = (numbers[row, column] - float(zero_point)) * scales[row, block]
    return (a.astype(np.float64) @ weight.T + bias).astype(a.dtype)


def fp4(a, b, absmax, N, K, block_size, **_):
    """MatMulBnb4 of FP4 without transposition, which onnxruntime computes on CUDA only."""
    sizes = [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4]
    codes = [code for byte in b.tolist() for code in divmod(byte, 16)]
    numbers = [(-1 if code > 7 else 1) * sizes[code % 8] * absmax[i // block_size] for i, code in enumerate(codes)]
    return a @ np.array(numbers, np.float32).reshape(N, K)


def gathered(data, index, scales, zero_points=None, *, gather_axis=0, quantize_axis=1, block_size=128, bits=4):
    """GatherBlockQuantized by dequantising everything first."""
    if data.dtype == np.uint8:
        numbers, default = packed(data, bits).astype(np.float64), 1 << (bits - 1)
        zero_points = None if zero_points is None else packed(zero_points, bits)
    else:
        numbers, default = data.astype(np.float64), 0
    size = numbers.shape[quantize_axis]
    blocks = np.arange(size) // (block_size or size)
    wide = np.take(scales.astype(np.float64), blocks, quantize_axis)
    offset = default if zero_points is None else np.take(zero_points.astype(np.float64), blocks, quantize_axis)
    table = np.concatenate([(numbers - offset) * wide, np.zeros_like(np.take(numbers, [0], gather_axis))], gather_axis)
    size = numbers.shape[gather_axis]
    places = [[place % size if -size <= place < size else size for place in row] for row in index.tolist()]
    return np.take(table, places, gather_axis).astype(scales.dtype)


def nibbles(*shape, kind="uint4"):
    low = 0 if kind == "uint4" else -8
    return integers(*shape, low=low, high=low + 16, dtype=kind, is_constant=True)


SCALES = uniform(3, 3, low=0.01, high=0.1)
WORDS = constant(lambda n: [[1, -1, 4]] * n)

CASES = [
    *[
        Case("MatMulNBits", [uniform("N", 40), weight(bits), SCALES], sizes(bits), **DOMAIN, note=f"{bits} bits",
             tolerance=1e-4)
        for bits in (2, 4, 8)
    ],
    Case("MatMulNBits", [uniform("N", 2, 40), weight(4), SCALES, unsigned(3, 2, is_constant=True), None, uniform(3)],
         sizes(4), **DOMAIN, note="packed zero points and bias", tolerance=1e-4),
    Case("MatMulNBits", [uniform("N", 40), weight(2), SCALES, unsigned(3, 1, is_constant=True)], sizes(2), **DOMAIN,
         note="2 bits with zero points", tolerance=1e-4),
    Case("MatMulNBits", [uniform("N", 40), weight(4), SCALES, uniform(3, 3, low=4, high=9)], sizes(4), **DOMAIN,
         note="plain zero points", tolerance=1e-4),
    Case("MatMulNBits", [uniform("N", 40), weight(4), SCALES, None,
                         constant([0] * 20 + [2] * 10 + [1] * 10, "int32")], sizes(4), **DOMAIN, note="groups",
         tolerance=1e-4, judge=n_bits),
    Case("MatMulNBits", [uniform("N", 40), weight(4), SCALES, uniform(3, 3, low=4, high=9),
                         constant([0] * 20 + [2] * 10 + [1] * 10, "int32"), uniform(3)], sizes(4), **DOMAIN,
         note="groups with zero points", tolerance=1e-4, judge=n_bits),
    Case("MatMulNBits", [uniform("N", 40, dtype="float16"), weight(4),
                         uniform(3, 3, low=0.01, high=0.1, dtype="float16")], sizes(4), **DOMAIN, note="half",
         tolerance=1e-2, judge=n_bits, differentiable=()),
    Case("MatMulNBits", [uniform("N", 40), unsigned(0, 3, 8, is_constant=True), constant([], "float32"), None, None,
                         uniform(3)], sizes(4), **DOMAIN, note="no weight", differentiable=[5],
         judge=lambda a, b, s, z, g, bias, **_: np.broadcast_to(bias, (len(a), 3))),
    *[
        Case("MatMulBnb4", [uniform("N", 2, 20), unsigned(30, is_constant=True), uniform(4, low=0.1)],
             {"N": 3, "K": 20, "block_size": 16, "quant_type": kind}, **DOMAIN, note=note, tolerance=1e-4)
        for kind, note in ((0, "FP4"), (1, "NF4"))
    ],
    Case("MatMulBnb4", [uniform("N", 3), unsigned(30, is_constant=True), uniform(4, low=0.1)],
         {"N": 3, "K": 20, "block_size": 16, "quant_type": 0, "transB": 0}, **DOMAIN, note="backward", judge=fp4),
    *[
        Case("GatherBlockQuantized", [unsigned(5, 20 * bits // 8, is_constant=True), WORDS,
                                      uniform(5, 2, low=0.1)], {"bits": bits, "block_size": 16}, **DOMAIN,
             note=f"{bits} bits")
        for bits in (2, 4, 8)
    ],
    Case("GatherBlockQuantized", [unsigned(5, 10, is_constant=True), WORDS, uniform(5, 2, low=0.1),
                                  unsigned(5, 1, is_constant=True)], {"bits": 4, "block_size": 16}, **DOMAIN,
         note="packed zero points"),
    *[
        Case("GatherBlockQuantized", [nibbles(5, 20, kind=kind), WORDS, uniform(5, 2, low=0.1),
                                      nibbles(5, 2, kind=kind)], {"block_size": 16}, **DOMAIN, note=kind)
        for kind in ("uint4", "int4")
    ],
    Case("GatherBlockQuantized", [nibbles(2, 20, 5, kind="int4"), WORDS, uniform(2, 2, 5, low=0.1)],
         {"block_size": 16, "gather_axis": 2}, **DOMAIN, note="axis after the blocks"),
    Case("GatherBlockQuantized", [nibbles(20, 3), constant([[1, -1, 17]]), uniform(2, 3, low=0.1)],
         {"block_size": 16, "quantize_axis": 0}, **DOMAIN, note="along the blocks"),
    Case("GatherBlockQuantized", [nibbles(5, 16), constant([[1, 9, -7]]), uniform(5, 1, low=0.1)],
         {"block_size": 16}, **DOMAIN, note="out of range", judge=gathered),
    Case("GatherBlockQuantized", [uniform(5, 20, dtype="float8_e4m3fn"), WORDS, uniform(1, 1, low=0.1)],
         {"block_size": 0}, **DOMAIN, note="float8 with one scale", judge=gathered),
    Case("GatherBlockQuantized", [uniform(5, 20, dtype="float4_e2m1fn"), WORDS, uniform(5, 2, low=0.1)],
         {"block_size": 16}, **DOMAIN, note="float4", judge=gathered),
    Case("GatherBlockQuantized", [unsigned(5, 16, is_constant=True), WORDS, uniform(5, 2, low=0.1, dtype="float16")],
         {"block_size": 16, "bits": 4}, **DOMAIN, note="half", tolerance=1e-3, judge=gathered, differentiable=()),
]  # fmt: skip
