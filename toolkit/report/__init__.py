"""Pictures and pages for people: charts as SVG, and self-contained HTML that needs no network to be looked at."""

from toolkit.report.bars import Bar, bars
from toolkit.report.lines import lines
from toolkit.report.page import Markup, page, paragraph, section, table

__all__ = ["Bar", "Markup", "bars", "lines", "page", "paragraph", "section", "table"]
