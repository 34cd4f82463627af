"""What each operator does with numbers of half width: the table that ``precision`` decides by.

Operators that are not listed compute in float32: losses, reductions, powers, logarithms, recurrent layers, random
numbers, everything that changes element types itself.
"""

from __future__ import annotations

from enum import Enum, auto

from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN


class Family(Enum):
    """How an operator of this family decides."""

    PRODUCT = auto()  # computes on narrow factors, sums in float32
    ELEMENTWISE = auto()  # follows what it is given
    MOVEMENT = auto()  # follows, and changes no number
    NORMALISATION = auto()  # statistics in float32; data may be narrow where everything is
    IMAGES = auto()  # normalisation by channels and its gradient: statistics in float32, images follow the first one


_OPERATORS = {
    Family.PRODUCT: "Conv ConvTranspose FusedConv ConvInputGradient ConvWeightGradient MatMul FusedMatMul",
    Family.ELEMENTWISE: (
        "Abs Add Clip Div Elu Gelu GeluTanh HardSigmoid HardSwish LeakyRelu Max Min Mish Mul Neg Relu Sigmoid Silu Sub "
        "Sum Tanh Where ActivationGradient AveragePool AveragePoolGradient GlobalAveragePool GlobalMaxPool MaxPool "
        "MaxPoolGradient MaxPoolTraining Dropout MaskedScale"
    ),
    Family.MOVEMENT: (
        "Concat DepthToSpace Expand Flatten Gather Pad Reshape Slice SpaceToDepth Split Squeeze Tile Transpose "
        "Unsqueeze"
    ),
    Family.NORMALISATION: (
        "GroupNormalization InstanceNormalization LayerNormalization LogSoftmax LRN RMSNormalization Softmax"
    ),
    Family.IMAGES: (
        "BatchNormalization BatchNormalizationTraining BatchNormalizationRepeated BatchNormalizationGradient"
    ),
}
FAMILIES = {name: family for family, names in _OPERATORS.items() for name in names.split()}
FACTORS = (0, 1)  # the inputs of a product that are multiplied
RESIDUAL = 3  # the input of a fused one that is added to the result
GRADIENT_OF_IMAGES = "BatchNormalizationGradient"
_CHOOSING = frozenset(["Abs", "GlobalMaxPool", "Max", "MaxPool", "MaxPoolTraining", "Min", "Neg", "Relu", "Where"])
_ROLES = ("forward", "backward")  # the loss and the update stay float32


def family_of(node: Node) -> Family | None:
    """The family of a node; ``None`` for one that computes in float32."""
    return FAMILIES.get(node.op_type) if node.domain in ("", TOOLKIT_DOMAIN) and node.role in _ROLES else None


def followed(node: Node) -> int:
    """Of a normalisation, the input whose width it has: the last of those that it reads in that width, from 0 on."""
    return int(node.op_type == GRADIENT_OF_IMAGES)  # that of the result, and what was normalised


def keeps_numbers(node: Node) -> bool:
    """Whether every number that comes out is one that went in, but for its sign, or 0: there is nothing to round."""
    return FAMILIES.get(node.op_type) is Family.MOVEMENT or node.op_type in _CHOOSING
