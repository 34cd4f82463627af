"""Items: how many of a batch a program had better compute at a time, where each is computed for itself.

Activations of a large batch go through memory between two layers; those of a few items stay in the caches, and take
less of an arena. The price is that every part of the batch reads the parameters again. So a batch is divided where the
former is clearly more. Programs of which some layer may look at two items (a product of activations, a reduction of the
whole, whatever is not listed here) are never divided.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.work import products
from toolkit.operators.expression import TOOLKIT_DOMAIN

LAST_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")  # of Linux, such as 32768K
USUAL_CACHE = 32 << 20  # bytes, where the system does not say
SHARE = 2  # what a layer reads and writes stays in this part of the last cache; others use it too
MOST_PRODUCTS = 16  # multiplications for a byte: with more, memory is not what a layer waits for
PRODUCTS_OF_A_BYTE = 3  # that are computed in the time in which memory brings a byte
WORTH = 6  # what is saved must be this part of what the products take, or nobody notices
STEP_NBYTES = 1 << 17  # what memory brings while one more step is called, five microseconds
DEAR = 4  # how much more is to be saved than parameters cost: they also meet fewer rows in every turn

_ALONG = """Abs Add Clip Div Elu Gelu GeluTanh HardSigmoid HardSwish LeakyRelu Max Min Mish Mul Neg PRelu Relu Sigmoid
    Silu Sub Sum Tanh Where Cast Exp Log Sqrt Pow Reciprocal Floor Ceil Round Identity"""
_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_OF_THE_FIRST = """AveragePool BatchNormalization Conv ConvTranspose DepthToSpace FusedConv GlobalAveragePool
    GlobalMaxPool GroupNormalization InstanceNormalization InvertedResidual LRN LpPool MaxPool Resize SpaceToDepth
    Upsample"""


def items_at_once(program: Program, batch_size: int) -> int:
    """How many of ``batch_size`` items to compute at a time, a divisor of it; all where that is as good."""
    batched = _batched(program, batch_size) if batch_size > 1 else None
    if batched is None:
        return batch_size
    moved = [_moved(node, batched) for node in program.nodes]
    known = {item for node in program.nodes for item in node.inputs if item is not None and is_static(item)}
    parameters = sum(item.nbytes for item in known)
    room = _cache_nbytes() // SHARE

    def price(items: int) -> int:
        """Bytes that go through memory."""
        turns = batch_size // items
        through = sum(nbytes for nbytes in moved if nbytes * items > room * batch_size)
        read = parameters * DEAR if parameters > room else 0
        return through + (turns - 1) * (read + len(moved) * STEP_NBYTES)

    divisors = [items for items in range(1, batch_size + 1) if batch_size % items == 0]
    best = min(reversed(divisors), key=price)
    meanwhile = sum(map(products, program.nodes)) / PRODUCTS_OF_A_BYTE
    return best if (price(batch_size) - price(best)) * WORTH > meanwhile else batch_size


def _moved(node: Node, batched: set[Variable | None]) -> int:
    """Bytes of activations that a node waits for: none of a view, nor where it multiplies meanwhile."""
    if node.op_type in _VIEWS:
        return 0
    touched = {item for item in (*node.inputs, *node.outputs) if item is not None and item in batched}
    nbytes = sum(item.nbytes for item in touched)
    return nbytes if products(node) < nbytes * MOST_PRODUCTS else 0


@cache
def _cache_nbytes() -> int:
    try:
        text = LAST_CACHE.read_text().strip()
        return int(text.removesuffix("K")) << 10
    except (OSError, ValueError):
        return USUAL_CACHE


def _batched(program: Program, batch_size: int) -> set[Variable | None] | None:
    """What has an entry for each item, along its first axis; ``None`` where some layer may look at several items."""
    found: set[Variable | None] = set(program.inputs.values())
    if not all(_has_items(item, batch_size) for item in (*found, *program.outputs.values())):
        return None
    for node in program.nodes:
        if not any(item in found for item in node.inputs):
            continue
        if node.role != "forward" or not all(item is None or _has_items(item, batch_size) for item in node.outputs):
            return None
        rule = _RULES.get(node.op_type) if node.domain in ("", TOOLKIT_DOMAIN) else None
        if rule is None or not rule(node, found):
            return None
        found.update(item for item in node.outputs if item is not None)
    return found if all(item in found for item in program.outputs.values()) else None


def _has_items(item: Variable | None, batch_size: int) -> bool:
    return item is not None and len(item.shape) > 0 and item.shape[0] == batch_size


def _goes_along(node: Node, batched: set[Variable | None]) -> bool:
    """Element by element: what has no items is alike for all of them."""
    rank = len(node.y.shape)
    return all(
        len(item.shape) == rank if item in batched else len(item.shape) < rank or item.shape[0] == 1
        for item in node.inputs
        if item is not None
    )


def _follows_the_first(node: Node, batched: set[Variable | None]) -> bool:
    """Item by item of the first input, and of others that have the shape of the result; the rest is known.

    Not so the Indices of MaxPool, which count from the first item on, and normalisation by the statistics of a batch.
    """
    if any(item is not None for item in node.outputs[1:]) or node.attributes.get("training_mode"):
        return False
    return node.x in batched and all(
        item not in batched or item.shape == node.y.shape for item in node.inputs[1:] if item is not None
    )


def _multiplies_rows(node: Node, batched: set[Variable | None]) -> bool:
    """Rows by one matrix."""
    flags = ("transA", "swapA", "swapB", "swapY")
    matrix = node.inputs[1]
    is_usual = matrix is not None and len(matrix.shape) == 2 and not any(node.attributes.get(name) for name in flags)
    return is_usual and len(node.x.shape) > 1 and _follows_the_first(node, batched)


def _transposes_behind_the_first_axis(node: Node, batched: set[Variable | None]) -> bool:
    axes = node.attributes.get("perm")
    return axes is not None and axes[0] == 0 and _follows_the_first(node, batched)


def _joins_other_axes(node: Node, batched: set[Variable | None]) -> bool:
    is_other = node.attributes.get("axis", 0) % len(node.y.shape) != 0
    return is_other and all(item in batched for item in node.inputs if item is not None)


def _works_along_other_axes(node: Node, batched: set[Variable | None]) -> bool:
    axis = node.attributes.get("axis", -1 if node.version >= 13 else 1)
    return axis % len(node.x.shape) != 0 and _follows_the_first(node, batched)


_RULES: dict[str, Callable[[Node, set[Variable | None]], bool]] = {
    **dict.fromkeys(_ALONG.split(), _goes_along),
    **dict.fromkeys(_OF_THE_FIRST.split(), _follows_the_first),
    **dict.fromkeys(("MatMul", "FusedMatMul"), _multiplies_rows),
    **dict.fromkeys(_VIEWS, _follows_the_first),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _works_along_other_axes),
    "Transpose": _transposes_behind_the_first_axis,
    "Concat": _joins_other_axes,
}
