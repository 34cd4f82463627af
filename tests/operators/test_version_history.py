"""The history of ONNX: every operator, in every version it ever had, runs as that very version says.

Two tables say what is accepted instead of a reference of ours; whatever is in neither must have one. Deprecated
versions cannot be used by a valid model and are left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx.defs
import pytest

from tests.cases import all_cases
from tests.support.case import Case
from tests.support.interpret import apply
from tests.support.judge import CANNOT_RUN, assert_same, by_onnxruntime, one_node_model
from tests.support.rows import each_row
from toolkit.operators import lookup
from toolkit.operators.record import Operator
from toolkit.operators.schema import Signature, attribute_defaults, signature

DOMAINS = ("", "ai.onnx.preview.training")
RUN_BY_THE_RUNTIME = {  # operators whose meaning is a part of the graph, which only the compiler and the runtime see
    "If": "it runs one of two graphs",
    "Loop": "it runs a graph as often as the data says",
    "Scan": "it runs a graph for every slice",
    "SequenceMap": "it runs a graph for every element",
    "Gradient": "it differentiates the graph around it",
}
SERVED_BY_ONNX_REFERENCE: dict[str, str] = {}  # operator: why the slow implementation of onnx is good enough
WITHOUT_OPSET_7 = 7  # onnxruntime has no kernels for what older opsets alone say

SCHEMAS = [
    schema
    for schema in sorted(
        onnx.defs.get_all_schemas_with_history(), key=lambda item: (item.domain, item.name, item.since_version)
    )
    if schema.domain in DOMAINS and not schema.deprecated
]
OURS = [schema for schema in SCHEMAS if schema.name not in {**RUN_BY_THE_RUNTIME, **SERVED_BY_ONNX_REFERENCE}]


def named(schema: Any) -> str:
    return f"{schema.domain}.{schema.name}-{schema.since_version}"


def record_of(schema: Any) -> Operator:
    found = lookup(schema.domain, schema.name, schema.since_version)
    assert found is not None, f"{named(schema)} has no record: write one, or state why not in a table above"
    return found


def reference_of(schema: Any) -> Callable[..., Any]:
    reference = record_of(schema).reference
    assert reference is not None, f"{named(schema)} has no reference"
    return reference


def signature_of(schema: Any) -> Signature:
    found = signature(schema.domain, schema.name, schema.since_version)
    assert found is not None
    return found


def parameters(function: Callable[..., Any] | None) -> tuple[list[inspect.Parameter], bool]:
    """The named parameters of a reference and of what it wraps, and whether any other attribute is taken too."""
    found: list[inspect.Parameter] = []
    while function is not None:
        own = list(inspect.signature(function, follow_wrapped=False).parameters.values())
        found += [item for item in own if item.name not in {known.name for known in found}]
        if not any(item.kind == item.VAR_KEYWORD for item in own):
            return found, False
        function = getattr(function, "__wrapped__", getattr(function, "func", None))
    return found, True


@pytest.mark.parametrize("schema", OURS, ids=map(named, OURS))
def test_every_version_is_served_as_it_says(schema: Any) -> None:
    """It has a rule for its shapes, and a reference with the attributes and inputs that the schema has."""
    assert record_of(schema).infer is not None or schema.has_type_and_shape_inference_function
    taken, is_open = parameters(reference_of(schema))
    require_attributes(schema, taken, is_open)
    if not any(item.kind == item.VAR_POSITIONAL for item in taken):
        positional = [item for item in taken if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
        assert len(positional) >= min(signature_of(schema).max_inputs, 1 << 10)


def require_attributes(schema: Any, taken: list[inspect.Parameter], is_open: bool) -> None:
    """The names and defaults of a version; ``is_open`` says that other names are taken as well."""
    by_name = {item.name: item for item in taken}
    defaults = attribute_defaults(schema.domain, schema.name, schema.since_version)
    for name, attribute in schema.attributes.items():
        assert name in by_name or is_open, f"{named(schema)} does not take the attribute {name!r}"
        if name not in by_name or attribute.required:
            continue
        default = by_name[name].default
        assert default is not inspect.Parameter.empty or by_name[name].kind != inspect.Parameter.KEYWORD_ONLY
        if name in defaults and isinstance(defaults[name], float):
            assert default == pytest.approx(defaults[name], rel=1e-6), f"{named(schema)}: {name}"
        elif name in defaults:
            assert np.array_equal(default, defaults[name]), f"{named(schema)}: {name} defaults to {defaults[name]!r}"


@pytest.mark.parametrize("name", [*RUN_BY_THE_RUNTIME, *SERVED_BY_ONNX_REFERENCE])
def test_the_tables_hold_only_what_is_needed(name: str) -> None:
    versions = [schema for schema in SCHEMAS if schema.name == name]
    assert versions
    for schema in versions:
        record = lookup(schema.domain, schema.name, schema.since_version)
        assert name in RUN_BY_THE_RUNTIME or record is None or record.reference is None


def other_versions(case: Case) -> list[int]:
    """The other versions of the case's operator that its record serves and that can say the same."""
    mine = signature(case.domain, case.operator, case.version)
    found = []
    for schema in SCHEMAS:
        if (schema.domain, schema.name) != (case.domain, case.operator) or mine is None:
            continue
        known = signature_of(schema)
        same_form = set(case.bound_attributes(1)) <= set(known.attribute_types) and known.since >= WITHOUT_OPSET_7
        fits = known.min_inputs <= len(case.inputs) <= known.max_inputs and case.outputs <= known.max_outputs
        if same_form and fits and known.since != mine.since and lookup("", schema.name, known.since) is case.record:
            found.append(known.since)
    return found


SHARED = [
    (case, version)
    for case in all_cases()
    if case.domain == "" and not case.record.is_random and case.judge in (None, "onnxruntime")
    for version in other_versions(case)
]


@each_row(SHARED)
def test_versions_that_share_a_record_say_the_same(case: Case, version: int) -> None:
    """A row of one version, asked of onnxruntime as another version that the same record serves."""
    arrays = case.arrays(3)
    as_other = Case(case.operator, case.inputs, case.attributes, version, outputs=case.outputs)
    feeds = {f"x{index}": array for index, array in enumerate(arrays) if array is not None}
    try:
        expected = by_onnxruntime(one_node_model(as_other, arrays, 3), feeds)
    except CANNOT_RUN:
        pytest.skip("onnxruntime has no kernel for this version and type")
    outputs = apply("", case.operator, version, arrays, case.bound_attributes(3))[: case.outputs]
    for number, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
        assert_same(ours, theirs, case.tolerance, f"output {number}")
