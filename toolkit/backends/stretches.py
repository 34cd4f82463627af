"""Resize, Upsample and their gradients as nodes: which elements along which axes, where that is known beforehand."""

from __future__ import annotations

from typing import Any

from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.interpolation import Taps
from toolkit.operators.standard.resampling import CROPPING, resampling_steps
from toolkit.operators.standard.resize import canonical_resampling

Stretches = list[tuple[int, Taps]]


def stretches(node: Node) -> tuple[dict[str, Any], Stretches] | None:
    """The attributes of the interpolation that a node is, and its taps by axis; ``None`` where data decides them.

    A gradient has the taps of the interpolation that it is the gradient of.
    """
    roi = node.inputs[1] if len(node.inputs) > 1 else None
    if node.domain == TOOLKIT_DOMAIN:
        found = dict(node.attributes)
    else:
        types = [None if item is None else (item.dtype, item.shape) for item in node.inputs]
        content = [None if item is None else item.constant for item in node.inputs]
        if any(item is not None and item.constant is None for item in node.inputs[2:] if node.version >= 11):
            return None
        found = canonical_resampling(node.version, types, node.attributes, content)
    crops = found["coordinate_transformation_mode"] == CROPPING
    if crops and (roi is None or roi.constant is None):
        return None
    source = node.y.shape if node.op_type == "InterpolationGradient" else node.x.shape
    return found, resampling_steps(source, roi.constant if crops and roi is not None else None, found)
