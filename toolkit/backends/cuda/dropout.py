"""Dropout that drops: a mask from counters and a key, in one pass.

The key comes from the context's generator when the node is lowered, so one seed gives one sequence of masks. How often
the node has run is counted on the device, which lets a captured graph draw anew each time. Refused: seeds in the file,
ratios and modes that are not known beforehand, and versions before 12.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.launch import NOTHING, Argument, Input, Kept, Output, SourceKernel, in_one_row
from toolkit.backends.cuda.layouts import like
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import FLOAT_TYPES, Function, literal, reads, type_name, writes
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node

FIRST_WITH_TRAINING_MODE = 12
BOOL = np.dtype(bool)


def _share(node: Node) -> float | None:
    """The share that a node drops, ``None`` where it drops nothing or it is not known."""
    ratio, live = (*node.inputs[1:3], None, None)[:2]
    if live is None or live.constant is None or not bool(live.constant.reshape(-1)[0]):
        return None
    if ratio is None:
        return 0.5
    return None if ratio.constant is None else float(ratio.constant.reshape(-1)[0])


def _drops(node: Node) -> bool:
    is_known = node.version >= FIRST_WITH_TRAINING_MODE and _share(node) is not None
    return is_known and "seed" not in node.attributes and node.x.dtype in FLOAT_TYPES


@kernel("", "Dropout", accepts=_drops)
def lower_dropout(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout, share = inputs[0], _share(node)
    assert layout is not None and share is not None
    dtype, size = layout.dtype, node.x.size
    scale = literal(1.0 / (1.0 - share) if share < 1.0 else 0.0, dtype)
    numbers = f"(float32){share!r}, {scale}, {size}ull"
    parameters = (reads("x", dtype), writes("y", dtype), "bool* mask", "const uint64* step", "uint64 key")
    drop = Function("Dropout", parameters, f"    drawing::drop(x, y, mask, step, key, {numbers});", ("random",))
    count = Function("count_step", ("uint64* step",), "    *step += 1;")
    key = np.uint64(resources.random.integers(0, 1 << 64, dtype=np.uint64))
    has_mask = len(node.outputs) > 1 and node.outputs[1] is not None
    mask: Argument = Output(1) if has_mask else NOTHING
    launches = [
        in_one_row(drop, -(-size // 4), (Input(0), Output(0), mask, Kept(), key)),
        in_one_row(count, 1, (Kept(),), threads=1),
    ]
    outputs: list[Layout | None] = [
        layout,
        *(like(layout, BOOL, layout.shape) if has_mask else None for _ in node.outputs[1:]),
    ]
    rest: list[Layout | None] = [None] * (len(inputs) - 1)
    name = f"counted draw of {type_name(dtype)}"
    return SourceKernel(name, launches, [layout, *rest], outputs, resources, in_place=((0, 0),), kept=8)
