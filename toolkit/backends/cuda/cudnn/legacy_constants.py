"""Numbers of cuDNN's functions beside the graph interface, as in version 9's ``cudnn_ops.h`` and ``cudnn_adv.h``."""

from __future__ import annotations

from enum import IntEnum


class SoftmaxAlgorithm(IntEnum):
    """How a softmax is computed; both subtract the maximum first."""

    ACCURATE = 1
    LOG = 2


class SoftmaxMode(IntEnum):
    """Over what a softmax sums: everything of an item, or the channels of each place."""

    INSTANCE = 0
    CHANNEL = 1


class BatchNormMode(IntEnum):
    """Over what batch statistics are taken."""

    PER_ACTIVATION = 0
    SPATIAL = 1
    SPATIAL_PERSISTENT = 2


class RNNAlgo(IntEnum):
    """The one algorithm that takes every size."""

    STANDARD = 0


class ForwardMode(IntEnum):
    """Whether a forward pass keeps what its gradient needs."""

    INFERENCE = 0
    TRAINING = 1


class RNNMode(IntEnum):
    """The cells."""

    RNN_RELU = 0
    RNN_TANH = 1
    LSTM = 2
    GRU = 3


class RNNBiasMode(IntEnum):
    """Where a cell has biases."""

    NO_BIAS = 0
    SINGLE_INP_BIAS = 1
    DOUBLE_BIAS = 2
    SINGLE_REC_BIAS = 3


class DirectionMode(IntEnum):
    """Whether a second layer walks backwards."""

    UNIDIRECTIONAL = 0
    BIDIRECTIONAL = 1


class RNNInputMode(IntEnum):
    """Whether the input is multiplied by a matrix."""

    LINEAR_INPUT = 0
    SKIP_INPUT = 1


class RNNDataLayout(IntEnum):
    """How sequences lie."""

    SEQ_MAJOR_UNPACKED = 0
    SEQ_MAJOR_PACKED = 1
    BATCH_MAJOR_UNPACKED = 2


class MathType(IntEnum):
    """Which units products may use; ``FMA_MATH`` keeps float32 exact."""

    DEFAULT_MATH = 0
    TENSOR_OP_MATH = 1
    TENSOR_OP_MATH_ALLOW_CONVERSION = 2
    FMA_MATH = 3


class WgradMode(IntEnum):
    """Whether weight gradients are added to what lies there."""

    ADD = 0
    SET = 1
