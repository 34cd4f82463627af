"""Suggestions: which of the known names somebody may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


def folded(name: str) -> str:
    """A name without case and separators: ``softmax-cross-entropy`` and ``SoftmaxCrossEntropy`` are the same."""
    return re.sub(r"[-_ ]", "", name).lower()


def hint(word: str, known: Iterable[str]) -> str:
    """`` (did you mean focal?)``, or nothing where no name comes close."""
    by_folded = {folded(name): name for name in known}
    close = get_close_matches(folded(word), list(by_folded), n=1, cutoff=0.5)
    return f" (did you mean {by_folded[close[0]]}?)" if close else ""
