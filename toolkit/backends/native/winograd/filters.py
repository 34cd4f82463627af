"""Filters of convolutions as minimal filtering multiplies by them: seen at its points, one matrix for each.

They follow from a weight, and take 2 to 7 times its memory. A compiled kernel makes them: some networks have so many
that numpy would take longer than the first run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import joined
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.products.packing import Packed
from toolkit.backends.native.products.tile import width
from toolkit.backends.native.winograd.images import in_vectors
from toolkit.backends.native.winograd.transforms import Filtering, in_both_axes
from toolkit.backends.protocol import Kernel, Layout, Resources

FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class FilterPanels(Packed):
    """A weight (outputs, channels, taps, taps) as matrices (channels, outputs), in panels of ``width()`` outputs.

    A row of a panel, one channel for its outputs, is a unit: a line of the cache, or several. Channels fill whole
    vectors; those behind the last one, and outputs behind theirs, have zeros.

    ``is_turned``: those of the gradient by the input, which convolves with each filter read backwards, from outputs
    to channels.
    """

    filtering: Filtering
    is_turned: bool = False

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        outputs, channels = self._sides(given)
        return self.filtering.size**2, apart_in_units(-(-outputs // width()) * in_vectors(channels)), width()

    def packing(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        code = Code(2)
        outputs, channels = self._sides(source.shape)
        units = -(-outputs // width()) * in_vectors(channels)
        near, far = self.filtering.taps**2, source.shape[1] * self.filtering.taps**2
        steps = (near, far) if self.is_turned else (far, near)
        numbers = [code.index(number) for number in (outputs, channels, *steps, apart_in_units(units))]
        begin, end = Team(code, resources.threads).share(units)
        code.invoke(filter_function(self.filtering, self.is_turned), code.places, [begin, end, *numbers])
        return CompiledKernel(code, [source], [target])

    def _sides(self, given: tuple[int, ...]) -> tuple[int, int]:
        return (given[1], given[0]) if self.is_turned else (given[0], given[1])


def apart_in_units(units: int) -> int:
    """How many units the points lie apart that have ``units`` each: an odd number, to share no place in the cache."""
    return units | 1


@cache
def filter_function(filtering: Filtering, is_backwards: bool) -> str:
    """Filters seen at all points. Places: weight, target; numbers: begin, end, outputs, channels, three distances.

    The units from begin to end are made, of which a panel has one for each channel, in whole vectors of them. The
    distances are those between outputs and between channels in the weight, and the units between points. Lines are
    written past the caches: each point has its own, and reading them all before would take most of the time.
    """
    code = Code(2, numbers=7)
    weight, target = code.places
    begin, end, outputs, channels, output_apart, channel_apart, apart = code.numbers
    taps, lanes = filtering.taps, compiler().lanes(FLOAT32)
    units = (channels + (lanes - 1)) / lanes * lanes
    with code.loop(end, start=begin) as unit:
        panel = unit / units
        channel = unit - panel * units
        start = channel.smaller(channels - 1) * channel_apart
        places = [panel * width() + lane for lane in range(width())]
        starts = [output.smaller(outputs - 1) * output_apart + start for output in places]
        are_there = joined([(output < outputs) & (channel < channels) for output in places])
        found = [joined([code.load(weight, start + tap, FLOAT32) for start in starts]) for tap in range(taps**2)]
        found = [are_there.choose(values, 0.0) for values in found]
        if is_backwards:
            found.reverse()
        seen = in_both_axes(filtering.filter, [found[row * taps : (row + 1) * taps] for row in range(taps)])
        for point, value in enumerate(value for line in seen for value in line):
            for lane in range(0, width(), lanes):
                code.store_past(value.part(lane, lanes), target, (apart * point + unit) * width() + lane)
    code.settle()
    return compiler().name(code.text())
