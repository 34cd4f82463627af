"""Numbers of cuDNN's functions beside the graph interface, as in version 9's ``cudnn_ops.h``."""

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
