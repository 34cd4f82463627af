"""Filters of convolutions as minimal filtering multiplies by them: seen at its points, one matrix for each.

They follow from a weight, and take 2 to 7 times its memory. A compiled kernel makes them: some networks have so many
that numpy would take longer than the first run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BFLOAT16, FLOAT32, Number, joined
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.products.packing import Packed
from toolkit.backends.native.products.tile import WORD, width
from toolkit.backends.native.winograd.images import in_vectors
from toolkit.backends.native.winograd.transforms import Filtering, in_both_axes
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Variable


@dataclass(frozen=True, slots=True)
class FilterPanels(Packed):
    """A weight (outputs, channels, taps, taps) as matrices (channels, outputs), in panels of ``width()`` outputs.

    A row of a panel, one channel for its outputs, is a unit: a line of the cache, or several. Channels fill whole
    vectors; those behind the last one, and outputs behind theirs, have zeros. Of bfloat16, a unit has two channels, for
    each output beside each other; the weight itself may be float32 as well, and is rounded once it is seen.

    ``is_turned``: those of the gradient by the input, which convolves with each filter read backwards, from outputs
    to channels.
    """

    filtering: Filtering
    is_turned: bool = False
    dtype: np.dtype = FLOAT32

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        return self.filtering.size**2, apart_in_units(self._units(given)), width() * self._together

    def layout(self, variable: Variable | None) -> Layout:
        assert variable is not None, "filters are there"
        nbytes = math.prod(self.shape(variable.shape)) * self.dtype.itemsize
        return Layout(variable.dtype, variable.shape, nbytes, self, is_derived=True)

    def packing(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        code = Code(2)
        outputs, channels = self._sides(source.shape)
        units = self._units(source.shape)
        near, far = self.filtering.taps**2, source.shape[1] * self.filtering.taps**2
        steps = (near, far) if self.is_turned else (far, near)
        numbers = [code.index(number) for number in (outputs, channels, *steps, apart_in_units(units))]
        begin, end = Team(code, resources.threads).share(units)
        function = filter_function(self.filtering, self.is_turned, source.dtype, self.dtype)
        code.invoke(function, code.places, [begin, end, *numbers])
        return CompiledKernel(code, [source], [target])

    @property
    def _together(self) -> int:
        """Channels of a unit."""
        return FLOAT32.itemsize // self.dtype.itemsize

    def _units(self, given: tuple[int, ...]) -> int:
        outputs, channels = self._sides(given)
        return -(-outputs // width()) * in_vectors(channels) // self._together

    def _sides(self, given: tuple[int, ...]) -> tuple[int, int]:
        return (given[1], given[0]) if self.is_turned else (given[0], given[1])


def apart_in_units(units: int) -> int:
    """How many units the points lie apart that have ``units`` each: an odd number, to share no place in the cache."""
    return units | 1


@cache
def filter_function(filtering: Filtering, is_backwards: bool, given: np.dtype, dtype: np.dtype) -> str:
    """Filters seen at all points. Places: weight, target; numbers: begin, end, outputs, channels, three distances.

    The weight is of the type ``given``. The units from begin to end are made, of which a panel has one for each channel
    (each two of bfloat16), in whole vectors of them. Distances are those between outputs and between channels in the
    weight, and the units between points. Lines are written past the caches: each point has its own, and reading them
    all before would take most of the time.
    """
    code = Code(2, numbers=7)
    weight, target = code.places
    begin, end, outputs, channels, output_apart, channel_apart, apart = code.numbers
    taps, lanes = filtering.taps, compiler().lanes(FLOAT32)
    together = FLOAT32.itemsize // dtype.itemsize
    units = (channels + (lanes - 1)) / lanes * (lanes // together)

    def see(panel: Number, channel: Number) -> list[Number]:
        start = channel.smaller(channels - 1) * channel_apart
        places = [panel * width() + lane for lane in range(width())]
        starts = [output.smaller(outputs - 1) * output_apart + start for output in places]
        are_there = joined([(output < outputs) & (channel < channels) for output in places])
        found = [joined([code.load(weight, start + tap, given) for start in starts]) for tap in range(taps**2)]
        found = [are_there.choose(values.converted(FLOAT32), 0.0) for values in found]
        if is_backwards:
            found.reverse()
        seen = in_both_axes(filtering.filter, [found[row * taps : (row + 1) * taps] for row in range(taps)])
        return [value for line in seen for value in line]

    with code.loop(end, start=begin) as unit:
        panel = unit / units
        channel = (unit - panel * units) * together
        seen = [see(panel, channel + index) for index in range(together)]
        for point, values in enumerate(zip(*seen, strict=True)):
            words = values[0] if together == 1 else _paired(*values)
            for lane in range(0, width(), lanes):
                code.store_past(words.part(lane, lanes), target, (apart * point + unit) * width() + lane)
    code.settle()
    return compiler().name(code.text())


def _paired(one: Number, other: Number) -> Number:
    """Numbers of two vectors, rounded, in words of two."""
    halves = one.converted(BFLOAT16), other.converted(BFLOAT16)
    return halves[0].picked(halves[1], [at // 2 + at % 2 * one.lanes for at in range(2 * one.lanes)]).bits(WORD)
