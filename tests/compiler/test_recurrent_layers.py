"""Which RNN, GRU and LSTM nodes become ``Recurrent``, and that it stands for the same outputs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cases import all_cases
from tests.support.case import Case
from tests.support.interpret import apply, build, interpret
from toolkit.compiler.passes.recurrent_layers import use_recurrent_layers

KEPT_AS_THEY_ARE = (
    *("clip", "double", "half", "bfloat16", "different activations", "peepholes", "coupled", "linear lengths"),
)
ROWS = [case for case in all_cases() if case.operator in ("RNN", "GRU", "LSTM") and not case.domain]
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


@pytest.mark.parametrize("case", [case for case in ROWS if case.note in KEPT_AS_THEY_ARE], ids=lambda case: case.id)
def test_what_has_no_layer_stays(case: Case) -> None:
    program, node = build(case, case.arrays(3), 3)
    program.outputs = {"y": node.y}
    use_recurrent_layers(program, training=False)
    assert program.nodes == [node]
