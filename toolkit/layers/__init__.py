"""Authoring: layers by name that become ONNX leaves of a network."""

from toolkit.layers import initialisers
from toolkit.layers.activation import LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from toolkit.layers.builder import Builder
from toolkit.layers.convolution import Convolution
from toolkit.layers.definition import Definition
from toolkit.layers.dropout import Dropout
from toolkit.layers.linear import Embedding, Linear
from toolkit.layers.normalization import BatchNormalization, LayerNormalization
from toolkit.layers.pooling import AveragePool, GlobalAveragePool, MaxPool
from toolkit.layers.reshape import Flatten, Reshape
from toolkit.layers.sequential import Sequential

__all__ = [
    "AveragePool",
    "BatchNormalization",
    "Builder",
    "Convolution",
    "Definition",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePool",
    "LayerNormalization",
    "Linear",
    "LogSoftmax",
    "MaxPool",
    "ReLU",
    "Reshape",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "initialisers",
]
