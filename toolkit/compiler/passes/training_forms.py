"""Training forms: forward nodes that must keep something for their gradient are replaced by the form that keeps it.

- MaxPool keeps which element of each window it chose.
- A Relu that follows BatchNormalization in its training form (see ``batch_statistics``) is taken in.
- Dropout drops, with the ratio that the file names, and keeps its mask, also where an exporter has switched it off (no
  ``training_mode``, or a false one; ``is_test``). A seed in the file would repeat one mask in every step, so the
  randomness is the context's instead. A ratio known to be 0 leaves nothing to do.
- LayerNormalization keeps mean and inverse standard deviation.
"""

from __future__ import annotations

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.pooling import canonical_pooling

FIRST_WITH_RATIO_INPUT = 12


def use_training_forms(program: Program) -> None:
    """Apply the replacements above."""

    def rule(node: Node) -> Replacement | None:
        if node.domain:
            return None
        if node.op_type == "MaxPool" and len(node.outputs) == 1:
            attributes = canonical_pooling(node.attributes, node.x.shape)
            return program.append("MaxPoolTraining", node.inputs, attributes, domain=TOOLKIT_DOMAIN, outputs=2).outputs[
                :1
            ]
        if node.op_type == "Dropout":
            return _dropout(program, node)
        if node.op_type == "LayerNormalization" and len(node.outputs) < 3:
            made = program.append("LayerNormalization", node.inputs, node.attributes, version=node.version, outputs=3)
            return made.outputs[:1]
        return None

    rewrite(program, rule)
    _fuse_relu(program)


def _dropout(program: Program, node: Node) -> Replacement:
    ratio: Variable | None = None
    if node.version < FIRST_WITH_RATIO_INPUT:
        ratio = program.constant(np.asarray(node.attributes.get("ratio", 0.5), np.float32)).variable
    elif len(node.inputs) > 1:
        ratio = node.inputs[1]
    mask = node.outputs[1] if len(node.outputs) > 1 else None
    if mask is None and ratio is not None and _is_zero(ratio):
        return [node.x]
    if ratio is None:
        ratio = program.constant(np.asarray(0.5, np.float32)).variable
    live = program.constant(np.asarray(True)).variable
    made = program.append("Dropout", [node.x, ratio, live], {}, version=13, outputs=2)
    if mask is None or made.outputs[1] is None:
        return made.outputs
    return [made.y, cast(program.expression(made.outputs[1]), mask.dtype).variable]


def _is_zero(ratio: Variable) -> bool:
    """Whether the ratio is known to be 0 and cannot change while the program is in use."""
    return ratio.constant is not None and not ratio.constant.any()


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
