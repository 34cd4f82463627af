"""Clips behind normalisation by the statistics of a batch become part of it, as a Relu is beforehand.

What the clip lets through is kept as a bit for each element, and the gradient of the normalisation takes in that of the
clip: two passes over large images less. Only where both directions are here, and nobody else reads what lies between.
Refused: bounds that zero is not within, for images are padded with zeros.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.number import computed
from toolkit.compiler.passes.fusion import as_activation
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
Readers = dict[Variable, list[Node]]


class _Found(NamedTuple):
    """A normalisation, the clip behind it, and the gradients of both."""

    normal: Node
    clip: Node
    clip_gradient: Node
    gradient: Node


def take_in_clips(program: Program, backend: str) -> None:
    """Let the normalisations of one backend clip what they give."""
    readers, roots = program.consumers(), set(program.roots())
    gone: set[Node] = set()
    for node in program.nodes:
        found = _found(node, readers, roots) if node.op_type == "Clip" else None
        if found is not None and all(item.backend == backend for item in found):
            _take_in(program, found)
            gone |= {found.clip, found.clip_gradient}
    program.nodes = [node for node in program.nodes if node not in gone]


def _found(clip: Node, readers: Readers, roots: set[Variable]) -> _Found | None:
    activation, normal = as_activation(clip), clip.x.producer
    if activation is None or normal is None or not _normalises(normal, "BatchNormalizationTraining", 0):
        return None
    if not activation["activation_alpha"] <= 0.0 <= activation["activation_beta"] or clip.role != "forward":
        return None
    slopes = [
        node
        for item in (clip.x, clip.y)
        for node in readers.get(item, ())
        if node.op_type == "ActivationGradient"
        and node.inputs[1] is item
        and activation.items() <= node.attributes.items()
    ]
    between = [node for node in readers[clip.x] if node is not clip and node not in slopes]
    if len(slopes) != 1 or between or clip.x in roots or slopes[0].y in roots:
        return None
    after = readers.get(slopes[0].y, [])
    if len(after) != 1 or not _normalises(after[0], "BatchNormalizationGradient", 1):
        return None
    if after[0].x is not slopes[0].y or after[0].inputs[1] is not normal.x:
        return None
    return _Found(normal, clip, slopes[0], after[0])


def _normalises(node: Node, operator: str, image: int) -> bool:
    """Whether a node is the operator, without an activation so far."""
    if node.op_type != operator or node.domain != TOOLKIT_DOMAIN or node.attributes.get("activation", ""):
        return False
    given = node.inputs[image]
    return given is not None and computed(given.dtype) == FLOAT32 and len(node.inputs) == 5


def _take_in(program: Program, found: _Found) -> None:
    activation = as_activation(found.clip) or {}
    normal, gradient = found.normal, found.gradient
    mask = Variable(program.fresh(f"{normal.layer}/mask"), np.dtype(np.uint8), normal.y.shape, producer=normal)
    normal.outputs = [found.clip.y, *normal.outputs[1:5], mask]
    found.clip.y.producer = normal
    normal.attributes = {**normal.attributes, **activation}
    normal.fused = (*normal.fused, found.clip.layer)
    gradient.inputs = [found.clip_gradient.x, *gradient.inputs[1:], mask]
    gradient.attributes = {**gradient.attributes, "activation": "Clip"}
