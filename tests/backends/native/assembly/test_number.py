"""Arithmetic on numbers in registers: as numpy's, one at a time and in vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.backends.native.compiled import computed
from toolkit.backends import native
from toolkit.backends.native.assembly.number import NUMBERS, Number
from toolkit.backends.native.compilation.compiler import compiler

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

FLOATS = ("float32", "float64")
INTEGERS = tuple(dtype.name for dtype in NUMBERS if dtype.kind in "iu")
Pair = Callable[[Any, Any], Any]
BINARY: dict[str, tuple[Pair, Pair]] = {
    "add": (lambda a, b: a + b, np.add),
    "subtract": (lambda a, b: a - b, np.subtract),
    "multiply": (lambda a, b: a * b, np.multiply),
    "larger": (Number.larger, np.maximum),
    "smaller": (Number.smaller, np.minimum),
    "less": (lambda a, b: a < b, np.less),
    "at most": (lambda a, b: a <= b, np.less_equal),
    "greater": (lambda a, b: a > b, np.greater),
    "at least": (lambda a, b: a >= b, np.greater_equal),
    "equal": (Number.equals, np.equal),
    "different": (Number.differs, np.not_equal),
    "chosen": (lambda a, b: (a < b).choose(a, 1), lambda a, b: np.where(a < b, a, np.ones_like(a))),
}
ROUNDINGS: dict[str, tuple[Callable[[Number], Number], Callable[[np.ndarray], np.ndarray]]] = {
    "negative": (lambda a: -a, np.negative),
    "absolute": (Number.absolute, np.abs),
    "down": (Number.rounded_down, np.floor),
    "up": (Number.rounded_up, np.ceil),
    "nearest": (Number.rounded, np.rint),
    "root": (Number.square_root, np.sqrt),
    "from one": (lambda a: 1.0 - a, lambda a: 1 - a),
    "divided": (lambda a: 1.0 / a, lambda a: 1 / a),
}


def numbers(dtype: str, seed: int) -> np.ndarray:
    """All sorts of numbers of a type, 64 of them."""
    kind, random = np.dtype(dtype), np.random.default_rng(seed)
    if kind.kind == "f":
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, -2.5]
        return np.array([*special, *random.normal(size=56) * 10], kind)
    limits = np.iinfo(kind)
    return random.integers(limits.min, limits.max, 64, kind, endpoint=True)


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("name", BINARY)
def test_two_numbers(name: str, dtype: str, lanes: int) -> None:
    ours, theirs = BINARY[name]
    a, b = numbers(dtype, 1), np.roll(numbers(dtype, 2), 1)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(computed(ours, [a, b], lanes), theirs(a, b))


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROUNDINGS)
def test_one_float(name: str, dtype: str, lanes: int) -> None:
    ours, theirs = ROUNDINGS[name]
    a = numbers(dtype, 3)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(computed(ours, [a], lanes), theirs(a))


@pytest.mark.parametrize("target", [*FLOATS, "int32", "int64", "bool"])
@pytest.mark.parametrize("source", [*FLOATS, *INTEGERS, "bool"])
def test_conversions_are_those_of_numpy(source: str, target: str) -> None:
    kind = np.dtype(source)
    if kind.kind == "b":
        given = np.tile([True, False, True, True], 16)
    elif kind.kind == "f":
        given = np.array([*np.linspace(-9, 9, 62), 0.0, -0.0], kind)
    else:
        given = numbers(source, 4)
    found = computed(lambda x: x.converted(np.dtype(target)), [given], 8)
    np.testing.assert_array_equal(found, given.astype(target))


@pytest.mark.parametrize("name", ["sum_of_lanes", "largest_lane", "smallest_lane", "product_of_lanes"])
def test_lanes_are_reduced(name: str) -> None:
    given = np.random.default_rng(5).integers(1, 4, 64).astype(np.float32)
    found = computed(lambda x: getattr(x, name)().spread(8), [given], 8)
    reduced: Any = {"sum": np.sum, "largest": np.max, "smallest": np.min, "product": np.prod}[name.partition("_")[0]]
    np.testing.assert_array_equal(found, np.repeat(reduced(given.reshape(8, 8), axis=1), 8))


def test_bits_move() -> None:
    given = numbers("int32", 6)
    np.testing.assert_array_equal(computed(lambda x: (x << 3) >> 5, [given], 8), (given << 3) >> 5)
    np.testing.assert_array_equal(computed(lambda x: ~((x & 255 | 1) ^ x), [given], 8), ~((given & 255 | 1) ^ given))
    np.testing.assert_array_equal(computed(lambda x: x.bits(np.dtype(np.float32)), [given], 8).view(np.int32), given)


def test_each_second_of_two_vectors() -> None:
    given = np.arange(64, dtype=np.float32)
    found = computed(lambda one, rest: one.every_second(rest), [given, given + 7], 8)
    np.testing.assert_array_equal(found, (given.reshape(8, 8)[:, :1] + np.arange(0, 16, 2)).ravel())


@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("has_instruction", [False, True])
def test_bfloat16_is_rounded_to_the_nearest(monkeypatch, has_instruction, lanes):
    if has_instruction and not compiler().rounds_bfloat16:
        pytest.skip("no instruction for it on this processor")
    monkeypatch.setattr(compiler(), "rounds_bfloat16", has_instruction)
    random, count = np.random.default_rng(0), 64 * 15
    signs = random.integers(0, 2, count, np.uint32) << np.uint32(31)
    bits = random.integers(0x00800000, 0x7F800000, count, np.uint32) | signs
    halfway = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1.0] * 8, np.float32)
    given = np.concatenate([bits.view(np.float32), halfway.view(np.float32), special])
    narrow = np.dtype(ml_dtypes.bfloat16)
    with np.errstate(over="ignore"):
        expected = given.astype(narrow)
    found = computed(lambda x: x.converted(narrow), [given], lanes)
    assert found.dtype == narrow
    np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))
    back = computed(lambda x: x.converted(np.dtype(np.float32)), [expected], lanes)
    np.testing.assert_array_equal(back, expected.astype(np.float32))
