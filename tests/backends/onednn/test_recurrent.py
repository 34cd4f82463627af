"""Recurrent layers on oneDNN: what they compute, and the gradient from what the forward primitive kept."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.interpret import apply
from toolkit.backends import onednn

if not onednn.available():
    pytest.skip("needs oneDNN on this machine", allow_module_level=True)

from tests.backends.parity import ONEDNN, VARIANTS, Rig, assert_close

STEPS, BATCH, SIZE, HIDDEN = 5, 3, 6, 20
KINDS = {"LSTM": (4, 2), "GRU": (3, 1), "LinearGRU": (3, 1), "Tanh": (1, 1), "Relu": (1, 1)}  # gates, states
PLAIN, TRAINING, KNOWN = VARIANTS[:3]


def drawn(kind: str, direction: str, *, bias: bool, initial: bool) -> list[np.ndarray | None]:
    """The inputs of a layer."""
    random = np.random.default_rng(0)
    gates, states = KINDS[kind]
    directions = 2 if direction == "bidirectional" else 1
    shapes = [(STEPS, BATCH, SIZE), (directions, SIZE, gates, HIDDEN), (directions, HIDDEN, gates, HIDDEN)]
    found: list[np.ndarray | None] = [random.uniform(-0.5, 0.5, shape).astype(np.float32) for shape in shapes]
    more = [(directions, gates + (kind == "LinearGRU"), HIDDEN), *[(directions, BATCH, HIDDEN)] * 2]
    for shape, present in zip(more, (bias, initial, initial and states == 2), strict=True):
        found.append(random.uniform(-0.5, 0.5, shape).astype(np.float32) if present else None)
    return found


@pytest.mark.parametrize("initial", [True, False], ids=["begun", "from zero"])
@pytest.mark.parametrize("bias", [True, False], ids=["biased", "unbiased"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
def test_layer_and_its_gradient(kind: str, direction: str, bias: bool, initial: bool) -> None:
    arrays, attributes = drawn(kind, direction, bias=bias, initial=initial), {"kind": kind, "direction": direction}
    count = 1 + KINDS[kind][1]
    expected = apply("toolkit", "Recurrent", 1, arrays, attributes)
    random = np.random.default_rng(1)
    seeds = [random.standard_normal(item.shape).astype(np.float32) for item in expected[:count]]
    wrt = [index for index, item in enumerate(arrays) if item is not None and not (index == 0 and bias)]
    backward = {**attributes, "wrt": wrt}
    slopes = apply("toolkit", "RecurrentGradient", 1, [*arrays, *expected, *seeds], backward)
    for variant in (PLAIN, TRAINING, KNOWN):
        rig = Rig(variant)
        operands = [
            None if item is None else rig.given(item, is_known=variant.knows_weights and index > 0)
            for index, item in enumerate(arrays)
        ]
        names = [*"yhc"[:count], "kept" if variant.training else ""]
        node = rig.program.append("Recurrent", operands, attributes, domain="toolkit", outputs=names)
        results = {f"output {index}": item for index, item in enumerate(node.outputs[:count]) if item is not None}
        if variant.training:
            given = [*operands, *node.outputs, *map(rig.given, seeds)]
            gradient = rig.program.append("RecurrentGradient", given, backward, domain="toolkit", outputs=len(wrt))
            results |= {f"slope {index}": item for index, item in enumerate(gradient.outputs) if item is not None}
        found = rig.run(results)
        for index, array in enumerate(expected[:count]):
            assert_close(found[f"output {index}"], array, 2e-5, f"{variant.name}: output {index}")
        for index, array in enumerate(slopes if variant.training else ()):
            assert_close(found[f"slope {index}"], array, 1e-4, f"slope of input {wrt[index]}")


def test_gradient_of_what_kept_nothing_is_left_to_numpy() -> None:
    rig = Rig(TRAINING)
    arrays, attributes = drawn("GRU", "forward", bias=True, initial=True), {"kind": "GRU", "direction": "forward"}
    operands = [None if item is None else rig.given(item) for item in arrays]
    node = rig.program.append("Recurrent", operands, attributes, domain="toolkit", outputs=["y", "h", ""])
    seeds = list(node.outputs[:2])
    given = [*operands, *node.outputs, *seeds]
    gradient = rig.program.append("RecurrentGradient", given, {**attributes, "wrt": [0]}, domain="toolkit")
    assert ONEDNN.supports(node)
    assert not ONEDNN.supports(gradient)
