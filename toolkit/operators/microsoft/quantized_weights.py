"""com.microsoft operators on float inputs and packed weights: MatMulNBits, MatMulBnb4, GatherBlockQuantized.

Weights are quantised in blocks and packed into bytes: n bits each with the first number in the low bits (MatMulNBits,
GatherBlockQuantized), or 4 bits that choose from a table, the first in the high bits (MatMulBnb4). All are expansions
into operators of ONNX, so gradients of inputs, biases, scales and floating zero points follow from theirs.
"""

from __future__ import annotations

import numpy as np

from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import cast, filled
from toolkit.operators.expression import Expression, emit, expand, indices, reshape, transpose, where
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call
from toolkit.operators.standard.quantization import NARROW_INTEGERS

INT64 = np.dtype(np.int64)
PACKED_BITS = (2, 4, 8)
MAGNITUDES = (0.0, 0.0052083333, 2 / 3, 1.0, 1 / 3, 0.5, 1 / 6, 0.25)  # FP4 of bitsandbytes; 8 more are negative
NORMAL_FLOATS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
TABLES = ((*MAGNITUDES, *(-value for value in MAGNITUDES)), NORMAL_FLOATS)


def unpacked(packed: Expression, bits: int) -> Expression:
    """The numbers in bytes, along the last axis, low bits first, as uint8."""
    if bits not in PACKED_BITS:
        raise ValueError(f"bits must be 2, 4 or 8, got {bits}")
    if bits == 8:
        return packed
    per_byte = 8 // bits
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    spread = emit("BitShift", reshape(packed, (*packed.shape, 1)), shifts, direction="RIGHT")
    low = emit("BitwiseAnd", spread, (1 << bits) - 1)
    return reshape(low, (*packed.shape[:-1], packed.shape[-1] * per_byte))


def first(x: Expression, count: int, axis: int = -1) -> Expression:
    """The first ``count`` along an axis."""
    if x.shape[axis] == count:
        return x
    found: Expression = emit("Slice", x, indices(x, [0]), indices(x, [count]), indices(x, [axis]))
    return found


