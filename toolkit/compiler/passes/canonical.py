"""Canonical forms: the many spellings of one computation become the one that fusion and backends know.

- Identity, and Dropout outside training, disappear; so do a Cast to the type a tensor has, a Sum of one tensor, and
  what moves nothing: a Pad by nothing, an Expand or Reshape to the shape a tensor has, a Transpose in order.
- Sum of two tensors becomes Add.
- One index along an axis of what is transposed is gathered before, so that the others need not be moved.
- Conv becomes FusedConv with explicit pads, strides, dilations and group.
- Gemm and MatMul of matrices become FusedMatMul; Gemm's beta is multiplied into its bias.
- ReduceMean over all positions of a batch of images becomes GlobalAveragePool, in a pass of its own.
- BatchNormalization and Dropout written in training form become inference forms where only an evaluation is asked for;
  otherwise the file is taken at its word.
"""

from __future__ import annotations

from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.expression import OPSET, TOOLKIT_DOMAIN, reshape
from toolkit.operators.standard.convolution import canonical_convolution

MOVING = ("Pad", "Expand", "Reshape", "Transpose")  # operators that may turn out to move nothing


def canonicalise(program: Program, *, training: bool, literal: bool = True) -> None:
    """Apply the rules above.

    ``training`` keeps Dropout and batch statistics for the training forms; without it, ``literal`` executes them where
    the file itself says that they train.
    """

    def rule(node: Node) -> Replacement | None:
        if node.domain:
            return None
        if node.op_type == "Identity" or (node.op_type == "Cast" and node.x.dtype == node.y.dtype):
            return [node.x]
        if _moves_nothing(node):
            return [node.x]
        if node.op_type == "Gather":
            return _gathered_before(program, node)
        if node.op_type == "Sum" and len(node.inputs) <= 2:
            return [node.x] if len(node.inputs) == 1 else program.append("Add", node.inputs, {}, version=OPSET).outputs
        if node.op_type == "Dropout" and not training and len(node.outputs) == 1 and not (literal and may_drop(node)):
            return [node.x]
        trains = literal and node.attributes.get("training_mode", 0)
        if node.op_type == "BatchNormalization" and not training and not trains:
            return _inference_form(program, node)
        if node.op_type == "Conv":
            return _convolution(program, node)
        if node.op_type == "Gemm":
            return _gemm(program, node)
        if node.op_type == "MatMul" and len(node.x.shape) >= 2 and len(_second(node).shape) >= 2:
            return _fused(program, "FusedMatMul", node.inputs, {})
        return None

    rewrite(program, rule)


def pool_means(program: Program) -> None:
    """ReduceMean over all positions of a batch of images becomes GlobalAveragePool.

    What normalises by such a mean has to be recognised before.
    """

    def rule(node: Node) -> Replacement | None:
        if node.domain or node.op_type != "ReduceMean" or not _is_mean_of_positions(node):
            return None
        pooled = program.expression(program.append("GlobalAveragePool", [node.x], {}).y)
        return [reshape(pooled, node.y.shape).variable]

    rewrite(program, rule)


def _moves_nothing(node: Node) -> bool:
    """Whether a node that moves elements leaves all of them where they are."""
    if node.op_type not in MOVING or node.x.shape != node.y.shape or node.x.dtype != node.y.dtype:
        return False
    if node.op_type == "Transpose":
        return list(node.attributes.get("perm", ())) == list(range(len(node.x.shape)))
    if node.op_type == "Pad":
        widths = node.attributes.get("pads", node.attributes.get("paddings"))
        given = node.inputs[1] if len(node.inputs) > 1 else None
        widths = given.constant if given is not None else widths
        return widths is not None and not any(int(width) for width in widths)
    return True


def _gathered_before(program: Program, node: Node) -> Replacement | None:
    moved, index = node.x.producer, node.inputs[1]
    if index is None or index.shape or moved is None or moved.domain or moved.op_type != "Transpose":
        return None
    order = [*(moved.attributes.get("perm") or range(len(node.x.shape))[::-1])]
    axis = order.pop(node.attributes.get("axis", 0) % len(order))
    gathered = program.append("Gather", [moved.x, index], {"axis": axis}, version=OPSET)
    perm = [kept - (kept > axis) for kept in order]
    if perm == sorted(perm):
        return [gathered.y]
    return program.append("Transpose", [gathered.y], {"perm": perm}, version=OPSET).outputs


def may_drop(node: Node) -> bool:
    """Whether a Dropout says itself that it trains, or leaves it to the data."""
    if node.version < 7:
        return not node.attributes.get("is_test", 0)
    live = node.inputs[2] if len(node.inputs) > 2 else None
    return live is not None and (live.constant is None or bool(live.constant))


def _is_mean_of_positions(node: Node) -> bool:
    axes = node.attributes.get("axes")
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        axes = None if node.inputs[1].constant is None else node.inputs[1].constant.tolist()
    rank = len(node.x.shape)
    if not axes or rank < 3 or not is_trainable_dtype(node.x.dtype):
        return False
    return sorted(axis % rank for axis in axes) == list(range(2, rank))


def _second(node: Node) -> Variable:
    second = node.inputs[1]
    assert second is not None
    return second


def _fused(program: Program, op_type: str, inputs: list[Variable | None], attributes: dict[str, object]) -> Replacement:
    return program.append(op_type, inputs, attributes, domain=TOOLKIT_DOMAIN).outputs


def _convolution(program: Program, node: Node) -> Replacement:
    attributes = canonical_convolution(node.attributes, node.x.shape, _second(node).shape)
    return _fused(program, "FusedConv", node.inputs, attributes)


def _gemm(program: Program, node: Node) -> Replacement:
    attributes = {key: node.attributes.get(key, 0) for key in ("transA", "transB")}
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    beta = node.attributes.get("beta", 1.0)
    if bias is not None and beta != 1.0:
        bias = (program.expression(bias) * float(beta)).variable
    inputs: list[Variable | None] = [node.x, _second(node), *([bias] if bias is not None else [])]
    return _fused(program, "FusedMatMul", inputs, {**attributes, "alpha": float(node.attributes.get("alpha", 1.0))})


def _inference_form(program: Program, node: Node) -> Replacement | None:
    if not node.attributes.get("training_mode", 0) and len(node.outputs) == 1:
        return None
    attributes = {key: value for key, value in node.attributes.items() if key not in ("training_mode", "momentum")}
    made = program.append("BatchNormalization", node.inputs, attributes, version=node.version)
    return [made.y, node.inputs[3], node.inputs[4]]
