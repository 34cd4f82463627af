"""Regular expressions by RE2 itself, whose syntax operators on strings use; it takes linear time on any pattern."""

from __future__ import annotations

from functools import cache
from typing import Any

import re2


@cache
def compiled(pattern: str) -> Any:
    """The pattern, ready for use like one of Python's ``re``. Raises ``ValueError`` where RE2 does not take it."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise ValueError(f"the regular expression {pattern!r} is not valid: {said}") from error
