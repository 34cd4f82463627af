"""Convolutions with windows of 3 x 3 or 5 x 5, and their gradients, by Winograd's minimal filtering.

``transforms`` is the arithmetic, ``tiles`` how a convolution is cut and what that costs, ``images`` what a tile reads,
``functions`` what kernels of all shapes have in common, ``windows`` and ``filters`` what is multiplied; ``convolution``
and ``weight_gradient`` are the kernels.
"""

from toolkit.backends.native.winograd.convolution import is_convolution, is_input_gradient
from toolkit.backends.native.winograd.weight_gradient import is_weight_gradient
from toolkit.compiler.program import Node

_KERNELS = {
    "FusedConv": is_convolution,
    "ConvInputGradient": is_input_gradient,
    "ConvWeightGradient": is_weight_gradient,
}


def is_filtered(node: Node) -> bool:
    """Whether there is a kernel here that computes the node sooner than the convolution as it is written."""
    accepts = _KERNELS.get(node.op_type)
    return accepts is not None and accepts(node)
