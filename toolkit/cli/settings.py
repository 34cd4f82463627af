"""Settings: options that a flag and a line of a recipe can both give, each one record.

From the same records come the parser, the groups of ``--help``, the check of a recipe and its writing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.cli.forms import Form, Move, Named, Switch
from toolkit.cli.usage import UsageError
from toolkit.errors import InputError


@dataclass(frozen=True)
class Option:
    """One setting: ``batch_size`` in a recipe is ``--batch-size`` on the command line.

    ``is_repeated``: the flag may occur several times, a recipe gives a list (a table where values have names).
    ``bare`` is what the flag alone means, where it may stand without a value. ``is_positional``: it has no flag.
    """

    name: str
    form: Form
    help: str
    default: Any = None
    is_repeated: bool = False
    bare: Any = None
    is_positional: bool = False

    @property
    def flag(self) -> str:
        return self.name.upper() if self.is_positional else f"--{self.name.replace('_', '-')}"

    def plain(self, given: Any, move: Move = str) -> Any:
        """The value as a recipe gives it. Raises ``InputError``."""
        if not self.is_repeated:
            return self.bare if given is True and self.bare is not None else self.form.plain(given, move)
        many = given if isinstance(given, list) else [given]
        return self.joined([self.form.plain(item, move) for item in many])

    def joined(self, values: list[Any]) -> Any:
        """Several values as one."""
        if not isinstance(self.form, Named):
            return values
        return {name: item for value in values for name, item in value.items()}

    def word(self, text: str) -> Any:
        """The value of a flag, for argparse."""
        try:
            return self.form.plain(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error


@dataclass(frozen=True)
class Group:
    """Options that belong together: a heading of ``--help``, and a table of a recipe."""

    name: str
    title: str
    options: tuple[Option, ...]


def declare(parser: argparse.ArgumentParser, groups: Iterable[Group]) -> None:
    """Declare the flags of all groups; those that are not given leave no trace in the namespace."""
    for group in groups:
        section = parser.add_argument_group(group.title)
        for option in group.options:
            _declare(section, option)


def _declare(section: Any, option: Option) -> None:
    shown = option.help.replace("%", "%%")
    if option.is_positional:  # a recipe may give it
        section.add_argument(option.name, nargs="?", metavar=option.flag, default=argparse.SUPPRESS, help=shown)
        return
    given: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS, "help": shown}
    if isinstance(option.form, Switch):
        section.add_argument(option.flag, action=argparse.BooleanOptionalAction, **given)
        return
    if option.bare is not None:
        given |= {"nargs": "?", "const": option.bare}
    if option.is_repeated:
        given["action"] = "append"
    section.add_argument(option.flag, type=option.word, metavar=option.form.metavar, **given)


def settle(
    namespace: argparse.Namespace,
    groups: Sequence[Group],
    recipe: Mapping[str, Any] | None = None,
    *,
    required: Sequence[str] = (),
) -> dict[str, Any]:
    """All options by name: the flag where it is given, else the recipe, else the default.

    Raises ``UsageError`` when one of ``required`` is not given.
    """
    values: dict[str, Any] = {}
    missing = []
    for option in (option for group in groups for option in group.options):
        if option.name in vars(namespace):
            given = getattr(namespace, option.name)
            values[option.name] = option.joined(given) if option.is_repeated else given
        else:
            values[option.name] = (recipe or {}).get(option.name, option.default)
        if option.name in required and values[option.name] is None:
            missing.append(option.flag)
    if missing:
        raise UsageError(f"the following arguments are required: {', '.join(missing)}.")
    return values
