"""The error that only a command line can hold; ``application`` turns it into exit status 2."""

from __future__ import annotations

from toolkit.errors import InputError


class UsageError(InputError):
    """The command line itself is wrong."""