def _matmul_n_bits(call: Call) -> list[Expression | None]:
    a, b, scales = required(call, 0, "A"), required(call, 1, "B"), required(call, 2, "scales")
    zero_points, groups, bias = (argument(call, index) for index in (3, 4, 5))
    n, k, block = (int(call.attributes[name]) for name in ("N", "K", "block_size"))
    bits = int(call.attribute("bits", 4))
    if call.attribute("weight_prepacked", 0):
        raise ValueError("weight_prepacked must be 0: other layouts belong to one GPU. Export the weight without it")
    if not a.shape or a.shape[-1] != k:
        raise ValueError(f"the last axis of A must be K={k}, got {a.shape}")
    if 0 in b.shape:
        y = filled(a, (*a.shape[:-1], n))
        return [y if bias is None else y + bias]
    blocks = -(-k // block)
    numbers = cast(reshape(unpacked(b, bits), (n, blocks, block)), a.dtype)
    scales = reshape(scales, (n, blocks))
    if groups is None:
        centered = numbers - _zero_points(zero_points, a, n, blocks, bits, (n, blocks, 1))
        weight = reshape(centered * reshape(scales, (n, blocks, 1)), (n, blocks * block))
    else:  # the block of a column is told, so its scale is looked up
        centres = _zero_points(zero_points, a, n, blocks, bits, (n, blocks))
        chosen = first(groups, min(k, groups.shape[0]))
        if isinstance(centres, Expression):
            centres = emit("Gather", centres, chosen, axis=1)
        weight = (first(reshape(numbers, (n, blocks * block)), k) - centres) * emit("Gather", scales, chosen, axis=1)
    y = a @ transpose(first(weight, k), (1, 0))
    return [y if bias is None else y + bias]


def _zero_points(
    given: Expression | None, a: Expression, n: int, blocks: int, bits: int, shape: tuple[int, ...]
) -> Expression | float:
    """Zero points in the type of ``a``: packed as the weight is, plain, or by default the middle of the range."""
    if given is None:
        return float(1 << (bits - 1))
    if given.dtype != np.uint8:
        return reshape(cast(given, a.dtype), shape)
    rows = reshape(given, (n, -(-blocks * bits // 8)))
    return reshape(cast(first(unpacked(rows, bits), blocks), a.dtype), shape)


def _matmul_bnb4(call: Call) -> list[Expression | None]:
    a, b, absmax = required(call, 0, "A"), required(call, 1, "B"), required(call, 2, "absmax")
    n, k, block = (int(call.attributes[name]) for name in ("N", "K", "block_size"))
    kind = int(call.attributes["quant_type"])
    if kind not in (0, 1):
        raise ValueError(f"quant_type must be 0 (FP4) or 1 (NF4), got {kind}")
    spread = emit("BitShift", reshape(b, (*b.shape, 1)), np.array([4, 0], np.uint8), direction="RIGHT")
    codes = reshape(emit("BitwiseAnd", spread, 15), (2 * b.shape[0],))
    table = a.emitter.constant(np.array(TABLES[kind], np.float32).astype(a.dtype))
    numbers = emit("Gather", table, cast(first(codes, n * k), INT64))
    weight = reshape(numbers * spread_blocks(absmax, 0, block, n * k), (n, k))
    return [a @ (transpose(weight, (1, 0)) if call.attribute("transB", 1) else weight)]


def spread_blocks(x: Expression, axis: int, block: int, size: int) -> Expression:
    """Each entry of ``x`` ``block`` times along an axis, ``size`` in all."""
    x = first(x, -(-size // block), axis)
    once = (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :])
    times = (*x.shape[: axis + 1], block, *x.shape[axis + 1 :])
    whole = (*x.shape[:axis], x.shape[axis] * block, *x.shape[axis + 1 :])
    return first(reshape(expand(reshape(x, once), times), whole), size, axis)


def _gather_block_quantized(call: Call) -> list[Expression | None]:
    data, index, scales = required(call, 0, "data"), required(call, 1, "indices"), required(call, 2, "scales")
    zero_points, rank = argument(call, 3), data.ndim
    gather_axis = int(call.attribute("gather_axis", 0)) % rank
    quantize_axis = int(call.attribute("quantize_axis", 1)) % rank
    bits = int(call.attribute("bits", 4)) if data.dtype == np.uint8 else 8
    block = int(call.attribute("block_size", 128))
    if bits < 8 and gather_axis == rank - 1:
        raise ValueError(f"gather_axis must not be the last axis, along which {bits}-bit numbers are packed")
    index = cast(index, INT64)
    size = data.shape[gather_axis]
    is_valid = emit("And", emit("GreaterOrEqual", index, -size), emit("Less", index, size))
    index = where(is_valid, index, 0)
    numbers = cast(_gathered(data, index, gather_axis, bits), scales.dtype)
    place = quantize_axis if quantize_axis <= gather_axis else quantize_axis + index.ndim - 1
    of_scales = index
    if quantize_axis == gather_axis:
        of_scales = emit("Div", where(emit("Less", index, 0), index + size, index), max(block, 1) if block else size)

    def chosen(parameter: Expression, packed_bits: int) -> Expression:
        only_one = parameter.shape[gather_axis] == 1
        found = _gathered(parameter, index * 0 if only_one else of_scales, gather_axis, packed_bits)
        if quantize_axis == gather_axis:
            return found
        return spread_blocks(found, place, block or numbers.shape[place], numbers.shape[place])

    if zero_points is not None:
        numbers = numbers - cast(chosen(zero_points, bits), scales.dtype)
    elif data.dtype == np.uint8:
        numbers = numbers - float(1 << (bits - 1))
    rows = reshape(is_valid, (*(1,) * gather_axis, *index.shape, *(1,) * (rank - gather_axis - 1)))
    return [where(rows, numbers * chosen(scales, 8), 0)]


def _gathered(x: Expression, index: Expression, axis: int, bits: int) -> Expression:
    """Slices of ``x``, unpacked; types that Gather does not take are widened before."""
    if x.dtype in NARROW_INTEGERS:
        x = cast(x, np.dtype(np.int8))
    elif x.dtype.itemsize == 1 and x.dtype.kind not in "iu":
        x = cast(x, np.dtype(np.float32))
    found = emit("Gather", x, index, axis=axis)
    return found if bits == 8 else unpacked(found, bits)


composed("MatMulNBits", _matmul_n_bits, domain=MICROSOFT)
composed("MatMulBnb4", _matmul_bnb4, domain=MICROSOFT)
composed("GatherBlockQuantized", _gather_block_quantized, domain=MICROSOFT)
