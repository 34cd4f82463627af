"""Results that are larger than the caches are written past them, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.backends import native

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

from tests.backends.parity import VARIANTS, Rig
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.native.elementwise import region


@pytest.mark.parametrize("shapes", [((7, 1003),) * 2, ((64, 16), (16,)), ((5,),) * 2], ids=str)
def test_results_beyond_the_caches(shapes, monkeypatch):
    monkeypatch.setattr(region, "BEYOND_CACHES", 1)
    random = np.random.default_rng(0)
    x, y = (random.standard_normal(shape).astype(np.float32) for shape in shapes)
    rig = Rig(VARIANTS[0], [NativeBackend()])
    total = rig.program.append("Add", [rig.given(x), rig.given(y)], {}, version=14)
    found = rig.run({"sum": total.y})
    assert total.backend == "native"
    np.testing.assert_array_equal(found["sum"], x + y)
