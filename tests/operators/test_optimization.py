"""Updates of half-width parameters; ``cases.optimization`` has the arithmetic, ``test_optimizers`` the optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.operators import lookup
from toolkit.operators.standard.update_rule import rule_of


def reference(name: str) -> Any:
    record = lookup("toolkit", name, 1)
    assert record is not None
    return record.reference


def test_half_width_parameters_keep_their_type_beside_float32_slots() -> None:
    parameter, grad, slot = (np.full(3, value, dtype) for value, dtype in ((1, "f2"), (0.5, "f2"), (0.0, "f4")))
    rule = {"rule": ("Mul t1 n0", "Sub t0 v0", "Add t2 v0"), "results": ("v1", "v2"), "targets": (0, 2), "count": 1}
    moved, kept = reference("ElementwiseUpdate")(np.array([0.1], np.float32), parameter, grad, slot, **rule)
    assert (moved.dtype, kept.dtype) == (np.float16, np.float32)
    np.testing.assert_allclose(moved, 0.95, rtol=1e-3)
    np.testing.assert_allclose(kept, 0.05, rtol=1e-6)


def test_squares_of_halves_are_summed_in_float32() -> None:
    total = reference("SumOfSquares")(np.full(5000, 100, np.float16))
    assert total.dtype == np.float32
    assert total == 5e7


def test_a_rule_is_read_as_it_is_written() -> None:
    lines = ("Mul n0 t1", "Add v0 c-1e-08")
    found = rule_of(lines, ("v1",), (0,))
    assert found.attributes() == {"rule": lines, "results": ("v1",), "targets": (0,)}
