"""Where commands write: lines and tables for people, or one JSON object for programs; never both."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

PROGRAM = "onnx-toolkit"
WIDTH_OF_FILES = 180  # columns where no terminal sets a limit


class Report:
    """Standard output of one command. With ``as_json`` only ``result`` writes, else only the others do."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        width = None if sys.stdout.isatty() else WIDTH_OF_FILES
        self._console = Console(width=width, markup=False, highlight=False, emoji=False, quiet=as_json)

    def line(self, text: str = "") -> None:
        """One line, or several, as they are."""
        self._console.print(text, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
        """Rows under column titles; the columns named in ``right`` are aligned for figures."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def result(self, content: dict[str, Any]) -> None:
        """The whole result for a program to read."""
        if self.as_json:
            sys.stdout.write(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def complain(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{PROGRAM}: {' '.join(text.split())}\n")


def figure(value: float) -> str:
    """A number for people: four significant decimals, more digits for the very small and large."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


def _plain(item: Any) -> Any:
    """What JSON can hold; NaN and infinities, which it cannot, become null."""
    if isinstance(item, dict):
        return {str(key): _plain(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_plain(value) for value in item]
    if isinstance(item, np.generic):
        return _plain(item.item())
    if isinstance(item, float) and not math.isfinite(item):
        return None
    return str(item) if isinstance(item, Path) else item
