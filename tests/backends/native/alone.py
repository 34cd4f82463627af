"""A node of ONNX on the backend, against its reference; what is known of its inputs is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.backends.native import checked


def check_node(
    operator: str,
    arrays: Sequence[np.ndarray | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    known: Sequence[int] = (),
    version: int = 20,
    outputs: int = 1,
    tolerance: float = 1e-5,
    threads: int = 1,
) -> None:
    """See ``checked.check_node``."""
    checked.check_node(
        operator,
        arrays,
        attributes or {},
        known=known,
        outputs=outputs,
        domain="",
        version=version,
        tolerance=tolerance,
        threads=threads,
    )
