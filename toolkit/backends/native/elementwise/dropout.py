"""Dropout that drops: its mask is drawn and applied in one pass, by all threads.

Refused: seeds in the file, ratios and modes that are not known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, FLOATS, Number, computed
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.drawing import BLOCK, TOGETHER, Draw, DrawingKernel
from toolkit.backends.native.kernel import plain_layouts
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import dropped_share
from toolkit.compiler.program import Node

WORTH_A_THREAD = 1 << 13  # elements from which others help


def _drops(node: Node) -> bool:
    mask = node.outputs[1] if len(node.outputs) > 1 else None
    is_served = node.outputs[0] is not None and computed(node.x.dtype) in FLOATS and node.x.size > 0
    is_known = "seed" not in node.attributes and dropped_share(node) is not None
    return is_served and is_known and (mask is None or mask.dtype == BOOLEAN)


@kernel("", "Dropout", accepts=_drops)
def lower_dropout(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return DrawingKernel(
        _written(node, resources.threads),
        [plain(node.x.dtype, node.x.shape), *[None] * (len(node.inputs) - 1)],
        plain_layouts(node.outputs),
        resources,
        in_place=[(0, 0)],
    )


def _written(node: Node, threads: int) -> Code:
    """Whole pairs of vectors are divided among threads, the first one has what is left."""
    dtype, size, share = node.x.dtype, node.x.size, dropped_share(node)
    assert share is not None
    code = Code(2 + sum(item is not None for item in node.outputs))
    x, y, *mask, key = code.places
    team = Team(code, threads if size >= WORTH_A_THREAD else 1)
    draw = Draw(code, key, share)

    def piece(block: Number, count: int) -> None:
        """``count`` elements of a block from its first on."""
        for half, kept in enumerate(draw.kept(block)):
            here = min(count - half * TOGETHER, TOGETHER)
            if here <= 0:
                return
            at = block * BLOCK + half * TOGETHER
            value = code.load_some(x, at, dtype, here, TOGETHER).converted(computed(dtype)) * (1.0 / (1.0 - share))
            code.store_some(kept.choose(value, 0.0).converted(dtype), y, at, here)
            for place in mask:
                code.store_some(kept, place, at, here)

    blocks, rest = divmod(size, BLOCK)
    begin, end = team.share(blocks)
    with code.loop(end, start=begin) as block:
        piece(block, BLOCK)
    if rest:
        with code.where(team.number.equals(0)):
            piece(code.index(blocks), rest)
    return code
