"""The program: picks the command, and turns what can go wrong into one line and an exit status.

0: done. 1: it could not be done, one line on standard error says why. 2: the command line itself is wrong. Exceptions
that nobody foresaw keep their traceback: they are defects.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn, Protocol, cast

import numpy as np

from toolkit.cli.report import PROGRAM, Report, complain
from toolkit.cli.suggestions import hint
from toolkit.cli.usage import UsageError
from toolkit.errors import ToolkitError

COMMANDS = {  # each in the module of its name
    "inspect": "show layers, shapes, parameters, and what can be trained",
    "run": "run a model on arrays from files",
    "finetune": "train a model on labelled data and write it back",
    "evaluate": "loss and metrics of a model on labelled data",
    "bench": "compare speed and memory with other engines",
    "coverage": "list all operators: versions, backends, gradients",
}


class Command(Protocol):
    """The module of a command: its arguments, and what it does with them."""

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, options: argparse.Namespace, report: Report) -> int: ...


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line, with the way to the rest."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message}. See {self.prog} --help.")
        raise SystemExit(2)


def program() -> NoReturn:
    """Run the command line of this process and end it."""
    status = main()
    gc.freeze()  # memory goes back as a whole: to take all modules apart first takes as long as to import them
    raise SystemExit(status)


def command(name: str) -> Command:
    """The module of a command, imported when it is asked for: one that runs a model does without those that train."""
    return cast(Command, import_module(f"toolkit.cli.{name}"))


def parser(words: Sequence[str]) -> _Parser:
    """The parser of a command line: all commands by name, and the arguments of the one that it begins with."""
    top = _Parser(prog=PROGRAM, description="Run, fine-tune and measure ONNX models.", allow_abbrev=False)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, summary in COMMANDS.items():
        child = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name in words[:1]:
            command(name).configure(child)
            child.add_argument("--json", action="store_true", help="write one JSON object to standard output")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; ``SystemExit`` for usage errors and ``--help``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    top = parser(words)
    _suggest(top, words)
    options = top.parse_args(words)
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # losses that are not finite are errors of their own
        warnings.showwarning = _note
        try:
            status = command(options.command).execute(options, Report(options.json))
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of the pipe has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except UsageError as error:
            complain(f"{error} See {PROGRAM} {options.command} --help.")
            return 2
        except (ToolkitError, OSError) as error:
            complain(str(error))
            return 1
        except MemoryError as error:
            complain(f"The memory of this machine does not suffice ({error}). Try a smaller --batch-size.")
            return 1
        except KeyboardInterrupt:
            complain("Interrupted: nothing was written.")
            return 1
    return status


def _suggest(top: _Parser, words: list[str]) -> None:
    """Reject unknown commands and options with the names that come closest, before argparse misses what is required."""
    if not words or words[0].startswith("-"):
        return
    if words[0] not in COMMANDS:
        top.error(f"There is no command {words[0]!r}{hint(words[0], COMMANDS)}; the commands are {', '.join(COMMANDS)}")
    child = next(action.choices[words[0]] for action in top._actions if isinstance(action, argparse._SubParsersAction))
    known = list(child._option_string_actions)
    for word in words[1:]:
        option = word.split("=", 1)[0]
        if option.startswith("--") and len(option) > 2 and option not in known:
            child.error(f"There is no option {option}{hint(option, known)}")


def _note(message: Warning | str, *_: Any, **__: Any) -> None:
    complain(f"note: {message}")
