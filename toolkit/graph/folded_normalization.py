"""Convolutions into which an exporter has folded a BatchNormalization, as far as the names in the file tell.

Nothing in the numbers tells it. Exporters name the weights that they have computed in ways of their own:

- PyTorch: ``onnx::Conv_123``, formerly ``123``, where the other weights have names of modules
- tf2onnx and TFLite converters: a name that mentions ``FusedBatchNorm`` or ends with ``_fused_bn``
- ONNX Runtime: ``ConvBnFusion_W_...``

Such a layer is trained as it is: statistics, scale and shift are parts of its weight and bias.
"""

from __future__ import annotations

import re

from toolkit.graph.layer import Graph, Leaf

OPERATORS = ("Conv", "ConvTranspose", "FusedConv", "QLinearConv")
FOLDED = re.compile(r"^onnx::Conv(Transpose)?_\d+$|FusedBatchNorm|_fused_bn|^ConvBnFusion_")
NUMBERED, MODULE = re.compile(r"^\d+$"), re.compile(r"[A-Za-z].*\.(weight|bias)$")
SHOWN = 3


def folded_normalization(graph: Graph) -> list[Leaf]:
    """The convolutions of a graph whose weights are named like ones that hold a BatchNormalization."""
    has_modules = any(MODULE.search(name) for name in graph.parameters)

    def is_folded(name: str) -> bool:
        return bool(FOLDED.search(name)) or (has_modules and bool(NUMBERED.match(name)))

    return [
        leaf
        for leaf in graph.leaves
        if leaf.op_type in OPERATORS and any(name in graph.parameters and is_folded(name) for name in leaf.inputs[1:])
    ]


def note_on_folding(graph: Graph) -> str:
    """One sentence about the convolutions found, empty if there are none."""
    found = folded_normalization(graph)
    if not found:
        return ""
    named = ", ".join(repr(leaf.path) for leaf in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"A BatchNormalization seems to be folded into {named}{more}, as the names of the weights tell. Such layers "
        "are trained as they are, with its statistics fixed in weight and bias."
    )
