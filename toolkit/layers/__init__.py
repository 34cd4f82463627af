"""Authoring: layers by name that become ONNX leaves of a network."""

from toolkit.layers import initialisers
from toolkit.layers.activation import (
    ELU,
    GELU,
    SELU,
    HardSwish,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from toolkit.layers.assembly import Assembly
from toolkit.layers.attention import MultiHeadAttention, PositionalEmbedding, TransformerEncoder
from toolkit.layers.builder import Builder
from toolkit.layers.convolution import Convolution, TransposedConvolution
from toolkit.layers.definition import Definition
from toolkit.layers.dropout import Dropout
from toolkit.layers.joining import Add, Concatenate, Multiply, Residual
from toolkit.layers.linear import Embedding, Linear
from toolkit.layers.nested import Nested
from toolkit.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LocalResponseNormalization,
    RMSNormalization,
)
from toolkit.layers.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from toolkit.layers.recurrent import GRU, LSTM, RNN
from toolkit.layers.reshape import Flatten, Reshape, Transpose
from toolkit.layers.sequential import Sequential

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "Add",
    "Assembly",
    "AveragePool",
    "BatchNormalization",
    "Builder",
    "Concatenate",
    "Convolution",
    "Definition",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSwish",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyReLU",
    "Linear",
    "LocalResponseNormalization",
    "LogSoftmax",
    "MaxPool",
    "Mish",
    "MultiHeadAttention",
    "Multiply",
    "Nested",
    "PReLU",
    "PositionalEmbedding",
    "RMSNormalization",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "TransformerEncoder",
    "Transpose",
    "TransposedConvolution",
    "initialisers",
]
