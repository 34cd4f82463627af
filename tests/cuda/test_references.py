"""Every case row whose node is not left to the host: its reference on strict arrays gives what it gives on numpy's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.cases import all_cases
from tests.cuda.strict_array import StrictArray, Toll, watched
from tests.support.case import BATCH_SIZES, Case
from tests.support.interpret import build
from tests.support.rows import each_row
from toolkit.backends.cuda.arrays import refusal
from toolkit.backends.cuda.uncapturable import CALLS_LIBRARY, COPIES, UNCAPTURABLE, WAITS
from toolkit.compiler.program import Node
from toolkit.operators import REGISTRY, load_everything
from toolkit.operators.record import Operator

CASES = [case for case in all_cases() if not (case.is_data_dependent or case.record.why_on_host())]
TOLERANCE = 1e-6  # scattered sums are added in another order
ONLY_FOR_SOME_NODES = {  # no row that the device takes, though the operator is not bound to the host
    ("", "Gradient"): "it is never executed",
    ("toolkit", "ElementwiseRegion"): "its lines are an attribute; a kernel of its own serves it",
}


def strict(node: Node, arrays: list[Any]) -> list[Any]:
    """The inputs as they are given on a device: those read as plain numbers stay numpy's."""
    record = node.record
    assert record is not None
    return [
        StrictArray(item.copy()) if isinstance(item, np.ndarray) and index not in record.host_inputs else item
        for index, item in enumerate(arrays)
    ]


def results(node: Node, inputs: list[Any]) -> tuple[Any, ...]:
    record = node.record
    assert record is not None and record.reference is not None
    made = record.reference(*inputs, **node.attributes)
    return made if isinstance(made, tuple) else (made,)


@cache
def _tolls(number: int, batch: int) -> frozenset[Toll] | None:
    return tolls_of(CASES[number], batch)


def tolls_of(case: Case, batch: int) -> frozenset[Toll] | None:
    """What the case costs on strict arrays, having checked its results; ``None`` where it is left to the host."""
    arrays = case.arrays(batch)
    _, node = build(case, arrays, batch)
    if refusal(node):
        return None
    with watched() as tolls:
        found = results(node, strict(node, arrays))
    for ours, expected in zip(found, results(node, arrays), strict=True):
        if expected is not None:
            assert isinstance(ours, StrictArray), "a result is not on the device"
            wanted = np.asarray(expected)
            assert (ours.dtype, ours.shape) == (wanted.dtype, wanted.shape)
            wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
            np.testing.assert_allclose(ours.host.astype(wide), wanted.astype(wide), TOLERANCE, TOLERANCE)
    return frozenset(tolls)


@each_row(zip(CASES, range(len(CASES)), strict=True), BATCH_SIZES)
def test_reference_computes_on_strict_arrays(case: Case, number: int, batch: int) -> None:
    _tolls(number, batch)


def records() -> Iterator[Operator]:
    load_everything()
    return (record for versions in REGISTRY.values() for record in versions)


def test_every_operator_is_bound_to_the_host_or_computes_on_strict_arrays() -> None:
    """A new operator needs a row that the device takes, or a reason for the host."""
    taken = {
        (case.record.domain, case.record.name)
        for number, case in enumerate(CASES)
        if _tolls(number, BATCH_SIZES[-1]) is not None
    }
    bound = {(record.domain, record.name) for record in records() if record.why_on_host()}
    free = {(record.domain, record.name) for record in records() if not record.why_on_host()}
    left = {key for key in free - bound - taken if key not in ONLY_FOR_SOME_NODES}
    read_no_tensor = {key for key in left if _reads_numbers_only(key)}
    assert left == read_no_tensor


def _reads_numbers_only(key: tuple[str, str]) -> bool:
    rows = [case for case in CASES if (case.record.domain, case.record.name) == key]
    return all(set(range(len(case.inputs))) <= set(case.record.host_inputs) for case in rows)


def test_what_no_graph_can_record_is_listed() -> None:
    paid: dict[tuple[str, str], set[Toll]] = {}
    for number, case in enumerate(CASES):
        for batch in BATCH_SIZES:
            paid.setdefault((case.record.domain, case.record.name), set()).update(_tolls(number, batch) or ())
    assert {key for key, tolls in paid.items() if tolls} == UNCAPTURABLE
    for names, toll in ((CALLS_LIBRARY, Toll.CALLS_LIBRARY), (WAITS, Toll.WAITS), (COPIES, Toll.COPIES)):
        for domain, listed in names.items():
            assert all(toll in paid[domain, name] for name in listed.split()), (domain, toll)


def test_strict_arrays_refuse_what_cupy_refuses() -> None:
    x = StrictArray(np.arange(6.0).reshape(2, 3))
    places = StrictArray(np.array([0, 0]))
    for attempt in (
        lambda: np.asarray(x),
        lambda: x + np.ones(3),
        lambda: x + np.asarray(1.0),
        lambda: np.concatenate([x, np.ones((2, 3))]),
        lambda: np.maximum.reduce(x),
        lambda: np.multiply.at(x, places, 1.0),
        lambda: np.max(x, initial=0.0),
        lambda: np.insert(x, 0, 1.0),
        lambda: x.astype("float8_e4m3fn"),
        lambda: x.__setitem__(places, x),
    ):
        with pytest.raises(TypeError):
            attempt()


def test_strict_arrays_notice_what_is_not_for_nothing() -> None:
    x = StrictArray(np.arange(6.0).reshape(2, 3))
    for attempt, toll in (
        (lambda: bool(x.any()), Toll.WAITS),
        (lambda: x[x > 1], Toll.WAITS),
        (lambda: np.sort(x), Toll.WAITS),
        (lambda: np.asarray([1.0, 2.0], like=x), Toll.COPIES),
        (lambda: x @ x.T, Toll.CALLS_LIBRARY),
    ):
        with watched() as tolls:
            attempt()
        assert tolls == {toll}
    with watched() as tolls:
        np.zeros(3, like=x), np.arange(3, like=x) * 2, np.asarray(1.0, like=x)
    assert not tolls
