"""Gradients at every version of every operator that models from opset 7 on can have.

Where a version has no row of its own, a row of another version with the same record stands in, written as this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx.defs
import pytest

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case
from tests.support.differences import assert_gradient_matches
from toolkit.operators import lookup
from toolkit.operators.record import NotDifferentiable

FIRST_VERSION = 7  # the oldest opset whose models are trained
Key = tuple[str, str, int]


def history() -> dict[tuple[str, str], list[int]]:
    """The since_versions of every operator, in order."""
    found: dict[tuple[str, str], set[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.deprecated:
            found.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
    return {key: sorted(versions) for key, versions in found.items()}


HISTORY = history()


def since(domain: str, name: str, opset: int) -> int:
    """The version of an operator that a model of ``opset`` means; its first one where it came later."""
    versions = HISTORY[domain, name]
    return max((item for item in versions if item <= opset), default=versions[0])


def in_force() -> list[Key]:
    """Domain, name and since_version of what models from ``FIRST_VERSION`` on can have and that has a gradient."""
    found = []
    for (domain, name), versions in HISTORY.items():
        oldest = versions[0] if domain else since(domain, name, FIRST_VERSION)
        found += [(domain, name, item) for item in versions if item >= oldest]
    return sorted(key for key in found if has_gradient(key))


def has_gradient(key: Key) -> bool:
    record = lookup(*key)
    assert record is not None
    return not isinstance(record.gradient, NotDifferentiable)


IN_FORCE = in_force()
DIFFERENTIABLE = [case for case in all_cases() if case.differentiable_inputs()]
KNOWN = [case for case in DIFFERENTIABLE if (case.domain, case.operator) in HISTORY]
WRITTEN = {(case.domain, case.operator, since(case.domain, case.operator, case.version)) for case in KNOWN}
LACKING = [key for key in IN_FORCE if key not in WRITTEN]


def stand_ins(key: Key) -> Iterator[Case]:
    """The rows of the same record that this version understands."""
    domain, name, version = key
    schema = onnx.defs.get_schema(name, version, domain)
    for case in KNOWN:
        if (case.domain, case.operator) == (domain, name) and case.record is lookup(*key):
            known = set(case.bound_attributes(1)) <= set(schema.attributes)
            if known and schema.min_input <= len(case.inputs) <= schema.max_input:
                yield replace(case, version=version)


@pytest.mark.parametrize("key", LACKING, ids=[f"{name}-{version}" for _, name, version in LACKING])
def test_a_version_without_a_row_has_the_gradient_of_its_record(key: Key) -> None:
    case = next(stand_ins(key), None)
    assert case is not None, f"no row of {key[1]} can be written in version {key[2]}: add one"
    for batch in BATCH_SIZES:
        assert_gradient_matches(case, batch)
