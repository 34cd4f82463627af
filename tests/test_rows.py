"""A test that is asked of many rows fails with each that fails, and names it."""

from __future__ import annotations

import pytest

from tests.support.case import Case, uniform
from tests.support.rows import check_all, each_row

ROWS = [(Case("Relu", [uniform(3)], note=f"row {number}"), number) for number in range(4)]


def test_all_rows_are_asked_and_failures_name_theirs() -> None:
    asked = []

    def check(case: Case, number: int) -> None:
        asked.append(number)
        assert number != 1

    with pytest.raises(AssertionError) as told:
        check_all(check, ROWS)
    assert asked == [0, 1, 2, 3]
    assert told.value.__notes__ == ["row: Relu-23-row_1 1"]


def test_several_failures_come_together() -> None:
    def check(case: Case, number: int) -> None:
        with pytest.raises(ValueError, match=str(number)):
            if number > 1:
                raise ValueError(str(number))

    with pytest.raises(ExceptionGroup, match="2 of 4 rows fail") as told:
        check_all(check, ROWS)
    assert [str(error).split(":")[0] for error in told.value.exceptions] == ["Relu-23-row_0 0", "Relu-23-row_1 1"]


def test_only_where_every_row_is_skipped_the_test_is() -> None:
    def check(case: Case, number: int) -> None:
        if number > 1:
            pytest.skip(f"number {number}")

    check_all(check, ROWS)
    with pytest.raises(pytest.skip.Exception, match="number 2; number 3"):
        check_all(check, ROWS[2:])


@each_row([Case("Relu", [uniform(3)]), Case("Abs", [uniform(3)]), Case("Relu", [uniform(3)], version=6)], (1, 3))
def test_what_is_asked(case: Case, batch: int) -> None:
    assert (case.operator, batch) in {("Relu", 1), ("Relu", 3), ("Abs", 1), ("Abs", 3)}


def test_there_is_a_test_for_each_operator(request: pytest.FixtureRequest) -> None:
    names = [item.name for item in request.session.items if item.path == request.path]
    assert [name for name in names if "what_is_asked" in name] == [
        "test_what_is_asked[Relu]",
        "test_what_is_asked[Abs]",
    ]
