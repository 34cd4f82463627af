"""The gradient of looking rows up: zeros, to which each row of the gradient is added where it was looked up.

Zeros are written as memory lies. Then every thread adds columns of its own, row after row, so that none waits for
another, and what is found does not depend on how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.code import BEYOND_CACHES, Code
from toolkit.backends.native.assembly.number import FLOATS, INDEX, Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.movement.lookup import INTEGERS
from toolkit.backends.native.reductions.columns import LINE
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

WORTH_A_THREAD = 1 << 14  # elements from which others help


def _adds_rows(node: Node) -> bool:
    index = node.inputs[1]
    assert index is not None
    return node.x.dtype in FLOATS and index.dtype in INTEGERS and node.x.size > 0 and node.y.size > 0


@kernel(TOOLKIT_DOMAIN, "GatherGradient", accepts=_adds_rows)
def lower_gather_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    index, size = node.inputs[1], node.y.shape[0]
    assert index is not None
    width, dtype = math.prod(node.y.shape[1:]), node.y.dtype
    clear, code = Code(3), Code(3)

    _clear(clear, clear.places[2], node.y.size, dtype, resources.threads)
    g, numbers, target = code.places
    team, lanes = Team(code, resources.threads if node.x.size >= WORTH_A_THREAD else 1), LINE // dtype.itemsize
    with code.loop(index.size) as number:
        given = code.load(numbers, number, index.dtype).converted(INDEX)
        row = (given < 0).choose(given + size, given)
        with code.where((row >= 0) & (row < size)):

            def add(column: Number, count: int, number: Number = number, row: Number = row) -> None:
                at = row * width + column
                code.store(
                    code.load(target, at, dtype, count) + code.load(g, number * width + column, dtype, count),
                    target,
                    at,
                )

            team.pieces(width, lanes, add)
    return CompiledKernel(clear, plain_layouts(node.inputs), plain_layouts(node.outputs), after=[code])


def _clear(code: Code, target: str, count: int, dtype: np.dtype, threads: int) -> None:
    """Zeros in cache lines, past the caches where these do not hold them anyway."""
    lanes = LINE // dtype.itemsize
    zeros = code.constant(0, dtype, lanes)
    store = code.store_past if count * dtype.itemsize >= BEYOND_CACHES else code.store
    team = Team(code, threads if count >= WORTH_A_THREAD else 1)

    def clear(at: Number, here: int) -> None:
        if here == lanes:
            store(zeros, target, at)
        else:
            code.store(zeros.part(0, here), target, at)

    team.pieces(count, lanes, clear)
    code.settle()
