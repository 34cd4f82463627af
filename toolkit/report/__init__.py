"""Pictures and pages for people: charts as SVG, and self-contained HTML that needs no network to be looked at."""

from toolkit.report.bars import Bar, bars
from toolkit.report.heat_map import heat_map
from toolkit.report.lines import lines
from toolkit.report.page import Markup, page, paragraph, section, table
from toolkit.report.pictures import data_uri, pictures

__all__ = [
    "Bar",
    "Markup",
    "bars",
    "data_uri",
    "heat_map",
    "lines",
    "page",
    "paragraph",
    "pictures",
    "section",
    "table",
]
