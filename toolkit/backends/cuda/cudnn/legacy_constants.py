"""Numbers of cuDNN's functions beside the graph interface, as in version 9's ``cudnn_ops.h`` and ``cudnn_adv.h``."""

from __future__ import annotations

from enum import IntEnum

PADDED_SEQUENCES = 1  # CUDNN_RNN_PADDED_IO_ENABLED: sequences may be shorter than the tensors that hold them


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


class MathType(IntEnum):
    """Which arithmetic products of float32 may use: TF32 too, or multiply-adds of float32 alone."""

    DEFAULT_MATH = 0
    FMA_MATH = 3


class RecurrentAlgorithm(IntEnum):
    """How a recurrent layer walks through its steps."""

    STANDARD = 0


class RecurrentMode(IntEnum):
    """The cell of a recurrent layer. That of GRU resets what the state's product gave, not the state."""

    RNN_RELU = 0
    RNN_TANH = 1
    LSTM = 2
    GRU = 3


class BiasMode(IntEnum):
    """How many biases each gate has."""

    NO_BIAS = 0
    DOUBLE_BIAS = 2


class DirectionMode(IntEnum):
    """In which directions a layer walks; there is none that walks backwards alone."""

    UNIDIRECTIONAL = 0
    BIDIRECTIONAL = 1


class InputMode(IntEnum):
    """Whether a layer's input is multiplied by a matrix."""

    LINEAR_INPUT = 0


class ForwardMode(IntEnum):
    """Whether a forward pass keeps what the gradient needs."""

    INFERENCE = 0
    TRAINING = 1


class SequenceLayout(IntEnum):
    """How a batch of sequences lies: steps outermost, and short sequences padded."""

    SEQ_MAJOR_UNPACKED = 0


class WeightGradientMode(IntEnum):
    """What happens to the gradients that lie there: those of a pass are added to them, the only mode there is."""

    ADD = 0
