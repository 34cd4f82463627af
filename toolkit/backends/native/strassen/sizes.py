"""Which convolutions, dense layers and gradients take less time by Strassen's seven products than by eight."""

from __future__ import annotations

import numpy as np

from toolkit.backends import onednn
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.ending import is_usual_ending
from toolkit.backends.native.products.small_product import has_known_matrix
from toolkit.backends.native.products.tile import width
from toolkit.backends.native.registry import is_of_float32
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node, Variable
from toolkit.compiler.work import products

FLOAT32 = np.dtype(np.float32)
VECTOR = 64  # bytes; with tiles as low as narrower vectors have registers for, what is saved goes in sums of parts
LEAST_PRODUCTS = 1 << 27  # multiplications, a millisecond, below which the weight takes longer to read than it saves
LEAST_POSITIONS = 1024  # by which a weight is multiplied that changes, so that packing it each time repays
FEW_POSITIONS = 256  # by which it repays where a panel, being low beside all columns, is multiplied while it is near
LEAST_DEPTH = 64  # channels that are summed over, which repay what is added to make factors and results
LEAST_ROWS = 512  # of a dense layer, which repay factors of 7/4 of the memory, and sums of a gradient that come and go
LEAST_ROWS_EACH = 20  # of an item, so that tiles are high enough
LEAST_DENSE_DEPTH = 128  # as LEAST_DEPTH, where sums of blocks of the depth grow in the result
BEYOND_PRODUCTS = ("transB", "swapA", "swapB", "swapY", "activation")  # attributes of what is more than that
LEAST_SIDES = 128  # of a gradient by the weight, whose factors are both made anew


def is_pointwise(node: Node) -> bool:
    """Whether the node is a convolution with a known weight of one position that goes by seven products."""
    weight = node.inputs[1]
    if weight is None or not is_static(weight) or not _is_of_one_position(node, weight, node.y):
        return False
    depth, columns = weight.shape[1], weight.shape[0]
    if not (is_usual_ending(node, axis=1) and _repays_packing(weight, node.y.size // columns, depth <= columns)):
        return False
    return _wins(depth, columns)


def is_input_gradient(node: Node) -> bool:
    """Whether the node is the gradient of such a convolution by its input."""
    weight = node.inputs[1]
    if weight is None or not is_static(weight) or not _is_of_one_position(node, weight, node.x):
        return False
    depth, columns = weight.shape[0], weight.shape[1]
    if set(node.attributes["strides"]) != {1} or not _repays_packing(weight, node.x.size // depth, depth <= columns):
        return False
    return _wins(depth, columns)


def is_weight_gradient(node: Node) -> bool:
    """Whether the node is the gradient of such a convolution by its weight alone."""
    grad = node.inputs[1]
    if grad is None or any(item is not None for item in node.outputs[1:]):
        return False
    outputs, channels = node.y.shape[:2]
    if min(outputs, channels) < LEAST_SIDES or outputs % (2 * compiler().lanes(FLOAT32)):
        return False
    return _is_of_one_position(node, node.y, grad) and _wins(outputs, channels)


def is_matrix_product(node: Node) -> bool:
    """Whether the node is a product of many rows with a known matrix, each half of whose sides makes whole vectors."""
    if compiler().vector_nbytes != VECTOR or not onednn.available() or not has_known_matrix(node):
        return False
    *_, each, depth = node.x.shape
    columns = node.y.shape[-1]
    if len(node.x.shape) < 3 or each < LEAST_ROWS_EACH or node.attributes.get("alpha", 1.0) != 1.0:
        return False
    if depth < LEAST_DENSE_DEPTH or depth % (2 * compiler().lanes(FLOAT32)) or columns % (2 * width()):
        return False
    return node.y.size >= LEAST_ROWS * columns and products(node) >= LEAST_PRODUCTS


def is_product_of_columns(node: Node) -> bool:
    """Whether the node is the gradient of a large dense layer by its weight, a matrix turned times another one."""
    a, b, *others = node.inputs
    if a is None or b is None or {len(a.shape), len(b.shape)} != {2} or any(item is not None for item in others):
        return False
    if compiler().vector_nbytes != VECTOR or not onednn.available() or not is_of_float32(node):
        return False
    is_plain = node.attributes.get("alpha", 1.0) == 1.0 and not any(map(node.attributes.get, BEYOND_PRODUCTS))
    if not is_plain or not node.attributes.get("transA") or a.shape[0] < LEAST_ROWS:
        return False
    outputs, channels = node.y.shape
    if min(outputs, channels) < LEAST_SIDES or outputs % (2 * compiler().lanes(FLOAT32)):
        return False
    return node.y.size * a.shape[0] >= LEAST_PRODUCTS and _wins(outputs, channels)


def _is_of_one_position(node: Node, weight: Variable, result: Variable) -> bool:
    """Whether windows are of one position, and there is enough to multiply."""
    if (
        compiler().vector_nbytes != VECTOR
        or not onednn.available()
        or not is_of_float32(node)
        or len(node.x.shape) != 4
        or len(weight.shape) != 4
    ):
        return False
    if set(weight.shape[2:]) != {1} or any(node.attributes["pads"]) or int(node.attributes["group"]) != 1:
        return False
    return result.size * weight.shape[1] >= LEAST_PRODUCTS


def _repays_packing(weight: Variable, positions: int, is_wide: bool) -> bool:
    """Whether packing a weight takes little beside multiplying by it."""
    return weight.constant is not None or positions >= (FEW_POSITIONS if is_wide else LEAST_POSITIONS)


def _wins(depth: int, columns: int) -> bool:
    """Whether both make whole vectors and panels in each of two parts, and sums are long enough."""
    return not depth % (2 * compiler().lanes(FLOAT32)) and not columns % (2 * width()) and depth >= LEAST_DEPTH
