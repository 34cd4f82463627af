"""How much a node has to multiply: what is worth a thread, a kernel of its own, or memory follows from that."""

from __future__ import annotations

from toolkit.compiler.program import Node

PRODUCTS = ("MatMul", "FusedMatMul")
CONVOLUTIONS = ("Conv", "FusedConv", "GridConv", "ConvTranspose")


def products(node: Node) -> float:
    """Multiplications, each with its addition, of a matrix product or of convolutions; 0 for all else."""
    if node.op_type in PRODUCTS:
        return max(node.x.size, 1) * (node.y.shape[-1] if node.y.shape else 1)
    if node.op_type == "InvertedResidual":
        first, middle, last = (node.inputs[index] for index in (1, 3, 5))
        behind = sum(item.size for item in (middle, last) if item is not None)
        before = 0 if first is None else first.size
        return node.x.size / node.x.shape[1] * before + node.y.size / node.y.shape[1] * behind
    weight = node.inputs[1] if node.op_type in CONVOLUTIONS else None
    if weight is None:
        return 0
    positions = node.x.size if node.op_type == "ConvTranspose" else node.y.size
    return positions * weight.size / weight.shape[0]
