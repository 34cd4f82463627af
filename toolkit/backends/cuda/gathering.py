"""Weighted sums along axes by tables: what resampling, its gradient and pads with copies are.

A table tells for each place along an axis which places of the source count there, and how much. All axes are gone
through by one kernel, each thread for one element of the result, in the layout of the source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.backends.cuda.coordinates import coordinates
from toolkit.backends.cuda.launch import Input, Launch, Output, Table, in_one_row
from toolkit.backends.cuda.layouts import memory_order, strides
from toolkit.backends.cuda.source import FLOAT_TYPES, Function, index_type, literal, type_name, wide_name, wide_type
from toolkit.backends.protocol import Layout
from toolkit.operators.standard.interpolation import Taps

FLOAT64 = np.dtype(np.float64)
OUTSIDE = -1  # in the place of an offset: the element is beyond the source
UNROLLED = 4  # taps up to which a loop is written out


@dataclass(frozen=True, slots=True)
class Along:
    """The taps along one axis in tables of all axes: the first entry, and how many there are for each place."""

    axis: int
    first: int
    count: int


def gather(name: str, source: Layout, target: Layout, steps: Sequence[tuple[int, Taps]], beyond: float = 0.0) -> Launch:
    """``target`` as sums of ``source`` by the taps of some axes; what is outside becomes ``beyond``."""
    given = strides(source)
    found = [taps for _, taps in steps]
    offsets = [_offsets(taps, given[axis]) for axis, taps in steps]
    firsts = np.cumsum([0, *(taps.index.size for taps in found)]).tolist()
    along = [Along(axis, first, taps.index.shape[1]) for (axis, taps), first in zip(steps, firsts, strict=False)]
    weighs = any(taps.weight is not None and not _copies(taps) for taps in found)
    at = _computed_in(source.dtype) if weighs else source.dtype
    weights = [np.ones(taps.index.shape) if taps.weight is None else taps.weight for taps in found]
    tables = [np.concatenate([item.reshape(-1) for item in items] or [np.zeros(1)]) for items in (offsets, weights)]
    count = math.prod(target.shape)
    index = index_type(max(count, 1))
    sizes, places, names = _axes(source, target, {axis for axis, _ in steps})
    lines, made = coordinates("at", sizes, index)
    terms = [f"(uint64){made[number]} * {step}" for number, step in places if step]
    place_of = {axis: made[number] for number, axis in names.items()}
    body = [
        f"const {index} at = ({index})blockIdx.x * 256u + threadIdx.x;",
        f"if (at >= {count}u) return;",
        *lines,
        f"const {type_name(source.dtype)}* from = x + {' + '.join(terms) or '0'};",
        *_sums(along, place_of, at, weighs, any(taps.outside is not None for taps in found)),
        f"y[at] = {_result(source.dtype, beyond, weighs, any(taps.outside is not None for taps in found))};",
    ]
    element = type_name(source.dtype)
    kind = wide_name(at) if weighs else "float32"
    parameters = (f"const {element}* x", "const int32* offsets", f"const {kind}* weights", f"{element}* y")
    function = Function(name, parameters, "\n".join(f"    {line}" for line in body))
    shares = Table.of(tables[1].astype(wide_type(at) if weighs else np.float32))
    arguments = (Input(0), Table.of(tables[0].astype(np.int32)), shares, Output(0))
    return in_one_row(function, count, arguments)


def _copies(taps: Taps) -> bool:
    """Whether each element is one of the source, or outside."""
    return taps.index.shape[1] == 1 and (taps.weight is None or taps.outside is not None)


def _computed_in(dtype: np.dtype) -> np.dtype:
    return wide_type(dtype) if dtype in FLOAT_TYPES else FLOAT64


def _offsets(taps: Taps, stride: int) -> np.ndarray:
    found = taps.index * stride
    return found if taps.outside is None else np.where(taps.outside[:, None], OUTSIDE, found)


def _axes(source: Layout, target: Layout, tapped: set[int]) -> tuple[list[int], list[tuple[int, int]], dict[int, int]]:
    """The axes that a thread's number is taken apart into, in the order of memory.

    Returns their sizes, (number, stride in the source) of those that are passed through, and which axis is which of
    those with taps. Neighbours that are passed through together are one.
    """
    steps = strides(source)
    sizes: list[int] = []
    passed: list[tuple[int, int]] = []
    names: dict[int, int] = {}
    for axis in memory_order(target):
        size = target.shape[axis]
        if axis in tapped:
            names[len(sizes)] = axis
        elif passed and passed[-1][0] == len(sizes) - 1 and passed[-1][1] == steps[axis] * size:
            sizes[-1] *= size
            passed[-1] = (len(sizes) - 1, steps[axis])
            continue
        else:
            passed.append((len(sizes), steps[axis]))
        sizes.append(size)
    return sizes or [1], passed, names


def _sums(along: Sequence[Along], place_of: dict[int, str], at: np.dtype, weighs: bool, has_outside: bool) -> list[str]:
    """Loops within loops, the sum of each weighted by the one around it."""
    kind = wide_name(at)
    lines = ["bool is_outside = false;"] if has_outside else []
    place = ["from"]
    if not weighs:
        for number, item in enumerate(along):
            lines.append(f"const int32 o{number} = offsets[{item.first} + {place_of[item.axis]}];")
            if has_outside:
                lines.append(f"is_outside |= o{number} < 0;")
            place.append(f"(o{number} < 0 ? 0 : o{number})" if has_outside else f"o{number}")
        return [*lines, f"const auto found = *({' + '.join(place)});"]
    lines.append(f"{kind} sum0 = 0;")
    for number, item in enumerate(along):
        entry = f"{item.first}u + (uint64){place_of[item.axis]} * {item.count}u + k{number}"
        unroll = ["#pragma unroll"] if item.count <= UNROLLED else []
        lines += [
            *unroll,
            f"for (uint32 k{number} = 0; k{number} < {item.count}u; ++k{number}) {{",
            f"const int32 o{number} = offsets[{entry}];",
            f"const {kind} w{number} = weights[{entry}];",
            *([f"if (o{number} < 0) {{ is_outside = true; continue; }}"] if has_outside else []),
            f"{kind} sum{number + 1} = 0;",
        ]
        place.append(f"o{number}")
    last = len(along)
    lines.append(f"sum{last} += converted<{kind}>(wide(*({' + '.join(place)})));")
    for number in reversed(range(last)):
        lines += [f"sum{number} += w{number} * sum{number + 1};", "}"]
    return [*lines, f"const {kind} found = sum0;"]


def _result(dtype: np.dtype, beyond: float, weighs: bool, has_outside: bool) -> str:
    """What is stored: integers are rounded and saturated."""
    element = type_name(dtype)
    if not weighs:
        text = "found"
    elif dtype in FLOAT_TYPES:
        text = f"narrow<{element}>(found)"
    else:
        low, high = (literal(float(bound), FLOAT64) for bound in (np.iinfo(dtype).min, np.iinfo(dtype).max))
        text = f"({element})fmin(fmax(rint(found), {low}), {high})"
    if not has_outside:
        return text
    value = f"narrow<{element}>({literal(beyond, dtype)})"
    return f"is_outside ? {value} : ({element}){text}"
