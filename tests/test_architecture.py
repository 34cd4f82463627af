"""The law of the tree, read off the syntax of every module: who may import whom, where, how big, under which names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("toolkit", "importers", "exporters")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Each part of the toolkit with the parts it may import, beside itself. The order is the order of dependence.
MAY_IMPORT = {
    "errors": set(),
    "files": {"errors"},
    "report": {"errors"},
    "graph": {"errors"},
    "operators": {"errors", "graph"},
    "compiler": {"errors", "graph", "operators"},
    "autodiff": {"errors", "graph", "operators", "compiler"},
    "layers": {"errors", "graph", "operators"},
    "backends": {"errors", "files", "graph", "operators", "compiler", "autodiff", "layers"},
    "runtime": {"errors", "graph", "operators", "compiler", "autodiff", "layers", "backends"},
    "training": {
        "errors",
        "files",
        "report",
        "graph",
        "operators",
        "compiler",
        "autodiff",
        "layers",
        "backends",
        "runtime",
    },
}
EVERYTHING = set(MAY_IMPORT)
MAY_IMPORT["cli"] = EVERYTHING | {"", "importers", "exporters"}  # "" is the package toolkit itself: its public names
MAY_IMPORT["estimators"] = EVERYTHING | {"importers"}  # a client as the command line is: nothing depends on it
MAY_IMPORT[""] = EVERYTHING | {"estimators"}
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["importers"] = {"errors", "graph", "operators", "layers"}
MAY_IMPORT["exporters"] = MAY_IMPORT["importers"]
ONNX_BACKEND_INTERFACE = ROOT / "importers" / "onnx" / "backend"  # runs models on behalf of clients of onnx.backend

# Libraries that only some parts may import; the other third-party libraries of the project are free to all.
RESERVED = {
    "rich": {"training", "cli"},
    "torch": {"cli"},
    "onnxruntime": {"cli"},
    "openvino": {"cli"},
    "onnx2torch": {"cli"},
    "pycuda": {"backends"},
    "cupy": {"backends"},
    "llvmlite": {"backends"},
    "sklearn": {"estimators"},
    "skl2onnx": set(),
    "matplotlib": set(),
    "PIL": {"training"},
}
OPTIONAL_LIBRARIES = {"cupy", "cupyx", "llvmlite", "pycuda"}  # backends import these in functions, when asked for
ONE_ENGINE_A_PROCESS = "toolkit.cli.bench_engine"  # imports only what it measures, so that memory is the engine's own
NAMELESS = {"utils", "util", "common", "misc", "helpers", "helper", "tools"}
MOST_LINES = 400


@dataclass(frozen=True)
class Import:
    """One import statement: the dotted name that is imported, where, and whether a function contains it."""

    module: str
    line: int
    is_local: bool


@dataclass(frozen=True)
class Reading:
    """What the rules ask of a module: the tree itself, a million nodes for all of them, is not kept."""

    imports: tuple[Import, ...]
    prints: tuple[int, ...]  # lines
    docstring: str | None


def read(tree: ast.Module) -> Reading:
    """Walk a module once; its imports include those inside functions and under TYPE_CHECKING."""
    found: list[Import] = []
    prints: list[int] = []

    def visit(node: ast.AST, is_local: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, child.lineno, is_local) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                stem = "." * child.level + (child.module or "")
                named = child.module in PACKAGES  # `from toolkit import graph` depends on toolkit.graph
                names = [f"{stem}.{alias.name}" for alias in child.names] if named else [stem]
                found.extend(Import(name, child.lineno, is_local) for name in names)
            else:
                if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id == "print":
                    prints.append(child.lineno)
                visit(child, is_local or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(tree, False)
    return Reading(tuple(found), tuple(prints), ast.get_docstring(tree))


def part(dotted: str) -> str:
    """The part of the tree that a module belongs to: ``graph`` for ``toolkit.graph.layer``."""
    package, _, rest = dotted.partition(".")
    first = rest.split(".")[0]
    if package != "toolkit":
        return package
    return first if (ROOT / "toolkit" / first).is_dir() or (ROOT / "toolkit" / f"{first}.py").is_file() else ""


def dotted_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def reading(path: Path) -> Reading:
    return read(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def test_there_is_something_to_judge():
    assert len(MODULES) > 50
    assert {part(dotted_name(path)) for path in MODULES} <= set(MAY_IMPORT)


def dependencies_point_one_way(module: Path) -> Iterator[str]:
    own = part(dotted_name(module))
    allowed = MAY_IMPORT[own] | {own}
    origins = f"importers.{module.parent.name}."  # what the importer of a format left for the exporter of the same one
    if module.with_suffix("").is_relative_to(ONNX_BACKEND_INTERFACE):
        allowed = allowed | EVERYTHING | {""}
    for item in reading(module).imports:
        if item.module.startswith("."):
            yield f"line {item.line}: relative import {item.module}; write the full name"
        elif own == "exporters" and f"{item.module}.".startswith(origins):
            continue
        elif item.module.split(".")[0] in PACKAGES and part(item.module) not in allowed:
            yield f"line {item.line}: {own or 'toolkit'} may not see {item.module}"


def libraries_stay_where_they_belong(module: Path) -> Iterator[str]:
    own = part(dotted_name(module))
    for item in reading(module).imports:
        if own not in RESERVED.get(item.module.split(".")[0], {own}):
            yield f"line {item.line}: {own or 'toolkit'} must do without {item.module}"


def imports_stand_at_the_top(module: Path) -> Iterator[str]:
    optional = OPTIONAL_LIBRARIES if part(dotted_name(module)) == "backends" else set()
    for item in reading(module).imports:
        is_excused = item.module.split(".")[0] in optional or dotted_name(module) == ONE_ENGINE_A_PROCESS
        if item.is_local and not is_excused:
            yield f"line {item.line}: {item.module} is imported inside a function"


def names_say_something(module: Path) -> Iterator[str]:
    for name in NAMELESS & set(module.relative_to(ROOT).with_suffix("").parts):
        yield f"{name!r} says nothing about what the module owns"


def only_the_command_line_prints(module: Path) -> Iterator[str]:
    for line in reading(module).prints if part(dotted_name(module)) != "cli" else ():
        yield f"line {line} prints"


def modules_stay_readable(module: Path) -> Iterator[str]:
    count = module.read_text(encoding="utf-8").count("\n")
    if count > MOST_LINES:
        yield f"{count} lines; split it by meaning"


def modules_say_what_they_own(module: Path) -> Iterator[str]:
    if not reading(module).docstring:
        yield "does not open with a docstring"


RULES = (
    dependencies_point_one_way,
    libraries_stay_where_they_belong,
    imports_stand_at_the_top,
    names_say_something,
    only_the_command_line_prints,
    modules_stay_readable,
    modules_say_what_they_own,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Callable[[Path], Iterator[str]]):
    broken = [f"{module.relative_to(ROOT)}: {what}" for module in MODULES for what in rule(module)]
    assert not broken, "\n".join(broken)


def test_the_order_of_dependence_has_no_cycle():
    done: set[str] = set()
    for name, sees in MAY_IMPORT.items():
        if name in EVERYTHING:
            assert sees <= done, f"{name} may import {sees - done}, which come after it"
            done.add(name)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import toolkit.graph.layer", [Import("toolkit.graph.layer", 1, False)]),
        ("from toolkit import graph, errors", [Import("toolkit.graph", 1, False), Import("toolkit.errors", 1, False)]),
        ("from toolkit.graph import a, b", [Import("toolkit.graph", 1, False)]),
        ("def f():\n    import numpy", [Import("numpy", 2, True)]),
        ("if TYPE_CHECKING:\n    import numpy", [Import("numpy", 2, False)]),
        ("from . import x", [Import(".", 1, False)]),
    ],
)
def test_the_reader_of_imports_sees(source: str, found: list[Import]):
    assert list(read(ast.parse(source)).imports) == found


@pytest.mark.parametrize(
    ("text", "rule", "complaint"),
    [
        ('"""."""\nfrom toolkit.cli import main', dependencies_point_one_way, "may not see toolkit.cli"),
        ('"""."""\nfrom . import x', dependencies_point_one_way, "relative import"),
        ('"""."""\nimport torch', libraries_stay_where_they_belong, "must do without torch"),
        ('"""."""\ndef f():\n    import json', imports_stand_at_the_top, "json is imported inside a function"),
        ('"""."""\nprint(1)', only_the_command_line_prints, "line 2 prints"),
        ('"""."""' + "\n" * (MOST_LINES + 1), modules_stay_readable, "split it by meaning"),
        ("x = 1", modules_say_what_they_own, "docstring"),
    ],
)
def test_a_rule_notices(text: str, rule: Callable[[Path], Iterator[str]], complaint: str, monkeypatch, tmp_path: Path):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    module = tmp_path / "toolkit" / "graph" / "utils.py"
    module.parent.mkdir(parents=True)
    module.write_text(text, encoding="utf-8")
    (module.parents[1] / "cli").mkdir()
    assert any(complaint in what for what in rule(module))
    assert list(names_say_something(module))
