"""Programs on numpy references, node by node: the plain meaning of a program, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from importers.onnx import load
from tests.support.case import Case, Value
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.long_tail import reference_for

BODY_OPSET = 23  # the version that graphs in attributes are written in


def build(case: Case, arrays: Sequence[Value], batch: int) -> tuple[Program, Node]:
    """A program of one node; inputs that the case calls constant are constants of the program."""
    program = Program(layer="case")
    variables: list[Variable | None] = []
    for index, (given, array) in enumerate(zip(case.inputs, arrays, strict=True)):
        if given is None or array is None:
            variables.append(None)
            continue
        known = array if given.is_constant else None
        made = Variable(f"input{index}", array.dtype, array.shape, constant=known)
        if known is None:
            program.inputs[made.name] = made
        variables.append(made)
    node = program.append(
        case.operator,
        variables,
        case.bound_attributes(batch),
        domain=case.domain,
        version=case.version,
        outputs=case.outputs,
    )
    return program, node


def apply(domain: str, op_type: str, version: int, inputs: Sequence[Value], attributes: Mapping[str, Any]) -> Any:
    """The outputs of one operator, as a tuple, by its reference, or by onnx.reference where it has none."""
    probe = Node(op_type, domain, version, [], [], dict(attributes))
    record = probe.record
    reference = record.reference if record is not None else None
    if reference is None:
        reference = reference_for(domain, op_type, version, attributes)
    assert reference is not None, f"{op_type}-{version} has no reference"
    extra = {"random": np.random.default_rng(0)} if record is not None and record.is_random else {}
    bound = {
        name: EvaluatedBody(item) if isinstance(item, onnx.GraphProto) else item for name, item in attributes.items()
    }
    result = reference(*inputs, **bound, **extra)
    return tuple(map(_output, result if isinstance(result, tuple) else (result,)))


class EvaluatedBody:
    """A graph as the function ``(*values) -> tuple of values`` that references take; onnx.reference evaluates it."""

    def __init__(self, proto: onnx.GraphProto) -> None:
        opset = onnx.helper.make_opsetid("", BODY_OPSET)
        self.graph = load(onnx.helper.make_model(proto, opset_imports=[opset])).graph
        self._names = [item.name for item in proto.input]
        self._evaluator = ReferenceEvaluator(proto, opsets={"": BODY_OPSET})

    def __call__(self, *values: Value) -> tuple[Value, ...]:
        return tuple(self._evaluator.run(None, dict(zip(self._names, values, strict=True))))


def _output(item: Value) -> Value:
    """Sequences, maps and empty optionals as they are; all else is an array."""
    return item if item is None or isinstance(item, (list, dict)) else np.asarray(item)


def interpret(program: Program, feeds: Mapping[Variable, np.ndarray], wanted: Sequence[Variable]) -> list[np.ndarray]:
    """The values of ``wanted``, every node evaluated once in order; checks each against its inferred type."""
    values = dict(feeds)

    def value(item: Variable | None) -> np.ndarray | None:
        if item is None:
            return None
        return values[item] if item.constant is None else item.constant

    for node in program.nodes:
        results = apply(node.domain, node.op_type, node.version, [value(item) for item in node.inputs], node.attributes)
        for output, array in zip(node.outputs, results, strict=False):
            if output is not None:
                assert (array.dtype, array.shape) == (output.dtype, output.shape), (
                    f"{node}: {array.dtype} {array.shape}"
                )
                values[output] = array
    found = [value(item) for item in wanted]
    assert all(item is not None for item in found)
    return [item for item in found if item is not None]
