"""Pages about a run: what it reached, where it is wrong, and how it was made."""

from toolkit.training.reporting.document import write_report

__all__ = ["write_report"]
