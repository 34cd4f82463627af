"""What sequences and optionals refuse, and that no operator changes the sequence that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import parser

from tests.support.interpret import EvaluatedBody
from toolkit.operators.standard.optionals import optional_get_element
from toolkit.operators.standard.reverse_sequence import reverse_sequence
from toolkit.operators.standard.sequences import (
    concat_from_sequence,
    sequence_at,
    sequence_construct,
    sequence_erase,
    sequence_insert,
    sequence_map,
    split_to_sequence,
)

ONE = np.ones(2, np.float32)
THREE = [ONE, 2 * ONE, 3 * ONE]


def at(position: Any) -> np.ndarray:
    return np.asarray(position, dtype=np.int64)


@pytest.mark.parametrize("position", [3, -4])
def test_a_position_outside_is_refused_with_what_is_allowed(position: int) -> None:
    with pytest.raises(IndexError, match=rf"position {position} must lie in \[-3, 2\]: the sequence holds 3 tensors"):
        sequence_at(THREE, at(position))
    with pytest.raises(IndexError, match=rf"position {position} must lie in \[-3, 2\]"):
        sequence_erase(THREE, at(position))


def test_insertion_may_be_one_behind_the_last() -> None:
    assert len(sequence_insert(THREE, ONE, at(3))) == 4
    with pytest.raises(IndexError, match=r"position 4 must lie in \[-3, 3\]"):
        sequence_insert(THREE, ONE, at(4))


def test_nothing_is_in_an_empty_sequence() -> None:
    with pytest.raises(IndexError, match="the sequence is empty"):
        sequence_at([], at(0))
    with pytest.raises(IndexError, match="the sequence is empty"):
        sequence_erase([])
    with pytest.raises(ValueError, match="nothing to concatenate"):
        concat_from_sequence([], axis=0)


def test_a_position_is_one_number() -> None:
    with pytest.raises(ValueError, match="a position must be one number, got 2"):
        sequence_at(THREE, at([0, 1]))


def test_a_sequence_has_one_element_type() -> None:
    with pytest.raises(ValueError, match="must share one element type, got float32, int64"):
        sequence_construct(ONE, at(1))
    with pytest.raises(ValueError, match="a sequence of float32 cannot take a tensor of int64"):
        sequence_insert(THREE, at(1))


def test_the_given_sequence_stays_as_it_is() -> None:
    given = list(THREE)
    sequence_insert(given, ONE, at(0))
    sequence_erase(given, at(0))
    assert len(given) == 3 and given[0] is THREE[0]


@pytest.mark.parametrize("split", [[1, 2], [-1, 5], [2, 3]])
def test_sizes_of_parts_add_up(split: list[int]) -> None:
    with pytest.raises(ValueError, match="must be 0 or more and add up to the 4 of axis 0"):
        split_to_sequence(np.zeros((4, 2)), at(split))


def test_parts_have_a_positive_size() -> None:
    with pytest.raises(ValueError, match="the size of the parts must be positive, got 0"):
        split_to_sequence(np.zeros((4, 2)), at(0))


def test_mapped_sequences_are_equally_long() -> None:
    body = EvaluatedBody(parser.parse_graph("body (float[n] x, float[n] y) => (float[n] z) { z = Add(x, y) }"))
    with pytest.raises(ValueError, match=r"every sequence must hold 3 tensors like the first, got \[2\]"):
        sequence_map(THREE, THREE[:2], body=body)


def test_a_body_tells_how_many_sequences_there_are() -> None:
    body = EvaluatedBody(parser.parse_graph("body (float[n] x) => (float[n] y, float[n] z) { y = Neg(x) z = Abs(x) }"))
    assert sequence_map([], body=body) == ([], [])


def test_an_empty_optional_has_no_element() -> None:
    with pytest.raises(ValueError, match="the optional is empty"):
        optional_get_element(None)


def test_lengths_of_reversed_sequences_fit() -> None:
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"the lengths \[5, 1\] must lie in \[0, 4\]"):
        reverse_sequence(x, at([5, 1]))
    with pytest.raises(ValueError, match="one length for each of 2 sequences"):
        reverse_sequence(x, at([1]))
    with pytest.raises(ValueError, match="batch_axis and time_axis must be 0 and 1"):
        reverse_sequence(x, at([1, 1]), batch_axis=0)
