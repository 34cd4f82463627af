"""Packing of large matrices in panels by compiled loops and several threads: a large model waits for little else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import INDEX, Number, joined
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.products.packing import Panels
from toolkit.backends.protocol import Kernel, Layout, Resources

FLOAT32 = np.dtype(np.float32)
TOGETHER = 8  # panels that are filled beside each other, so that rows are read in long pieces


@dataclass(frozen=True, slots=True)
class LargePanels(Panels):
    """The same layout of float32 in whole vectors, filled by a compiled kernel."""

    def packing(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        panels, depth, width = self.shape(source.shape)
        sizes = np.array([panels, depth, math.prod(source.shape) // depth], np.int64)
        code = _code(width, self.is_turned, resources.threads)
        return CompiledKernel(code, [source], [target], tables=[sizes])


@cache
def _code(width: int, is_turned: bool, threads: int) -> Code:
    code, lanes = Code(3), compiler().lanes(FLOAT32)
    source, target, sizes = code.places
    team = Team(code, threads)
    panels, depth, columns = (code.load(sizes, index, INDEX) for index in range(3))
    begin, end = team.share(panels)

    def element(step: Number, column: Number) -> Number:
        return column * depth + step if is_turned else step * columns + column

    def whole(panel: Number, step: Number, to: Number) -> None:
        for vector in range(0, width, lanes):
            column = panel * width + vector
            if is_turned:
                found = joined([code.load(source, element(step, column + lane), FLOAT32) for lane in range(lanes)])
            else:
                found = code.load(source, element(step, column), FLOAT32, lanes)
            code.store(found, target, to + vector)

    def partial(panel: Number, step: Number, to: Number) -> None:
        with code.loop(width) as index:
            column = panel * width + index
            value = code.cell(code.constant(0.0, FLOAT32))
            with code.where(column < columns):
                value.set(code.load(source, element(step, column), FLOAT32))
            code.store(value.get(), target, to + index)

    together = 1 if is_turned else TOGETHER
    with (
        code.loop(end, together, start=begin) as first,
        code.loop(depth) as step,
        code.loop((first + together).smaller(end), start=first) as panel,
    ):
        to = (panel * depth + step) * width
        is_whole = (panel + 1) * width <= columns
        with code.where(is_whole):
            whole(panel, step, to)
        with code.where(~is_whole):
            partial(panel, step, to)
    return code
