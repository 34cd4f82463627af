"""Dropout that drops: the generator is the published one, and what it drops follows from the seed alone."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.backends.native.checked import check_node, execute, planned
from tests.backends.native.compiled import run
from toolkit.backends import native
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.philox import UINT64, random_bits

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SIZE = 70011


def dropped(size: int, ratio: float = 0.25, threads: int = 1, runs: int = 1, outputs: int = 2) -> list[np.ndarray]:
    """Input, result and, where there is one, mask of the last run."""
    x = np.random.default_rng(0).uniform(1, 2, size).astype(np.float32)
    given = [x, np.array(ratio, np.float32), np.array(True)]
    plan = planned("Dropout", given, {}, outputs=outputs, domain="", version=13, threads=threads)
    for _ in range(runs):
        execute(plan, given)
    return [x, *(plan.output_arrays[str(index)].copy() for index in range(outputs))]


def test_the_generator_gives_the_published_bits() -> None:
    """The first of the known answers that its authors give: all words, and both keys, are zero."""
    code = Code(3)
    number, key = (code.load(place, 0, UINT64) for place in code.places[:2])
    for index, word in enumerate(random_bits(number, key)):
        code.store(word, code.places[2], index)
    found = np.zeros(2, np.uint64)
    run(code, [np.zeros(1, np.uint64), np.zeros(1, np.uint64), found])
    assert [f"{word:08x}" for word in found.view(np.uint32)] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


@pytest.mark.parametrize("size", [1, 7, 16, 17, 31, 32, 33, 100, SIZE])
def test_what_is_kept_is_scaled_and_the_rest_is_zero(size: int) -> None:
    x, y, mask = dropped(size)
    np.testing.assert_allclose(y, np.where(mask, x / 0.75, 0), rtol=1e-6)
    assert size < SIZE or abs(mask.mean() - 0.75) < 0.01


def test_half_width_is_scaled_in_float32_and_rounded_once() -> None:
    x = np.random.default_rng(0).uniform(1, 2, SIZE).astype(ml_dtypes.bfloat16)
    given = [x, np.array(0.25, np.float32), np.array(True)]
    plan = planned("Dropout", given, {}, outputs=2, domain="", version=22)
    execute(plan, given)
    y, mask = plan.output_arrays["0"], plan.output_arrays["1"]
    expected = np.where(mask, x.astype(np.float32) * np.float32(1 / 0.75), 0).astype(x.dtype)
    np.testing.assert_array_equal(y.view(np.uint16), expected.view(np.uint16))


def test_what_is_dropped_follows_from_the_seed_and_changes_from_run_to_run() -> None:
    alone, again, team, later = dropped(SIZE), dropped(SIZE), dropped(SIZE, threads=3), dropped(SIZE, runs=2)
    for other in (again, team):
        np.testing.assert_array_equal(alone[1], other[1])
    assert abs((alone[2] == later[2]).mean() - (0.75**2 + 0.25**2)) < 0.01
    np.testing.assert_array_equal(dropped(SIZE, outputs=1)[1], alone[1])


def test_neighbours_are_dropped_independently() -> None:
    _, _, mask = dropped(SIZE, 0.5)
    for distance in (1, 2, 4, 8, 16, 32, 64):
        assert abs((mask[distance:] == mask[:-distance]).mean() - 0.5) < 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mask_applied_to_a_gradient(dtype: str) -> None:
    g = np.random.default_rng(0).standard_normal((3, 77)).astype(dtype)
    check_node("MaskedScale", [g, g > 0.3], {"scale": 1.25}, known=())
