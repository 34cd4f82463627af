"""Folding BatchNormalization: with fixed statistics it is a scale and a shift per channel of the layer before it.

For inference only: weight * s and (bias - mean) * s + shift, s = scale / sqrt(variance + epsilon), are computed from
the parameters once per plan (and again when they change), so the normalisation itself costs nothing. Cases: FusedConv
and FusedMatMul without activation or residual whose output nobody else reads.
"""

from __future__ import annotations

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Node, Program
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape


def fold_batch_normalization(program: Program) -> None:
    """Fold every BatchNormalization that directly follows a convolution or matrix product with static weights."""
    uses = use_counts(program)

    def rule(node: Node) -> Replacement | None:
        before = node.x.producer if node.inputs and node.inputs[0] is not None else None
        if node.op_type != "BatchNormalization" or node.domain or before is None or not _foldable(before):
            return None
        if uses[node.x] != 1 or node.attributes.get("training_mode", 0):
            return None
        scale, shift, mean, variance = (program.expression(item) for item in node.inputs[1:5] if item is not None)
        factor = scale / emit("Sqrt", variance + node.attributes.get("epsilon", 1e-5))
        weight = _scaled_weight(program, before, factor)
        bias = before.inputs[2] if len(before.inputs) > 2 else None
        offset = (program.expression(bias) - mean) * factor if bias is not None else -(mean * factor)
        inputs = [before.x, weight.variable, (offset + shift).variable]
        made = program.append(
            before.op_type, inputs, dict(before.attributes), domain=TOOLKIT_DOMAIN, layer=before.layer
        )
        made.fused = (*before.fused, node.layer)
        return [made.y]

    if rewrite(program, rule):
        remove_dead_code(program)


def _foldable(node: Node) -> bool:
    if node.op_type not in ("FusedConv", "FusedMatMul") or node.domain != TOOLKIT_DOMAIN:
        return False
    has_residual = len(node.inputs) > 3 and node.inputs[3] is not None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if node.op_type == "FusedMatMul" and (len(node.y.shape) != 2 or (bias is not None and len(bias.shape) > 1)):
        return False
    weight = node.inputs[1]
    assert weight is not None
    return not has_residual and not node.attributes.get("activation") and weight.producer is None


def _scaled_weight(program: Program, node: Node, factor: Expression) -> Expression:
    weight = node.inputs[1]
    assert weight is not None
    if node.op_type == "FusedConv" or node.attributes.get("transB"):
        factor = reshape(factor, (factor.shape[0],) + (1,) * (len(weight.shape) - 1))
    return program.expression(weight) * factor
