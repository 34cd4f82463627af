"""Filters of minimal filtering seen at all points, in panels: functions that are compiled once a process.

Lines are written past the caches: each point has its own, and reading them all before would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BFLOAT16, FLOAT32, Number, joined
from toolkit.backends.native.assembly.squares import turned
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import WORD, width
from toolkit.backends.native.winograd.transforms import Line, Scheme, in_both_axes


@cache
def filter_function(filtering: Scheme, is_backwards: bool, given: np.dtype, dtype: np.dtype) -> str:
    """Filters seen at all points. Places: weight, target; numbers: begin, end, outputs, channels, three distances.

    The weight is of the type ``given``. The units from begin to end are made, of which a panel has one for each channel
    (each two of bfloat16), in whole vectors of them. Distances are those between outputs and between channels in the
    weight, and the units between points.
    """
    code = Code(2, numbers=7)
    weight, target = code.places
    begin, end, outputs, channels, output_apart, channel_apart, apart = code.numbers
    taps, lanes, together = filtering.taps, compiler().lanes(FLOAT32), _together(dtype)
    units = (channels + (lanes - 1)) / lanes * (lanes // together)

    def read(panel: Number, channel: Number) -> Line:
        start = channel.smaller(channels - 1) * channel_apart
        places = [panel * width() + lane for lane in range(width())]
        starts = [output.smaller(outputs - 1) * output_apart + start for output in places]
        are_there = joined([(output < outputs) & (channel < channels) for output in places])
        found = [joined([code.load(weight, start + tap, given) for start in starts]) for tap in range(taps**2)]
        return [are_there.choose(values.converted(FLOAT32), 0.0) for values in found]

    with code.loop(end, start=begin) as unit:
        panel = unit / units
        channel = (unit - panel * units) * together
        filters = [read(panel, channel + index) for index in range(together)]
        _store(code, filtering, filters, is_backwards, dtype, (code.store_past, target, unit, apart))
    code.settle()
    return compiler().name(code.text())


@cache
def whole_filter_function(
    filtering: Scheme, is_backwards: bool, given: np.dtype, dtype: np.dtype, *, stays_near: bool = False
) -> str:
    """As ``filter_function``, where outputs fill panels and channels fill vectors: reads whole vectors.

    Begin and end count vectors of channels, of which a panel has a whole number. What ``stays_near`` is read at once,
    and goes to the caches.
    """
    code = Code(2, numbers=7)
    weight, target = code.places
    begin, end, _, channels, output_apart, channel_apart, apart = code.numbers
    square, lanes, together = filtering.taps**2, compiler().lanes(FLOAT32), _together(dtype)
    space = code.scratch(FLOAT32, lanes * square * width())
    in_a_panel = channels / lanes
    with code.loop(end, start=begin) as vector:
        panel = vector / in_a_panel
        channel, output = (vector - panel * in_a_panel) * lanes, panel * width()
        start = output * output_apart + channel * channel_apart
        with code.loop(width(), lanes) as part:
            first = start + part * output_apart
            if is_backwards:
                _separate(code, (weight, given, first), channel_apart, square, space, part)
            else:
                _turn(code, (weight, given, first), output_apart, square, space, part)
        with code.loop(lanes, together) as inside:
            filters = [
                [
                    code.load(space, ((inside + index) * square + tap) * width(), FLOAT32, width())
                    for tap in range(square)
                ]
                for index in range(together)
            ]
            unit = (vector * lanes + inside) / together
            store = code.store if stays_near else code.store_past
            _store(code, filtering, filters, is_backwards, dtype, (store, target, unit, apart))
    if not stays_near:
        code.settle()
    return compiler().name(code.text())


def _together(dtype: np.dtype) -> int:
    """Channels of a unit."""
    return FLOAT32.itemsize // dtype.itemsize


def _turn(
    code: Code, weight: tuple[str, np.dtype, Number], apart: Number, square: int, space: str, part: Number
) -> None:
    """A vector of channels, all taps of one behind the other, for a vector of outputs, ``apart`` from each other.

    In ``space`` outputs lie beside each other, ``part`` of a panel of them; (channels, taps, outputs).
    """
    lanes, (place, given, start) = compiler().lanes(FLOAT32), weight
    with code.loop(square) as number:
        at = start + number * lanes
        rows = [code.load(place, at + apart * lane, given, lanes).converted(FLOAT32) for lane in range(lanes)]
        for index, values in enumerate(turned(rows)):
            code.store(values, space, (number * lanes + index) * width() + part)


def _separate(
    code: Code, weight: tuple[str, np.dtype, Number], apart: Number, square: int, space: str, part: Number
) -> None:
    """A vector of outputs, all taps of one behind the other, for a vector of channels; as ``_turn``."""
    lanes, (place, given, start) = compiler().lanes(FLOAT32), weight
    with code.loop(lanes) as channel:
        at = start + apart * channel
        found = [code.load(place, at + number * lanes, given, lanes).converted(FLOAT32) for number in range(square)]
        for tap in range(square):
            code.store(_every(found, tap, square), space, (channel * square + tap) * width() + part)


def _every(vectors: Sequence[Number], first: int, step: int) -> Number:
    """One vector of the numbers ``step`` apart, from ``first`` on, of vectors that follow each other."""
    lanes = vectors[0].lanes
    places = [divmod(first + step * lane, lanes) for lane in range(lanes)]
    found = vectors[0]
    for number, vector in enumerate(vectors):
        picks = [lanes + inside if at == number else lane for lane, (at, inside) in enumerate(places)]
        if picks != list(range(lanes)):
            found = found.picked(vector, picks)
    return found


def _store(
    code: Code,
    filtering: Scheme,
    filters: Sequence[Line],
    is_backwards: bool,
    dtype: np.dtype,
    unit: tuple[Callable[[Number, str, Number], None], str, Number, Number],
) -> None:
    """The taps of a panel of filters, for each channel that shares the unit, in ``dtype`` as they are seen.

    ``unit`` is how one stores, where, the first one, and how far apart points are.
    """
    lanes, side, seen = compiler().lanes(FLOAT32), filtering.taps, []
    store, target, first, apart = unit
    for taps in filters:
        ordered = taps[::-1] if is_backwards else taps
        rows = [ordered[row * side : (row + 1) * side] for row in range(side)]
        seen.append([value for line in in_both_axes(filtering.filter, rows) for value in line])
    for point, values in enumerate(zip(*seen, strict=True)):
        words = values[0] if dtype == FLOAT32 else _paired(*values)
        for lane in range(0, width(), lanes):
            store(words.part(lane, lanes), target, (apart * point + first) * width() + lane)


def _paired(one: Number, other: Number) -> Number:
    """Numbers of two vectors, rounded, in words of two."""
    halves = one.converted(BFLOAT16), other.converted(BFLOAT16)
    return halves[0].picked(halves[1], [at // 2 + at % 2 * one.lanes for at in range(2 * one.lanes)]).bits(WORD)
