"""The static layer graph: what a network is, apart from any way of running it."""

from toolkit.graph.layer import AttributeReference, Graph, Layer, Leaf, Scope
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.selection import Selection
from toolkit.graph.sparse import SparseTensor
from toolkit.graph.training_info import TrainingInfo
from toolkit.graph.value import Dim, Shape, Value

__all__ = [
    "AttributeReference",
    "Dim",
    "Graph",
    "Layer",
    "Leaf",
    "Network",
    "Parameter",
    "Scope",
    "Selection",
    "Shape",
    "SparseTensor",
    "TrainingInfo",
    "Value",
]
