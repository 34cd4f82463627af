"""Transpositions that exchange what lies densely: squares of numbers are turned in registers, by all threads.

All axes join to the rows and the columns of a matrix, or of several. Squares at an edge reach back over their
neighbours. Refused: elements that are not of four bytes, and matrices that hold no square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from toolkit.backends.iteration import iterate, permuted, row_major
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.squares import turned
from toolkit.backends.native.assembly.team import WORTH_A_THREAD, Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.registry import FLOAT32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node


class _Turn(NamedTuple):
    """``matrices`` of ``rows`` by ``columns`` as a result, whose rows lie ``apart``, those of the source ``given``.

    ``steps`` are how far apart the matrices are, in the source and in the result.
    """

    matrices: int
    rows: int
    columns: int
    given: int
    apart: int
    steps: tuple[int, int]

    @staticmethod
    def of(node: Node) -> _Turn | None:
        """What a Transpose does, if it is that."""
        order = node.attributes.get("perm") or range(len(node.x.shape))[::-1]
        shape = node.y.shape
        found = iterate(shape, [permuted(row_major(node.x.shape), order), row_major(shape)])
        sizes, (source, target) = found.sizes, found.strides
        if len(sizes) not in (2, 3) or source[-2] != 1:
            return None
        matrices, steps = (sizes[0], (source[0], target[0])) if len(sizes) == 3 else (1, (0, 0))
        return _Turn(matrices, sizes[-2], sizes[-1], source[-1], target[-2], steps)


def is_turned(node: Node) -> bool:
    """Whether rows become columns, and there are squares of them."""
    if node.x.dtype.itemsize != FLOAT32.itemsize or not node.x.size:
        return False
    turn = _Turn.of(node)
    return turn is not None and min(turn.rows, turn.columns) >= compiler().lanes(FLOAT32)


@kernel("", "Transpose", accepts=is_turned)
def lower_turning(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Whatever the elements are, their bits pass through registers as they are."""
    turn = _Turn.of(node)
    assert turn is not None, "others were not accepted"
    code = _code(turn, resources.threads if node.x.size >= WORTH_A_THREAD else 1)
    return CompiledKernel(code, plain_layouts(node.inputs), plain_layouts(node.outputs))


def _code(turn: _Turn, threads: int) -> Code:
    code, lanes = Code(2), compiler().lanes(FLOAT32)
    source, target = code.places
    blocks = -(-turn.rows // lanes)
    begin, end = Team(code, threads).share(turn.matrices * blocks)
    with code.loop(end, start=begin) as unit, code.loop(-(-turn.columns // lanes)) as piece:
        matrix = unit / blocks
        row = ((unit - matrix * blocks) * lanes).smaller(turn.rows - lanes)
        column = (piece * lanes).smaller(turn.columns - lanes)
        first = matrix * turn.steps[0] + row + column * turn.given
        loaded = [code.load(source, first + lane * turn.given, FLOAT32, lanes) for lane in range(lanes)]
        to = matrix * turn.steps[1] + row * turn.apart + column
        for lane, values in enumerate(turned(loaded)):
            code.store(values, target, to + lane * turn.apart)
    return code
