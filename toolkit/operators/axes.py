"""Axes as operators give them: an attribute in older versions, a constant input in newer; negative from the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.operators.record import Call, DataDependentError


def normalised(axes: Sequence[int] | np.ndarray | int, rank: int) -> tuple[int, ...]:
    """Axes in [0, rank). Raises ``ValueError`` for ones out of range or repeated."""
    found = []
    for axis in np.asarray(axes).reshape(-1).tolist():
        if not -rank <= axis < rank:
            raise ValueError(f"axis {axis} must lie in [{-rank}, {rank - 1}]")
        found.append(axis % rank)
    if len(set(found)) != len(found):
        raise ValueError(f"axes {found} must differ from each other")
    return tuple(found)


def given(call: Call, name: str, index: int) -> np.ndarray | None:
    """What a node says about ``name``: its attribute, or the constant content of its input ``index``."""
    if name in call.attributes:
        return np.asarray(call.attributes[name])
    item = call.inputs[index] if index < len(call.inputs) else None
    return None if item is None else known(item.value, name)


def known(content: np.ndarray | None, name: str) -> np.ndarray:
    """``content``, which a shape is computed from. Raises ``DataDependentError`` when it is not constant."""
    if content is None:
        raise DataDependentError(f"input {name!r} is not constant")
    return content
