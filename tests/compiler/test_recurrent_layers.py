"""Which RNN, GRU and LSTM nodes become ``Recurrent``, and that it stands for the same outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.cases import all_cases
from tests.support.case import Case
from tests.support.interpret import apply, build, interpret
from toolkit.compiler.passes.recurrent_layers import use_recurrent_layers
from toolkit.operators.expression import emit

KEPT_AS_THEY_ARE = (
    *("clip", "double", "half", "bfloat16", "different activations", "peepholes", "coupled", "linear lengths"),
)
ROWS = [case for case in all_cases() if case.operator in ("RNN", "GRU", "LSTM") and not case.domain]
TOLD = ("lengths", "lengths reversed", "lengths both ways", "empty sequence", "batch first both ways", "full lengths")
REPLACED = (
    *("first", "third", "forward", "reverse", "bidirectional", "weights alone", "sequence alone", "one step"),
    *("full lengths", "batch first", "linear", "linear both ways", "linear without bias", "linear batch first"),
    *("lengths", "lengths reversed", "lengths both ways", "empty sequence", "batch first both ways"),
)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("case", [case for case in ROWS if case.note in REPLACED], ids=lambda case: case.id)
def test_replacement_stands_for_the_same_outputs(case: Case, training: bool) -> None:
    arrays = case.arrays(3)
    program, node = build(case, arrays, 3)
    program.outputs = {str(index): item for index, item in enumerate(node.outputs) if item is not None}
    use_recurrent_layers(program, training=training)
    layers = [made for made in program.nodes if made.op_type == "Recurrent"]
    assert len(layers) == 1 and not any(made.op_type == case.operator for made in program.nodes)
    assert (layers[0].outputs[-1] is not None) is training
    feeds = {item: arrays[int(name.removeprefix("input"))] for name, item in program.inputs.items()}
    found = interpret(program, feeds, list(program.outputs.values()))
    expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(3))
    for ours, theirs in zip(found, expected[: case.outputs], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def with_told_lengths(case: Case) -> Case:
    """The case with lengths that nobody knows beforehand."""
    given = list(case.inputs)
    lengths = given[4]
    assert lengths is not None
    given[4] = replace(lengths, is_constant=False)
    return replace(case, inputs=given)


@pytest.mark.parametrize("case", [case for case in ROWS if case.note in TOLD], ids=lambda case: case.id)
def test_lengths_that_the_data_tells(case: Case) -> None:
    arrays = list(case.arrays(3))
    arrays[0] = arrays[0].copy()
    for number, length in enumerate(arrays[4]):
        steps = arrays[0].swapaxes(0, 1) if case.attributes.get("layout") else arrays[0]
        steps[length:, number] = np.nan  # what pads a sequence may be anything
    program, node = build(with_told_lengths(case), arrays, 3)
    program.outputs = {str(index): item for index, item in enumerate(node.outputs[:2]) if item is not None}
    use_recurrent_layers(program, training=False)
    left = [made.op_type for made in program.nodes]
    assert case.operator not in left and left.count("CutSequences") == left.count("Recurrent") > 0
    feeds = {item: arrays[int(name.removeprefix("input"))] for name, item in program.inputs.items()}
    found = interpret(program, feeds, list(program.outputs.values()))
    expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(3))
    for ours, name in zip(found, program.outputs, strict=True):
        np.testing.assert_allclose(ours, expected[int(name)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_told_lengths_leave_last_cells_and_gradients_to_the_operator(training: bool) -> None:
    name = "GRU" if training else "LSTM"
    case = next(case for case in ROWS if case.note == "lengths" and case.operator == name)
    program, node = build(with_told_lengths(case), case.arrays(3), 3)
    program.outputs = {str(index): item for index, item in enumerate(node.outputs) if item is not None}
    use_recurrent_layers(program, training=training)
    assert program.nodes == [node]


@pytest.mark.parametrize("case", [case for case in ROWS if case.note in KEPT_AS_THEY_ARE], ids=lambda case: case.id)
def test_what_has_no_layer_stays(case: Case) -> None:
    program, node = build(case, case.arrays(3), 3)
    program.outputs = {"y": node.y}
    use_recurrent_layers(program, training=False)
    assert program.nodes == [node]


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(
    ("note", "index", "is_read"),
    [("forward", -1, True), ("forward", 0, False), ("reverse", -1, False), ("bidirectional", -1, False)],
)
def test_the_last_step_is_read_from_the_last_state(note: str, index: int, is_read: bool, training: bool) -> None:
    (case,) = [case for case in ROWS if case.operator == "LSTM" and case.note == note]
    arrays = case.arrays(3)
    program, node = build(case, arrays, 3)
    y = node.outputs[0]
    assert y is not None
    picked = emit("Gather", program.expression(y), np.array(index), axis=0)
    program.outputs = {"last": picked.variable}
    use_recurrent_layers(program, training=training)
    assert is_read == all(made.op_type != "Gather" for made in program.nodes)
    feeds = {item: arrays[int(name.removeprefix("input"))] for name, item in program.inputs.items()}
    (found,) = interpret(program, feeds, list(program.outputs.values()))
    expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(3))
    np.testing.assert_allclose(found, expected[0][index], rtol=1e-5, atol=1e-6)
