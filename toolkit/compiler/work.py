"""How much a node has to multiply: what is worth a thread, a kernel of its own, or memory follows from that."""

from __future__ import annotations

from toolkit.compiler.program import Node

PRODUCTS = ("MatMul", "FusedMatMul")
CONVOLUTIONS = ("Conv", "FusedConv", "GridConv", "ConvTranspose")


def products(node: Node) -> float:
    """Multiplications, each with its addition, of a matrix product or a convolution; 0 for all else."""
    if node.op_type in PRODUCTS:
        return max(node.x.size, 1) * (node.y.shape[-1] if node.y.shape else 1)
    weight = node.inputs[1] if node.op_type in CONVOLUTIONS else None
    if weight is None:
        return 0
    positions = node.x.size if node.op_type == "ConvTranspose" else node.y.size
    return positions * weight.size / weight.shape[0]
