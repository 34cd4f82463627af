"""Small convolutions in row-major order, along one or two spatial axes, and what is fused behind them.

An input with padding is copied into one with its zeros first.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.convolution.by_outputs import ByOutputs
from toolkit.backends.native.convolution.by_positions import ByPositions
from toolkit.backends.native.convolution.depthwise import Depthwise
from toolkit.backends.native.convolution.geometry import Geometry
from toolkit.backends.native.convolution.writer import Writer
from toolkit.backends.native.images.windows import FLOAT32
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.ending import is_usual_ending
from toolkit.backends.native.registry import is_of_float32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

WIDE = 16  # lanes of vectors, for which the library is better prepared
MOST_PRODUCTS = (1 << 24, 1 << 21)  # multiplications, on narrow and on wide vectors, from which its layouts win
MOST_TAPS = 32  # of a kernel along its last axis, which are written out


def is_convolution(node: Node) -> bool:
    """Whether the node is a small convolution with a known weight, ungrouped or with one channel a group."""
    x, w = node.inputs[:2]
    if x is None or w is None or not is_of_float32(node):
        return False
    if len(x.shape) not in (3, 4) or not is_static(w) or w.shape[-1] > MOST_TAPS:
        return False
    group = int(node.attributes["group"])
    if group > 1 and (group != w.shape[0] or group != x.shape[1]):
        return False
    most = MOST_PRODUCTS[compiler().lanes(FLOAT32) >= WIDE]
    return is_usual_ending(node, axis=1) and Geometry.of(node).products <= most


@kernel(TOOLKIT_DOMAIN, "FusedConv", accepts=is_convolution, is_fallback=True)
def lower_convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(convolution + bias + residual)``."""
    geometry = Geometry.of(node)
    writer = _kind(geometry)(node, geometry, resources.threads)
    layouts = plain_layouts(node.inputs)
    layouts[1] = writer.weight_layout(node)
    return CompiledKernel(writer.code, layouts, [plain(FLOAT32, node.y.shape)], workspace=writer.workspace)


def _kind(geometry: Geometry) -> type[Writer]:
    if geometry.is_depthwise:
        return Depthwise
    return ByPositions if ByPositions.is_served(geometry) else ByOutputs
