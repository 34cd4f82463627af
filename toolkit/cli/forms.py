"""Forms: how the value of an option is written.

A form turns what is given, text from the command line or a value of a recipe, into one plain value that TOML can hold,
and moves the paths in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from toolkit.cli.descriptions import KIND
from toolkit.cli.families import FAMILIES
from toolkit.cli.suggestions import folded, hint
from toolkit.errors import InputError

Move = Callable[[str], str]


class Form(Protocol):
    """How a value is written; ``plain`` raises ``InputError`` for what is written wrongly, and moves paths."""

    @property
    def metavar(self) -> str | None: ...

    def plain(self, given: Any, move: Move = str) -> Any: ...


@dataclass(frozen=True)
class Text:
    """Any text."""

    metavar: str | None = "TEXT"

    def plain(self, given: Any, move: Move = str) -> str:
        if not isinstance(given, str):
            raise InputError(f"a text is expected, got {given!r}")
        return given


@dataclass(frozen=True)
class File:
    """A file or folder."""

    metavar: str | None = "FILE"

    def plain(self, given: Any, move: Move = str) -> str:
        return move(Text().plain(given))


@dataclass(frozen=True)
class Words:
    """Words between commas, a list in recipes."""

    metavar: str | None = "NAME,..."

    def plain(self, given: Any, move: Move = str) -> list[str]:
        found = [word.strip() for word in given.split(",")] if isinstance(given, str) else given
        if not isinstance(found, list) or not all(isinstance(word, str) and word for word in found):
            raise InputError(f"{self.metavar} is expected, got {given!r}")
        return found


@dataclass(frozen=True)
class Number:
    """A whole number of at least ``least``, or, with ``is_whole=False``, any number."""

    least: int | None = None
    is_whole: bool = True
    metavar: str | None = "N"

    def plain(self, given: Any, move: Move = str) -> Any:
        kind = int if self.is_whole else float
        try:
            value: Any = kind(given) if isinstance(given, str) else given
        except ValueError:
            value = None
        is_number = isinstance(value, int) or (not self.is_whole and isinstance(value, float))
        if not is_number or isinstance(value, bool) or (self.least is not None and value < self.least):
            bound = "" if self.least is None else f" of at least {self.least}"
            raise InputError(f"a {'whole ' if self.is_whole else ''}number{bound} is expected, got {given!r}")
        return value


@dataclass(frozen=True)
class Switch:
    """Yes or no: ``--name`` and ``--no-name``."""

    metavar: str | None = None

    def plain(self, given: Any, move: Move = str) -> bool:
        if not isinstance(given, bool):
            raise InputError(f"true or false is expected, got {given!r}")
        return given


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        return "|".join(self.words)

    def plain(self, given: Any, move: Move = str) -> str:
        word = next((word for word in self.words if isinstance(given, str) and folded(word) == folded(given)), None)
        if word is None:
            raise InputError(f"one of {', '.join(self.words)} is expected, got {given!r}{hint(str(given), self.words)}")
        return word


@dataclass(frozen=True)
class Either:
    """What the first of some forms takes."""

    forms: tuple[Form, ...]
    metavar: str | None

    def plain(self, given: Any, move: Move = str) -> Any:
        for form in self.forms[:-1]:
            try:
                return form.plain(given, move)
            except InputError:
                continue
        return self.forms[-1].plain(given, move)


@dataclass(frozen=True)
class Described:
    """A description of an object of a family; the words of ``others`` stand for themselves."""

    family: str
    others: tuple[str, ...] = ()

    @property
    def metavar(self) -> str:
        values = "NAME=VALUE,..."
        return values if FAMILIES[self.family].is_single else f"KIND[:{values}]"

    def plain(self, given: Any, move: Move = str) -> Any:
        if isinstance(given, str) and given in self.others:
            return given
        return FAMILIES.plain(FAMILIES[self.family], given, move)


@dataclass(frozen=True)
class Named:
    """``NAME=VALUE``, a table by names in recipes. Where a description has no name it is called by its kind."""

    value: Form
    metavar: str | None = "NAME=VALUE"
    needs_name: bool = True

    def plain(self, given: Any, move: Move = str) -> dict[str, Any]:
        if isinstance(given, Mapping):
            return {str(name): self.value.plain(item, move) for name, item in given.items()}
        name, equals, value = str(given).partition("=")
        if not self.needs_name and (not equals or ":" in name):
            made = self.value.plain(given, move)
            return {made[KIND] if isinstance(made, Mapping) else made: made}
        if not equals or not name:
            raise InputError(f"{self.metavar} is expected, got {given!r}")
        return {name: self.value.plain(value, move)}
