"""The page: a self-contained HTML document of sections, and the tables in it. Text is escaped, markup is marked."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
COLOURS = 8  # the custom properties --c0 to --c7 of the style


class Markup(str):
    """HTML that is put into a page as it is."""

    __slots__ = ()


def text(content: object) -> Markup:
    """Anything as HTML: markup as it is, everything else escaped."""
    return content if isinstance(content, Markup) else Markup(escape(str(content)))


def colour(index: int) -> str:
    """The colour of a series; the last one serves all that are left over."""
    return f"var(--c{min(index, COLOURS - 1)})"


def page(title: str, lead: str, sections: Sequence[Markup]) -> str:
    """A whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><p>{escape(lead)}</p>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def section(title: str, *parts: object) -> Markup:
    """A heading with what belongs to it."""
    return Markup(f"<section><h2>{escape(title)}</h2>\n" + "\n".join(text(part) for part in parts) + "</section>")


def paragraph(content: object) -> Markup:
    """Words of explanation."""
    return Markup(f"<p>{text(content)}</p>")


def table(head: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Markup:
    """A table; the columns named in ``right`` are set flush right, as numbers should be."""
    classes = [' class="right"' if name in right else "" for name in head]
    top = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(head, classes, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    )
    return Markup(f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')


def legend(names: Sequence[str]) -> Markup:
    """Which colour is which series."""
    items = (
        f'<span><i style="background:{colour(index)}"></i>{escape(name)}</span>' for index, name in enumerate(names)
    )
    return Markup(f'<div class="legend">{"".join(items)}</div>')
