"""Folding BatchNormalization: with fixed statistics it is a scale and a shift per channel of the layer beside it.

For inference only, with s = scale / sqrt(variance + epsilon): what the neighbour gets instead is computed from the
parameters once per plan (and again when they change), so the normalisation itself costs nothing. Cases:

- behind a FusedConv or FusedMatMul without activation or residual: weight * s and (bias - mean) * s + shift;
- in front of a FusedMatMul: s * weight and bias + (shift - mean * s) weight. Not in front of a convolution, whose
  padding is not shifted.

What lies between the two is read by nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape


def fold_batch_normalization(program: Program) -> None:
    """Fold every BatchNormalization into a neighbour with static weights, the one in front of it first."""
    for fold in (_into_the_layer_before, _into_the_layer_behind):
        uses = use_counts(program)
        if rewrite(program, partial(fold, program, uses)):
            remove_dead_code(program)


def _into_the_layer_before(program: Program, uses: Mapping[Variable, int], node: Node) -> Replacement | None:
    before = node.x.producer if node.inputs and node.inputs[0] is not None else None
    if not _is_normalization(node) or before is None or not _foldable(before) or uses[node.x] != 1:
        return None
    factor, mean, shift = _numbers(program, node)
    weight = _scaled_weight(program, before, factor)
    bias = before.inputs[2] if len(before.inputs) > 2 else None
    offset = (program.expression(bias) - mean) * factor if bias is not None else -(mean * factor)
    inputs = [before.x, weight.variable, (offset + shift).variable]
    made = program.append(before.op_type, inputs, dict(before.attributes), domain=TOOLKIT_DOMAIN, layer=before.layer)
    made.fused = (*before.fused, node.layer)
    return [made.y]


def _into_the_layer_behind(program: Program, uses: Mapping[Variable, int], node: Node) -> Replacement | None:
    before = node.x.producer if node.inputs and node.inputs[0] is not None else None
    if before is None or not _is_normalization(before) or not _is_row_product(node) or uses[node.x] != 1:
        return None
    if not all(_is_static(item) for item in before.inputs[1:5]):
        return None
    weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert weight is not None
    factor, mean, shift = _numbers(program, before)
    table, is_turned = program.expression(weight), bool(node.attributes.get("transB"))
    scaled = table * (factor if is_turned else reshape(factor, (factor.shape[0], 1)))
    offset = shift - mean * factor
    added = emit("MatMul", table, offset) if is_turned else emit("MatMul", offset, table)
    added = added * float(node.attributes.get("alpha", 1.0))
    whole = added if bias is None else program.expression(bias) + added
    inputs = [before.x, scaled.variable, whole.variable, *node.inputs[3:]]
    made = program.append(node.op_type, inputs, dict(node.attributes), domain=TOOLKIT_DOMAIN, layer=node.layer)
    made.fused = (before.layer, *node.fused)
    return [made.y]


def _is_normalization(node: Node) -> bool:
    return node.op_type == "BatchNormalization" and not node.domain and not node.attributes.get("training_mode", 0)


def _numbers(program: Program, node: Node) -> tuple[Expression, Expression, Expression]:
    """What the normalisation multiplies its channels by, what it takes from them before, and what it adds behind."""
    scale, shift, mean, variance = (program.expression(item) for item in node.inputs[1:5] if item is not None)
    return scale / emit("Sqrt", variance + node.attributes.get("epsilon", 1e-5)), mean, shift


def _is_row_product(node: Node) -> bool:
    """Whether the node multiplies rows by a static matrix, and adds nothing that differs from row to row."""
    if node.op_type != "FusedMatMul" or node.domain != TOOLKIT_DOMAIN or len(node.x.shape) != 2:
        return False
    weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert weight is not None
    is_turned = any(node.attributes.get(name) for name in ("transA", "swapA", "swapB", "swapY"))
    return not is_turned and len(weight.shape) == 2 and _is_static(weight) and (bias is None or len(bias.shape) < 2)


def _is_static(variable: Variable | None) -> bool:
    return variable is not None and (variable.constant is not None or variable.parameter is not None)


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
