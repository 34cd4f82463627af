"""Shape rules that several families share, for operators whose first versions have none in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.operators.record import TensorType


def same_type(types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Any) -> list[TensorType]:
    """One output, like the first input."""
    assert types[0] is not None
    return [types[0]]
