"""Regions of half width: read and written narrow, computed in float32 in between."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.backends.native.checked import execute, planned
from tests.backends.native.compiled import computed
from toolkit.backends import native
from toolkit.backends.native.assembly.number import joined
from toolkit.operators import wire
from toolkit.operators.standard.elementwise_region import Line

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

NARROW, WIDE = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32)


def numbers(shape, dtype=NARROW, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def found(operator, arrays, attributes=None, domain="", version=20, known=()):
    plan = planned(operator, arrays, attributes or {}, domain=domain, version=version, known=known, threads=2)
    execute(plan, arrays)
    return plan.output_arrays["0"]


@pytest.mark.parametrize("size", [3, 16, 33, 70000])
def test_one_operator_rounds_once(size):
    a, b = numbers(size), numbers(size, seed=1)
    made = found("Add", [a, b])
    assert made.dtype == NARROW
    expected = (a.astype(WIDE) + b.astype(WIDE)).astype(NARROW)
    np.testing.assert_array_equal(made.view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize("source, target", [(WIDE, NARROW), (NARROW, WIDE), (NARROW, np.dtype(bool))])
def test_casts(source, target):
    given = numbers(37, source)
    made = found("Cast", [given], {"to": wire.element_type(target)}, version=13)
    np.testing.assert_array_equal(made.astype(WIDE), given.astype(target).astype(WIDE))


def test_nothing_is_rounded_inside_of_a_region():
    x, y = numbers((4, 33)), numbers((4, 33), seed=1)
    kind = ((NARROW, (4, 33)),)
    lines = (Line("Mul", "", 14, {}, (0, 1), kind), Line("Sub", "", 14, {}, (2, 0), kind))
    attributes = {"lines": lines, "results": (3,), "shapes": ((4, 33), (4, 33))}
    made = found("ElementwiseRegion", [x, y], attributes, domain="toolkit", version=1)
    expected = (x.astype(WIDE) * y.astype(WIDE) - x.astype(WIDE)).astype(NARROW)
    np.testing.assert_array_equal(made.view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize("shape, other", [((5, 40), (5, 1)), ((7, 3), (1, 3)), ((4, 6, 9), (6, 1)), ((3, 2), (2,))])
def test_operands_broadcast(shape, other):
    a, b = numbers(shape), numbers(other, seed=1)
    made = found("Mul", [a, b])
    expected = (a.astype(WIDE) * b.astype(WIDE)).astype(NARROW)
    np.testing.assert_array_equal(made.view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize("lanes", [1, 2, 7, 16])
def test_numbers_are_joined_and_spread(lanes):
    given = numbers(16 * lanes)

    def turned(x):
        return joined([x.lane(lane) for lane in reversed(range(lanes))]).converted(WIDE)

    expected = given.reshape(-1, lanes)[:, ::-1].reshape(-1).astype(WIDE)
    np.testing.assert_array_equal(computed(turned, [given], lanes), expected)
    np.testing.assert_array_equal(
        computed(lambda x: x.lane(0).spread(lanes), [given], lanes).astype(WIDE),
        np.repeat(given[::lanes], lanes).astype(WIDE),
    )
