"""Elementwise nodes and regions of them: one pass over memory, whatever is computed on the way.

The innermost axis is done a vector at a time, what is left of it in one vector that is only partly used. Operands that
broadcast are read where their strides say. Constants of one element become part of the kernel. What works on tensors
of one shape alone may do so in whatever layout they lie: see ``is_uniform_work``. Numbers of half width are float32
from where they are read to where they are written: a region rounds its results, nothing in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np

from toolkit.backends.elementwise_work import Shape, Work, broadcast_shapes, is_region, work_of
from toolkit.backends.iteration import broadcast_strides, iterate
from toolkit.backends.native.assembly.code import BEYOND_CACHES, Code
from toolkit.backends.native.assembly.number import FLOATS, Number, computed
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.elementwise.spelling import SPELLINGS, Asked, spelling_of
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.record import canonical_domain
from toolkit.operators.standard.elementwise_region import REGION, Line

WORTH_A_THREAD = 1 << 15  # operations on elements from which others help


def shapes_of(node: Node) -> list[Shape | None] | None:
    """See ``broadcast_shapes``; ``None`` too for what cannot be said, and for nothing."""
    return None if spelling_of(node) is None or not node.y.size else broadcast_shapes(node)


def is_elementwise(node: Node) -> bool:
    """Whether there is a kernel for the node."""
    return is_region(node) or shapes_of(node) is not None


@kernel("", *(name for domain, name in SPELLINGS if not domain), accepts=is_elementwise)
@kernel(TOOLKIT_DOMAIN, *(name for domain, name in SPELLINGS if domain), accepts=is_elementwise)
@kernel(TOOLKIT_DOMAIN, REGION, accepts=is_elementwise)
def lower_elementwise(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """All tensors in row-major order, or in a layout of a library; the result may overwrite an input like it."""
    work = work_of(node)
    read = [item is not None and item.constant is None for item in work.operands]
    lies = _common_layout(node, inputs)
    wanted = [
        lies or plain(item.dtype, item.shape) if item is not None and is_read else None
        for item, is_read in zip(node.inputs, read, strict=True)
    ]
    given = [lies or plain(item.dtype, item.shape) for item in node.outputs if item is not None]
    whole = [layout is not None and layout.shape == work.shape for layout in wanted]
    if lies is not None:
        work = _flat(work, lies.nbytes // lies.dtype.itemsize)
    in_place = [
        (output, index)
        for output, made in enumerate(given)
        for index, layout in enumerate(wanted)
        if whole[index] and layout is not None and layout.nbytes == made.nbytes
    ]
    return CompiledKernel(_Writer(work, resources.threads).code, wanted, given, in_place=in_place)


def is_uniform_work(node: Node) -> bool:
    """Whether an elementwise node may go over memory without knowing how tensors lie.

    All are of one type and shape, numbers beside them are known, and of zeros zeros become: those of padding.
    """
    tensors = [item for item in (*node.inputs, *node.outputs) if item is not None and not _is_known_number(item)]
    reference = None if node.record is None else node.record.reference
    if reference is None or any((item.dtype, item.shape) != (node.y.dtype, node.y.shape) for item in tensors):
        return False
    given = [
        item if item is None else item.constant if _is_known_number(item) else np.zeros(1, item.dtype)
        for item in node.inputs
    ]
    with np.errstate(all="ignore"):
        made = reference(*given, **node.attributes)
    return not any(np.any(item) for item in (made if isinstance(made, tuple) else (made,)))


def _is_known_number(variable: Variable) -> bool:
    return variable.constant is not None and variable.size == 1


def _common_layout(node: Node, inputs: Sequence[Layout | None]) -> Layout | None:
    """The layout of a library in which most of the inputs lie, of several the last; ``None`` for row-major order."""
    found = [item for item in inputs if item is not None and not item.is_plain and not item.is_derived]
    if not found or not is_uniform_work(node):
        return None
    return max(reversed(found), key=found.count)


def _flat(work: Work, count: int) -> Work:
    """The same for each of ``count`` elements one behind the other."""
    operands = [
        item if item is None or item.constant is not None else item._replace(shape=(count,)) for item in work.operands
    ]
    return work._replace(operands=operands, shape=(count,))


class _Writer:
    """Writes the code of some work."""

    def __init__(self, work: Work, threads: int) -> None:
        self._work, self._types = work, work.types()
        shapes = [item.shape for item in work.operands if item is not None and item.constant is None]
        self._tensors = len(shapes)
        self.code = Code(self._tensors + len(work.results))
        rank = len(work.shape)
        steps = [broadcast_strides(shape, rank) for shape in (*shapes, work.shape)]
        self._iteration = iterate(work.shape, steps)
        widest = min(compiler().lanes(dtype) for dtype in self._touched())
        inner = self._iteration.sizes[-1]
        self._lanes = widest if inner >= widest else inner
        is_one_run = len(self._iteration.sizes) == 1 and self._lanes == widest
        stored = max(item.itemsize for item in self._types if item is not None)
        self._goes_past = is_one_run and inner * stored >= BEYOND_CACHES
        self._write(threads)

    def _touched(self) -> list[np.dtype]:
        """The types that decide how many elements one step takes: those computed with, floats above all."""
        present = [computed(item) for item in self._types if item is not None]
        return [item for item in present if item in FLOATS] or present

    def _write(self, threads: int) -> None:
        """All elements, divided among threads along the outermost axis."""
        team = Team(self.code, threads if math.prod(self._work.shape) * len(self._work.lines) >= WORTH_A_THREAD else 1)
        *outer, inner = self._iteration.sizes
        starts = [self.code.index(0) for _ in self._iteration.strides]
        if not outer:
            team.pieces(inner, self._lanes, partial(self._piece, starts))
            if self._goes_past:
                self.code.settle()
            return
        with ExitStack() as loops:
            begin, end = team.share(outer[0])
            for axis, size in enumerate(outer):
                loop = self.code.loop(size) if axis else self.code.loop(end, start=begin)
                position = loops.enter_context(loop)
                starts = [
                    start + position * own[axis] if own[axis] else start
                    for start, own in zip(starts, self._iteration.strides, strict=True)
                ]
            self.code.pieces(inner, self._lanes, partial(self._piece, starts))

    def _piece(self, starts: Sequence[Number], position: Number, count: int) -> None:
        """``count`` elements of the inner axis from ``position`` on, in one vector."""
        steps = [own[-1] for own in self._iteration.strides]
        values: list[Number | None] = []
        tensors = iter(range(self._tensors))
        for item in self._work.operands:
            if item is None:
                values.append(None)
            elif item.constant is not None:
                values.append(self.code.constant(item.constant.reshape(-1)[0], computed(item.dtype), self._lanes))
            else:
                tensor = next(tensors)
                at = starts[tensor] + position * steps[tensor] if steps[tensor] else starts[tensor]
                place = self.code.places[tensor]
                read = self.code.load_some(place, at, item.dtype, count, self._lanes, steps[tensor])
                values.append(read.converted(computed(item.dtype)))
        for line in self._work.lines:
            values.append(self._say(line, values))
        at = starts[-1] + position
        for number, value in enumerate(self._work.results):
            made, place = values[value], self.code.places[self._tensors + number]
            stored = self._types[value]
            assert made is not None
            assert stored is not None
            if self._goes_past and count == self._lanes and made.dtype in FLOATS:
                self.code.store_past(made.converted(stored), place, at)
            else:
                self.code.store_some(made.converted(stored), place, at, count)

    def _say(self, line: Line, values: Sequence[Number | None]) -> Number:
        (made,) = line.types
        assert made is not None
        operands = [None if item is None else values[item] for item in line.operands]
        asked = Asked(line.version, line.attributes, operands, computed(made[0]))
        return SPELLINGS[canonical_domain(line.domain), line.op_type].say(asked)
