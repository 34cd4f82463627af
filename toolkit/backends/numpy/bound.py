"""What a direct kernel is: how to turn arrays into a step that writes into its outputs and allocates nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node

Arrays = Sequence[Any]
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # what numpy computes as it is


class Direct(NamedTuple):
    """How to turn arrays into a step; ``in_place`` as in ``Kernel``.

    ``is_same``: the first output is the first input, byte by byte, so that there is nothing to do.
    """

    bind: Callable[[Arrays, Arrays], Step]
    in_place: tuple[tuple[int, int], ...] = ()
    is_same: bool = False


Lower = Callable[[Node], Direct | None]  # None: the reference has to do it
