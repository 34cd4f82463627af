"""Training forms: forward nodes that must keep something for their gradient are replaced by the form that keeps it.

- MaxPool keeps which element of each window it chose.
- BatchNormalization in training mode uses the statistics of the batch, keeps them, and moves the running ones; a Relu
  that follows it is taken in. In inference form it stays: frozen statistics are what such a file asks for.
- Dropout drops, with the ratio that the file names, and keeps its mask. A seed in the file would repeat one mask in
  every step, so the randomness is the context's instead.
- LayerNormalization keeps mean and inverse standard deviation.
"""

from __future__ import annotations

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Node, Program
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.pooling import canonical_pooling


def use_training_forms(program: Program) -> None:
    """Apply the replacements above; running statistics become assignments of the program."""

    def rule(node: Node) -> Replacement | None:
        if node.domain:
            return None
        if node.op_type == "MaxPool" and len(node.outputs) == 1:
            attributes = canonical_pooling(node.attributes, node.x.shape)
            return program.append("MaxPoolTraining", node.inputs, attributes, domain=TOOLKIT_DOMAIN, outputs=2).outputs[
                :1
            ]
        if node.op_type == "BatchNormalization" and node.attributes.get("training_mode", 0):
            return _batch_normalization(program, node)
        if node.op_type == "Dropout":
            return _dropout(program, node)
        if node.op_type == "LayerNormalization" and len(node.outputs) < 3:
            made = program.append("LayerNormalization", node.inputs, node.attributes, version=node.version, outputs=3)
            return made.outputs[:1]
        return None

    rewrite(program, rule)
    _fuse_relu(program)


def _batch_normalization(program: Program, node: Node) -> Replacement:
    attributes = {
        "epsilon": float(node.attributes.get("epsilon", 1e-5)),
        "momentum": float(node.attributes.get("momentum", 0.9)),
        "activation": "",
    }
    names = [
        program.fresh(f"{node.layer}/{part}") for part in ("y", "mean", "variance", "batch_mean", "batch_variance")
    ]
    made = program.append(
        "BatchNormalizationTraining", node.inputs, attributes, domain=TOOLKIT_DOMAIN, outputs=[*names, ""]
    )
    for statistic, moved in zip(node.inputs[3:5], made.outputs[1:3], strict=True):
        if statistic is not None and moved is not None and statistic.parameter is not None:
            program.assignments.append((statistic, moved))
    return made.outputs[:3]


def _dropout(program: Program, node: Node) -> Replacement:
    if node.version >= 12:
        ratio = node.inputs[1] if len(node.inputs) > 1 else None
        share = program.constant(np.asarray(0.5, np.float32)).variable if ratio is None else ratio
    else:
        share = program.constant(np.asarray(node.attributes.get("ratio", 0.5), np.float32)).variable
    live = program.constant(np.asarray(True)).variable
    return program.append("Dropout", [node.x, share, live], {}, version=13, outputs=2).outputs


def _fuse_relu(program: Program) -> None:
    uses = use_counts(program)

    def rule(node: Node) -> Replacement | None:
        before = node.x.producer if node.op_type == "Relu" and not node.domain else None
        if before is None or before.op_type != "BatchNormalizationTraining" or uses[node.x] != 1:
            return None
        names = [item.name for item in before.outputs if item is not None]
        made = program.append(
            before.op_type,
            before.inputs,
            {**before.attributes, "activation": "Relu"},
            domain=TOOLKIT_DOMAIN,
            outputs=[*names, program.fresh(f"{before.layer}/mask")],
            layer=before.layer,
        )
        made.fused = (*before.fused, node.layer)
        moved = {old: new for old, new in zip(before.outputs, made.outputs, strict=True) if old is not None}
        program.assignments = [(target, moved.get(item) or item) for target, item in program.assignments]
        return [made.y]

    if rewrite(program, rule):
        remove_dead_code(program)
