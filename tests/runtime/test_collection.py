"""Garbage is not looked for while a plan is made, and is afterwards if it was before."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import numpy as np
import pytest

import toolkit as tk
from toolkit.backends.protocol import Backend
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program
from toolkit.runtime.collection import uncollected


@pytest.mark.parametrize("was_enabled", [True, False])
def test_a_block_leaves_things_as_they_were(was_enabled: bool) -> None:
    (gc.enable if was_enabled else gc.disable)()
    try:
        with pytest.raises(RuntimeError, match="halfway"), uncollected():
            assert not gc.isenabled()
            raise RuntimeError("halfway")
        assert gc.isenabled() is was_enabled
    finally:
        gc.enable()


def test_a_context_is_made_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def noting(program: Program, *backends: Sequence[Backend]) -> None:
        seen.append(gc.isenabled())
        place(program, *backends)

    monkeypatch.setattr("toolkit.runtime.context.place", noting)
    network = tk.layers.Sequential([tk.layers.Linear(2)]).network((3,))
    network.run(np.zeros((1, 3), np.float32))
    assert seen == [False]
    assert gc.isenabled()
