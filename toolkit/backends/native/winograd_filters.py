"""Filters of convolutions as minimal filtering multiplies by them: seen at its points, one matrix for each.

They follow from a weight, and take 4 times its memory with tiles of 4 x 4. A compiled kernel makes them: some networks
have so many that numpy would take longer than the first run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.backends.native.code import Code
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.library import compiler
from toolkit.backends.native.number import Number, joined
from toolkit.backends.native.packing import Packed
from toolkit.backends.native.team import Team
from toolkit.backends.native.winograd_transforms import Filtering, in_both_axes
from toolkit.backends.protocol import Kernel, Layout, Resources

FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class FilterPanels(Packed):
    """A weight (outputs, channels, taps, taps) as matrices (channels, outputs), in panels of ``width`` outputs.

    ``is_turned``: those of the gradient by the input, which convolves with each filter read backwards, from outputs
    to channels.
    """

    width: int
    filtering: Filtering
    is_turned: bool = False

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        outputs, channels = self._sides(given)
        return self.filtering.size**2, -(-outputs // self.width), channels, self.width

    def packing(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        code = Code(2)
        given, target_place = code.places
        outputs, channels = self._sides(source.shape)
        panels = -(-outputs // self.width)
        begin, end = Team(code, resources.threads).share(panels * channels)
        with code.loop(end, start=begin) as at:
            panel = at / channels
            channel = at - panel * channels
            taps = self._taps(code, given, source.shape, panel * self.width, channel)
            seen = in_both_axes(self.filtering.filter, taps)
            for point, value in enumerate(value for line in seen for value in line):
                code.store(value, target_place, (point * panels * channels + at) * self.width)
        return CompiledKernel(code, [source], [target])

    def _sides(self, given: tuple[int, ...]) -> tuple[int, int]:
        return (given[1], given[0]) if self.is_turned else (given[0], given[1])

    def _taps(
        self, code: Code, place: str, given: tuple[int, ...], output: Number, channel: Number
    ) -> list[list[Number]]:
        """The filters of a panel of outputs for one channel, a vector for each tap; what is not there is repeated."""
        outputs, _ = self._sides(given)
        count = given[2] * given[3]
        far, near = given[1] * count, count
        each, other = (near, far) if self.is_turned else (far, near)
        starts = [(output + lane).smaller(outputs - 1) * each + channel * other for lane in range(self.width)]
        taps = [joined([code.load(place, start + tap, FLOAT32) for start in starts]) for tap in range(count)]
        if self.is_turned:
            taps.reverse()
        return [taps[row * given[3] : (row + 1) * given[3]] for row in range(given[2])]


def panel_width() -> int:
    """How many outputs are beside each other in registers."""
    return 2 * compiler().lanes(FLOAT32)
