"""Recurrent layers in inference: every cell, direction, length and number of threads, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from toolkit.backends import native
from toolkit.operators.standard.recurrent_layer import GATE_ORDER, STATES

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

STEPS, SIZE = 5, 6


def arrays(
    kind: str,
    batch: int,
    hidden: int,
    *,
    directions: int = 1,
    bias: bool = True,
    states: bool = True,
    steps: int = STEPS,
) -> list[np.ndarray | None]:
    """X, W, R, bias and first states of a layer."""
    random, gates = np.random.default_rng(0), len(GATE_ORDER[kind])

    def made(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * 0.5).astype(np.float32)

    found: list[np.ndarray | None] = [made(steps, batch, SIZE), made(directions, SIZE, gates, hidden)]
    found += [made(directions, hidden, gates, hidden)]
    found += [made(directions, gates + (kind == "LinearGRU"), hidden) if bias else None]
    return [*found, *(made(directions, batch, hidden) if states else None for _ in range(STATES[kind]))]


def check(kind: str, given: list[np.ndarray | None], threads: int = 1, **attributes: Any) -> None:
    outputs = 1 + STATES[kind]
    check_node("Recurrent", given, {"kind": kind, **attributes}, known=(1, 2, 3), outputs=outputs, threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", GATE_ORDER)
def test_every_cell_and_direction(kind: str, direction: str, threads: int) -> None:
    directions = 2 if direction == "bidirectional" else 1
    check(kind, arrays(kind, 3, 64, directions=directions), threads, direction=direction)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", GATE_ORDER)
def test_sequences_of_different_lengths(kind: str, direction: str) -> None:
    directions = 2 if direction == "bidirectional" else 1
    given = arrays(kind, 4, 8, directions=directions)
    given[0][3:, 1] = np.nan  # what pads a sequence may be anything
    check(kind, given, direction=direction, lengths=[STEPS, 3, 0, 1])


@pytest.mark.parametrize("hidden", [4, 12, 16, 24])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_sizes_around_vectors(kind: str, batch: int, hidden: int) -> None:
    check(kind, arrays(kind, batch, hidden))


@pytest.mark.parametrize("batch", [9, 17])
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("kind", GATE_ORDER)
def test_many_sequences(kind: str, direction: str, batch: int) -> None:
    directions = 2 if direction == "bidirectional" else 1
    check(kind, arrays(kind, batch, 12, directions=directions), threads=2, direction=direction)


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("kind", GATE_ORDER)
def test_states_that_are_known_to_be_zero(kind: str, direction: str) -> None:
    given = arrays(kind, 3, 32, directions=2 if direction == "bidirectional" else 1)
    given[4] = np.zeros_like(given[4])
    outputs, known = 1 + STATES[kind], range(1, len(given))
    attributes = {"kind": kind, "direction": direction}
    check_node("Recurrent", given, attributes, known=known, outputs=outputs, threads=2)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(("bias", "states"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("kind", ["LSTM", "LinearGRU"])
def test_what_is_left_out(kind: str, bias: bool, states: bool, steps: int) -> None:
    check(kind, arrays(kind, 2, 8, bias=bias, states=states, steps=steps))
