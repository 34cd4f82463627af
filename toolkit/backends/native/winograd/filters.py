"""Filters of convolutions as minimal filtering multiplies by them: seen at its points, one matrix for each.

They follow from a weight, and take 2 to 7 times its memory. A compiled kernel makes them: some networks have so many
that numpy would take longer than the first run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import FLOAT32
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.products.packing import Packed
from toolkit.backends.native.products.tile import width
from toolkit.backends.native.winograd.filter_functions import filter_function, whole_filter_function
from toolkit.backends.native.winograd.images import in_vectors
from toolkit.backends.native.winograd.transforms import Scheme
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

    filtering: Scheme
    is_turned: bool = False
    dtype: np.dtype = FLOAT32

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        return self.filtering.filters**2, apart_in_units(self._units(given)), width() * self._together

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
        lanes = compiler().lanes(FLOAT32)
        is_whole = not (outputs % width() or channels % lanes)
        begin, end = Team(code, resources.threads).share(units * self._together // lanes if is_whole else units)
        make = whole_filter_function if is_whole else filter_function
        function = make(self.filtering, self.is_turned, source.dtype, self.dtype)
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
