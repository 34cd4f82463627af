"""Activations and their gradients: oneDNN's elementwise primitives, in whatever layout the tensor lies.

``eltwise`` translates the activations of our fused operators; standard nodes are brought to the same form first.
Refused: Softplus and Log, which oneDNN computes too coarsely near zero and one, and bounds that are only known at run
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.backends.onednn.gelu import ApproximateGelu, FollowedByGelu, is_worthwhile
from toolkit.backends.onednn.memory import descriptor_of
from toolkit.backends.onednn.primitive import (
    DIFF_DST,
    DIFF_SRC,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    LINEAR,
    LOGISTIC,
    SRC,
    Eltwise,
    PostOp,
    PrimitiveKernel,
    describe,
    reads,
    writes,
)
from toolkit.backends.onednn.registry import is_uniform, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.passes.fusion import as_activation
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

RELU, TANH, ELU, ABS, SQRT = 32, 33, 34, 36, 37
HARD_SIGMOID, EXP, GELU_TANH, SWISH = 40, 42, 43, 44
CLIP, POWER, GELU_ERF, ROUND, MISH, HARD_SWISH = 47, 48, 49, 50, 51, 52
_FROM_OUTPUT = {RELU: 0x100, TANH: 0x101, ELU: 0x102, SQRT: 0x103, LOGISTIC: 0x104, EXP: 0x105, CLIP: 0x106}

# Our activation: algorithm, and its two parameters where they are not the node's.
_ALGORITHMS: dict[str, tuple[int, tuple[float, float] | None]] = {
    "Relu": (RELU, (0.0, 0.0)),
    "LeakyRelu": (RELU, None),
    "Clip": (CLIP, None),
    "Sigmoid": (LOGISTIC, (0.0, 0.0)),
    "Tanh": (TANH, (0.0, 0.0)),
    "Elu": (ELU, None),
    "HardSigmoid": (HARD_SIGMOID, None),
    "HardSwish": (HARD_SWISH, (1 / 6, 0.5)),
    "Gelu": (GELU_ERF, (0.0, 0.0)),
    "GeluTanh": (GELU_TANH, (0.0, 0.0)),
    "Silu": (SWISH, (1.0, 0.0)),
    "Mish": (MISH, (0.0, 0.0)),
    "Abs": (ABS, (0.0, 0.0)),
    "Sqrt": (SQRT, (0.0, 0.0)),
    "Exp": (EXP, (0.0, 0.0)),
}


def eltwise(attributes: Mapping[str, Any]) -> Eltwise | None:
    """The elementwise function that ``activation`` and its numbers name; ``None`` for none or one unknown here."""
    algorithm, parameters = _ALGORITHMS.get(attributes.get("activation", ""), (None, None))
    if algorithm is None:
        return None
    if parameters is None:
        parameters = (attributes.get("activation_alpha", 0.0), attributes.get("activation_beta", 0.0))
    if algorithm == CLIP and not parameters[0] <= parameters[1]:
        return None  # ONNX lets the bounds cross, oneDNN does not
    return Eltwise(algorithm, *parameters)


def completed(kernel: Kernel, node: Node) -> Kernel:
    """The kernel of a product or convolution with the activation that is no post-op of it."""
    return FollowedByGelu(kernel) if _follows(node) else kernel


def _follows(node: Node) -> bool:
    return node.attributes.get("activation") == "GeluTanh" and is_worthwhile(plain(node.y.dtype, node.y.shape))


def behind_sums(node: Node) -> list[PostOp]:
    """The activation of a product or convolution, as post-ops; empty where there is none, or where it is no post-op.

    Tanh is 2 sigmoid(2 x) - 1 there, a quarter of the time on AVX2. That is off by 1e-7 of the largest value it takes,
    as the sums that it is given are of theirs, if not more; near zero it would be coarse for numbers that are exact.
    """
    function = eltwise(node.attributes)
    if function is None or _follows(node):
        return []
    if function.algorithm == TANH:
        return [Eltwise(LINEAR, 2.0, 0.0), Eltwise(LOGISTIC), Eltwise(LINEAR, 2.0, -1.0)]
    return [function]


def knows(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a fused operator ask for no activation, or for one that oneDNN has."""
    return not attributes.get("activation") or eltwise(attributes) is not None


def unary(node: Node) -> Eltwise | None:
    """The elementwise function that a standard node with one data input computes; ``None`` where oneDNN has none."""
    if node.op_type in _STANDARD and not node.domain:
        return _STANDARD[node.op_type]
    attributes = as_activation(node)
    return None if attributes is None else eltwise(attributes)


_STANDARD = {
    name: Eltwise(algorithm, *parameters)
    for name, (algorithm, parameters) in _ALGORITHMS.items()
    if name in ("Mish", "Abs", "Sqrt", "Exp") and parameters is not None
} | {
    "Neg": Eltwise(LINEAR, -1.0, 0.0),
    "Reciprocal": Eltwise(POWER, 1.0, -1.0),
    "Round": Eltwise(ROUND),
}


@kernel(
    "",
    "Relu",
    "LeakyRelu",
    "Clip",
    "Sigmoid",
    "Tanh",
    "Elu",
    "HardSigmoid",
    "HardSwish",
    "Gelu",
    *_STANDARD,
    accepts=lambda node: is_uniform(node) and unary(node) is not None,
)
@kernel(TOOLKIT_DOMAIN, "GeluTanh", "Silu", accepts=lambda node: is_uniform(node) and unary(node) is not None)
def activation(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Any layout, kept; in place where nobody reads the input later."""
    function, layout = unary(node), inputs[0]
    assert function is not None
    assert layout is not None
    if function.algorithm == GELU_TANH and is_worthwhile(layout):
        return ApproximateGelu(layout, len(node.inputs))
    return eltwise_kernel(function, layout, len(node.inputs))


def eltwise_kernel(function: Eltwise, layout: Layout, input_count: int = 1) -> Kernel:
    """``function`` of the first input in its own layout; further inputs (bounds known beforehand) are not read."""
    at = descriptor_of(layout)
    described = describe(
        "eltwise_forward", FORWARD_INFERENCE, function.algorithm, at, at, function.alpha, function.beta
    )
    operands = [reads(SRC, 0, at), writes(DST, 0, at)]
    inputs = [layout] + [None] * (input_count - 1)
    return PrimitiveKernel(described, inputs, [layout], operands, in_place=((0, 0),))


def _gradient_accepts(node: Node) -> bool:
    function = eltwise(node.attributes)
    if function is None or not is_uniform(node):
        return False
    return not node.attributes.get("from_output") or function.algorithm in _FROM_OUTPUT


@kernel(TOOLKIT_DOMAIN, "ActivationGradient", accepts=_gradient_accepts)
def activation_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout of the saved value; the incoming gradient comes to it, and may be overwritten."""
    function, layout = eltwise(node.attributes), inputs[1]
    assert function is not None
    assert layout is not None
    at, parameters = descriptor_of(layout), (function.alpha, function.beta)
    from_output = bool(node.attributes.get("from_output"))
    algorithm = _FROM_OUTPUT[function.algorithm] if from_output else function.algorithm
    forward = describe("eltwise_forward", FORWARD_TRAINING, algorithm, at, at, *parameters)
    described = describe("eltwise_backward", algorithm, at, at, at, *parameters, forward)
    operands = [reads(DIFF_DST, 0, at), reads(DST if from_output else SRC, 1, at), writes(DIFF_SRC, 0, at)]
    return PrimitiveKernel(described, [layout, layout], [layout], operands, in_place=((0, 0),))
