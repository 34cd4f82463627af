"""Pages and charts: well-formed, self-contained, escaped, true to their numbers."""

import re
from xml.etree import ElementTree

import pytest

from toolkit.report import Bar, Markup, bars, lines, page, paragraph, section, table


def parsed(markup):
    return ElementTree.fromstring(f"<div>{markup}</div>")


def test_a_page_holds_its_sections_and_needs_nothing_else():
    html = page("A & B", "two < three", [section("One", paragraph("a > b"), Markup("<em>c</em>"))])
    assert html.startswith("<!doctype html>")
    assert "A &amp; B" in html
    assert "two &lt; three" in html
    assert "<em>c</em>" in html
    assert not re.search(r"https?://|src=|@import|<script", html)


def test_cells_are_escaped_and_numbers_set_flush_right():
    root = parsed(table(("name", "n"), [("<b>", 1)], right=["n"]))
    cells = list(root.iter("td"))
    assert [cell.text for cell in cells] == ["<b>", "1"]
    assert cells[1].get("class") == "right"


def test_bars_are_as_long_as_their_numbers():
    root = parsed(bars([Bar("a", 4.0, "4"), Bar("b", 1.0, "1"), Bar("c", -1.0, "-1")]))
    widths = [
        re.search(r"width:([\d.]+)%", fill.get("style"))[1] for fill in root.iter("div") if fill.get("class") == "fill"
    ]
    assert [float(width) for width in widths] == [100.0, 25.0, 0.0]


def test_lines_go_through_their_points_and_break_where_one_is_missing():
    root = parsed(lines({"loss": [3.0, 2.0, None, float("nan"), 1.0]}, x_label="epoch", y_label="loss"))
    drawn = [
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()] for line in root.iter("polyline")
    ]
    assert [len(run) for run in drawn] == [2, 1]
    heights = [point[1] for run in drawn for point in run]
    assert heights == sorted(heights), "smaller losses must lie lower"


@pytest.mark.parametrize("values", [[5.0], [1e-9, 2e-9], [0.0, 0.0], [-1e6, 1e6], [1e30, -1e30]])
def test_ticks_enclose_any_range(values):
    root = parsed(lines({"x": values}))
    assert 2 <= len(list(root.iter("line"))) <= 9
    for line in root.iter("polyline"):
        assert all(0 <= float(pair.split(",")[1]) <= 280 for pair in line.get("points").split())


def test_nothing_to_draw_is_said():
    assert "Nothing was recorded" in lines({"loss": []})
