"""One test for all rows of an operator: thousands of small checks, without thousands of tests to list and tell of.

No row hides another: all are checked, whatever fails says which row it was, and several failures come together. A row
that is skipped counts for nothing; where all rows of an operator are, its test is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from tests.support.case import Case

Row = tuple[Any, ...]


def each_row(rows: Iterable[Case | Row], *more: Sequence[Any]) -> Callable[[Callable[..., Any]], Callable[[str], None]]:
    """Ask a test that takes a case of all rows; what pytest sees is a test for each operator, under its name.

    A row may be a tuple of arguments, of which the case is the first. Each of ``more`` holds the values of one further
    argument (batch sizes), all of which are tried with every row.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        arguments = row if isinstance(row, tuple) else (row,)
        case = arguments[0]
        groups.setdefault(f"{case.domain}.{case.operator}" if case.domain else case.operator, []).append(arguments)
    for values in more:
        groups = {name: [(*row, value) for row in group for value in values] for name, group in groups.items()}

    def of_each_operator(check: Callable[..., Any]) -> Callable[[str], None]:
        @pytest.mark.parametrize("operator", groups)
        def test(operator: str) -> None:
            check_all(check, groups[operator])

        test.__doc__ = check.__doc__
        return test

    return of_each_operator


def check_all(check: Callable[..., Any], rows: Sequence[Row]) -> None:
    """Call ``check`` with the arguments of every row, then raise what failed, each error with a note of its row."""
    failures: list[Exception] = []
    reasons: list[str] = []
    for row in rows:
        title = " ".join(item.id if isinstance(item, Case) else str(getattr(item, "name", item)) for item in row)
        try:
            check(*row)
        except pytest.skip.Exception as reason:
            reasons.append(str(reason))
        except pytest.fail.Exception as error:
            failures.append(AssertionError(f"{title}: {error}"))
        except Exception as error:
            error.add_note(f"row: {title}")
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(rows)} rows fail", failures)
    if len(reasons) == len(rows):
        pytest.skip("; ".join(sorted(set(reasons))))
