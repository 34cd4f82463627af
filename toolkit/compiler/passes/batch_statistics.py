"""Batch statistics: each BatchNormalization of a training gets the form that was chosen for it, in every version.

- ``batch``: it normalises by mean and variance of its batch and moves the running ones,
  new = old * momentum + batch * (1 - momentum), with the momentum of the file (0.9 if it says nothing) and, as ONNX
  says, the biased variance. (PyTorch moves towards the unbiased one, which is n / (n - 1) times as large.) A layer that
  a program applies several times moves them as often.
- ``running``: it is a scale and a shift by the running statistics, which stay; scale and bias learn.

Without a choice it is the form that the file has; where scale and bias are frozen the statistics are frozen as well. A
file exported for inference keeps that form when it is saved: what has moved are its initializers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.errors import GraphError
from toolkit.graph.parameter import Parameter
from toolkit.operators.expression import TOOLKIT_DOMAIN, reshape
from toolkit.operators.standard.batch_normalization import statistics_shape
from toolkit.operators.standard.former_batch_normalization import has_statistics_per_channel, uses_given_statistics

BATCH, RUNNING = "batch", "running"
FORMS = (BATCH, RUNNING)
LATEST = 15  # the version of BatchNormalization that all forms are written in
FIRST_TOLD_BY_OUTPUTS, FIRST_WITH_TRAINING_MODE = 7, 14


def choose_batch_statistics(
    program: Program, asked: str | None = None, layers: Mapping[str, str] | None = None
) -> None:
    """Write every BatchNormalization in the form chosen for its layer, or for the layer that holds it, else ``asked``.

    Raises ``GraphError`` where running statistics ought to move and are no initializers.
    """
    chosen = layers or {}
    moved: dict[Parameter, Variable] = {}

    def rule(node: Node) -> Replacement | None:
        if node.op_type != "BatchNormalization" or node.domain:
            return None
        as_written = written_form(node)
        explicit = _chosen(chosen, node.layer)
        form = explicit or (RUNNING if _is_frozen(node) else asked or as_written)
        if form == as_written == RUNNING and node.version >= FIRST_WITH_TRAINING_MODE and len(node.outputs) == 1:
            return None
        shape = statistics_shape(node.x.shape, has_statistics_per_channel(node.version, node.attributes))
        x, *vectors = (item for item in node.inputs if item is not None)
        operands = [_viewed(program, x, shape), *(_viewed(program, item, (shape[1],)) for item in vectors)]
        epsilon = float(node.attributes.get("epsilon", 1e-5))
        if form == RUNNING:
            y = program.append("BatchNormalization", operands, {"epsilon": epsilon}, version=LATEST).y
            return _outputs(program, node, [y, *vectors[2:], *vectors[2:]])
        attributes = {"epsilon": epsilon, "momentum": float(node.attributes.get("momentum", 0.9)), "activation": ""}
        return _outputs(program, node, _train(program, node, operands, attributes, moved, BATCH in (explicit, asked)))

    rewrite(program, rule)
    targets = {item.parameter: item for node in program.nodes for item in node.inputs if item is not None}
    program.assignments += [(targets[parameter], content) for parameter, content in moved.items()]


def written_form(node: Node) -> str:
    """The form that the file has: which statistics a BatchNormalization node says that it uses."""
    is_told_by_outputs = FIRST_TOLD_BY_OUTPUTS <= node.version < FIRST_WITH_TRAINING_MODE
    trains = is_told_by_outputs and any(item is not None for item in node.outputs[1:])
    return RUNNING if uses_given_statistics(node.version, node.attributes) and not trains else BATCH


def _is_frozen(node: Node) -> bool:
    owners = [None if item is None else item.parameter for item in node.inputs[1:3]]
    return all(owner is not None and not owner.requires_grad for owner in owners)


def _chosen(layers: Mapping[str, str], path: str) -> str | None:
    """What was chosen for a layer, or for the nearest one that it is a part of."""
    while path:
        if path in layers:
            return layers[path]
        path = path.rpartition("/")[0]
    return None


def _train(
    program: Program,
    node: Node,
    operands: Sequence[Variable],
    attributes: dict[str, Any],
    moved: dict[Parameter, Variable],
    is_explicit: bool,
) -> list[Variable | None]:
    """The training form; where another node has moved the same statistics before, this one moves them further."""
    x, scale, bias, *running = operands
    owners = [item.parameter for item in node.inputs[3:5] if item is not None]
    if is_explicit and not all(owners):
        raise GraphError(
            f"BatchNormalization {node.layer!r} cannot be trained with batch statistics: its running mean and variance "
            "must be initializers, which can move, and are computed or constants of the graph. Leave this layer as it "
            f"is: network.select({node.layer!r}).freeze_statistics()."
        )
    current = [moved.get(owner, item) if owner else item for owner, item in zip(owners, running, strict=True)]
    views = [_viewed(program, item, own.shape) for item, own in zip(current, running, strict=True)]
    parts = ("y", "mean", "variance", "batch_mean", "batch_variance")
    names = [program.fresh(f"{node.layer}/{part}") for part in parts]
    made = program.append(
        "BatchNormalizationTraining", [x, scale, bias, *views], attributes, domain=TOOLKIT_DOMAIN, outputs=[*names, ""]
    )
    for owner, original, content in zip(owners, node.inputs[3:5], made.outputs[1:3], strict=True):
        if owner is not None and original is not None and content is not None:
            moved[owner] = _viewed(program, content, original.shape)
    return made.outputs[:5]


def _outputs(program: Program, node: Node, found: Sequence[Variable | None]) -> list[Variable | None]:
    """What stands for the node's outputs, in the shapes that they had."""
    pairs = zip(node.outputs, found, strict=False)
    return [None if old is None or new is None else _viewed(program, new, old.shape) for old, new in pairs]


def _viewed(program: Program, item: Variable, shape: Sequence[int]) -> Variable:
    found: Variable = reshape(program.expression(item), shape).variable
    return found
