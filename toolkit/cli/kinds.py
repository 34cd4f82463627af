"""Kinds of objects that options describe, read off the signatures of the toolkit's public classes and functions.

A loss, metric, optimizer, schedule, layer or callback that becomes public is reachable by that alone: nothing here
knows their names. What takes a Python function cannot be described in words and is left to Python.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any

from importers import load
from toolkit.cli.descriptions import KIND, parsed
from toolkit.cli.suggestions import folded, hint
from toolkit.errors import InputError, ToolkitError
from toolkit.graph import Network

NOTHING: Mapping[str, Any] = types.MappingProxyType({})
NONE = "none"  # TOML has no word for it
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "a table"}


class MisfitError(InputError):
    """A value of another type than a parameter takes."""


@dataclass(frozen=True)
class Family:
    """Kinds that serve one purpose.

    - ``name``: what one of them is called in messages; ``targets``: classes and functions by public name
    - ``makes``: the class (or type) that parameters of other kinds are annotated with to ask for one of these
    - ``hidden``: parameters that the command settles itself; ``leading``: those that are handed over when the object,
      then a function of them, is called
    - ``supplied``: parameters that the command may fill where a description leaves them out
    - ``is_single``: there is one kind, whose name nobody has to write
    """

    name: str
    targets: Mapping[str, Callable[..., Any]]
    makes: Any = None
    hidden: frozenset[str] = frozenset()
    leading: tuple[str, ...] = ()
    supplied: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    is_single: bool = False

    @property
    def plural(self) -> str:
        """What all of them are called: ``--list losses``."""
        return f"{self.name}{'es' if self.name.endswith('s') else 's'}"

    @cached_property
    def kinds(self) -> dict[str, Callable[..., Any]]:
        """Those of the targets that words can describe."""
        return {name: target for name, target in self.targets.items() if not self.reason(name)}

    def reason(self, name: str) -> str:
        """Why a target cannot be described; empty where it can."""
        needed = [key for key, item in self.parameters(self.targets[name]).items() if item.default is item.empty]
        wrong = [key for key in needed if _is_function(self.parameters(self.targets[name])[key].annotation)]
        return f"{', '.join(wrong)} must be a Python function" if wrong else ""

    def parameters(self, target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
        """The parameters that a description may give."""
        left_out = {*self.hidden, *self.leading}
        return {name: item for name, item in parameters_of(target).items() if name not in left_out}

    def find(self, name: str) -> str:
        """The public name of a kind, whatever its case and separators. Raises ``InputError`` with a suggestion."""
        by_folded = {folded(key): key for key in self.kinds} | {folded(key): to for key, to in self.aliases.items()}
        if name in self.kinds or folded(name) in by_folded:
            return name if name in self.kinds else by_folded[folded(name)]
        refused = next((key for key in self.targets if folded(key) == folded(name)), None)
        if refused is not None:
            raise InputError(f"{self.name} {refused}: {self.reason(refused)}. Train from Python with it.")
        raise InputError(
            f"there is no {self.name} {name!r}{hint(name, [*self.kinds, *self.aliases])}; "
            f"there are {', '.join(sorted(self.kinds, key=str.lower))}"
        )


class Families:
    """All families, and what a description becomes: checked and plain, or the object itself."""

    def __init__(self, *families: Family) -> None:
        self.by_name = {family.name: family for family in families}

    def __getitem__(self, name: str) -> Family:
        return self.by_name[name]

    def __iter__(self) -> Iterator[Family]:
        return iter(self.by_name.values())

    def plain(self, family: Family, given: Any, move: Callable[[str], str] = str) -> dict[str, Any]:
        """A description, text or table, as a table of plain values under the public names; paths are moved by ``move``.

        Raises ``InputError`` for kinds, parameters and types of values that do not exist.
        """
        return _Plain(self, move).described(family, given)

    def built(self, family: Family, given: Any, **supplied: Any) -> Any:
        """What a description describes. ``supplied`` are values for parameters that it leaves out, where it has such.

        Raises ``ToolkitError``: what the constructor raises, or ``InputError``.
        """
        return _Building(self).described(family, given, supplied)

    def of(self, annotation: Any) -> Family | None:
        """The family that an annotation asks for."""
        return next((item for item in self if item.makes is not None and item.makes == annotation), None)


class _Reading:
    """One way through a description: every value is fitted to the annotation of its parameter."""

    is_before = False  # the command may still supply what is missing

    def __init__(self, families: Families) -> None:
        self.families = families

    def path(self, path: str) -> str:
        """The path of a file, as it is written."""
        return path

    def network(self, path: str) -> Any:
        """The network of a file."""
        raise NotImplementedError

    def made(self, family: Family, kind: str, values: dict[str, Any]) -> Any:
        raise NotImplementedError

    def described(self, family: Family, given: Any, supplied: Mapping[str, Any] = NOTHING) -> Any:
        """The object of a description, or the description made plain."""
        if isinstance(given, str):
            given = parsed(given, has_kind=not family.is_single)
        if not isinstance(given, Mapping):
            raise MisfitError(f"a {family.name} as text or table is expected, got {given!r}")
        if not family.is_single and not isinstance(given.get(KIND), str):
            raise InputError(f"a {family.name} needs its kind, got {dict(given)!r}")
        kind = next(iter(family.kinds)) if family.is_single else family.find(given[KIND])
        parameters, values = family.parameters(family.kinds[kind]), {}
        for name, value in given.items():
            if name == KIND and not family.is_single:
                continue
            key = next((key for key in parameters if folded(key) == folded(name)), None)
            if key is None:
                offered = ", ".join(parameters) or "none"
                raise InputError(f"{kind} has no parameter {name!r}{hint(name, parameters)}; it takes {offered}")
            values[key] = self.fitted(_annotation(parameters[key]), value, f"{kind}: {key}")
        taken = parameters_of(family.kinds[kind])
        values |= {key: value for key, value in supplied.items() if key in taken and key not in values}
        missing = [
            key
            for key, item in parameters.items()
            if item.default is item.empty
            and item.kind is not item.VAR_POSITIONAL
            and key not in values
            and not (self.is_before and key in family.supplied)
        ]
        if missing:
            raise InputError(f"{kind} needs {' and '.join(missing)}: write {kind}:{missing[0]}=VALUE")
        return self.made(family, kind, values)

    def fitted(self, annotation: Any, value: Any, where: str) -> Any:
        """``value`` as ``annotation`` demands. Raises ``MisfitError``."""
        family = self.families.of(annotation)
        if family is not None:
            return self.described(family, value)
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        if origin in (typing.Union, types.UnionType):
            return self._one_of(inner, value, where)
        if annotation is Network and isinstance(value, str):
            return self.network(value)
        if origin in (collections.abc.Sequence, collections.abc.Iterable, list, tuple):
            return self._several(origin, inner, value, where)
        if origin in (collections.abc.Mapping, dict) and isinstance(value, Mapping):
            return {str(key): self.fitted(inner[1], item, f"{where}.{key}") for key, item in value.items()}
        if annotation is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if annotation in (Any, inspect.Parameter.empty) or (
            isinstance(annotation, type)
            and isinstance(value, annotation)
            and isinstance(value, bool) <= (annotation is bool)
        ):
            return value
        raise MisfitError(f"{where} takes {_expected(annotation)}, got {value!r}")

    def _one_of(self, members: tuple[Any, ...], value: Any, where: str) -> Any:
        if value == NONE and types.NoneType in members:
            return self.nothing()
        rest = [item for item in members if item is not types.NoneType]
        if any(typing.get_origin(item) is PathLike or item is PathLike for item in rest) and isinstance(value, str):
            return self.path(value)
        for item in rest if len(rest) > 1 else ():
            try:
                return self.fitted(item, value, where)
            except MisfitError:
                continue
        if len(rest) == 1:
            return self.fitted(rest[0], value, where)
        raise MisfitError(f"{where} takes {' or '.join(map(_expected, rest))}, got {value!r}")

    def _several(self, origin: Any, inner: tuple[Any, ...], value: Any, where: str) -> Any:
        if isinstance(value, str) and origin is not tuple:
            value = [value]  # one is a list of one
        if not isinstance(value, (list, tuple)):
            raise MisfitError(f"{where} takes a list, got {value!r}")
        if origin is tuple and inner[-1] is not Ellipsis:
            if len(value) != len(inner):
                raise MisfitError(f"{where} takes a list of {len(inner)}, got {value!r}")
            members: Any = inner
        else:
            members = [inner[0]] * len(value)
        return self.sequence([self.fitted(item, one, where) for item, one in zip(members, value, strict=True)], origin)

    def nothing(self) -> Any:
        return NONE

    def sequence(self, items: list[Any], origin: Any) -> Any:
        return items


class _Plain(_Reading):
    is_before = True

    def __init__(self, families: Families, move: Callable[[str], str]) -> None:
        super().__init__(families)
        self._move = move

    def path(self, path: str) -> str:
        return self._move(path)

    def network(self, path: str) -> str:
        return self._move(path)

    def made(self, family: Family, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        return values if family.is_single else {KIND: kind, **values}


class _Building(_Reading):
    def network(self, path: str) -> Network:
        return load(path)

    def nothing(self) -> None:
        return None

    def sequence(self, items: list[Any], origin: Any) -> Any:
        return tuple(items) if origin is tuple else items

    def made(self, family: Family, kind: str, values: dict[str, Any]) -> Any:
        target = family.kinds[kind]
        parameters = family.parameters(target)
        further = next((key for key, item in parameters.items() if item.kind is item.VAR_POSITIONAL), None)
        rest = values.pop(further, []) if further is not None else []
        if any(name in parameters_of(target) for name in family.leading):
            return lambda *given: target(*given, *rest, **values)
        if rest:  # what stands before them has to be given by position as well
            before = [values.pop(key) for key in list(parameters)[: list(parameters).index(str(further))]]
            rest = [*before, *rest]
        try:
            return target(*rest, **values)
        except ToolkitError:
            raise
        except (TypeError, ValueError) as error:  # of values whose type the signature leaves open
            raise InputError(f"{kind} cannot be made of {values!r}: {error}.") from error


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a class or function, and those of the base class that a class hands the rest of its own to."""
    found: dict[str, inspect.Parameter] = {}
    for owner in target.__mro__ if inspect.isclass(target) else [target]:
        if inspect.isclass(owner) and owner is not target and "__init__" not in vars(owner):
            continue
        here = inspect.signature(owner, eval_str=True).parameters
        found |= {name: item for name, item in here.items() if item.kind is not item.VAR_KEYWORD and name not in found}
        if all(item.kind is not item.VAR_KEYWORD for item in here.values()):
            break
    return found


def _annotation(item: inspect.Parameter) -> Any:
    return list[item.annotation] if item.kind is item.VAR_POSITIONAL else item.annotation  # type: ignore[name-defined]


def _is_function(annotation: Any) -> bool:
    return typing.get_origin(annotation) is collections.abc.Callable


def _expected(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin in (collections.abc.Sequence, collections.abc.Iterable, list, tuple):
        return "a list"
    if origin in (collections.abc.Mapping, dict):
        return "a table"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(item) for item in typing.get_args(annotation) if item is not types.NoneType)
    return WORDS.get(annotation, "something that only Python can give")
