"""The law of the tree, read off the syntax of every module: who may import whom, where, how big, under which names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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
    "sklearn": {"estimators"},
    "skl2onnx": set(),
    "matplotlib": set(),
    "PIL": {"training"},
}
OPTIONAL_LIBRARIES = {"cupy", "cupyx", "pycuda"}  # a backend may import these when it is asked for, inside a function
ONE_ENGINE_A_PROCESS = "toolkit.cli.bench_engine"  # imports only what it measures, so that memory is the engine's own
NAMELESS = {"utils", "util", "common", "misc", "helpers", "helper", "tools"}
MOST_LINES = 400


@dataclass(frozen=True)
class Import:
    """One import statement: the dotted name that is imported, where, and whether a function contains it."""

    module: str
    line: int
    is_local: bool


def imports(tree: ast.Module) -> Iterator[Import]:
    """Every import of a module, those inside functions and under TYPE_CHECKING included."""

    def visit(node: ast.AST, is_local: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, is_local)
            elif isinstance(child, ast.ImportFrom):
                stem = "." * child.level + (child.module or "")
                named = child.module in PACKAGES  # `from toolkit import graph` depends on toolkit.graph
                for alias in child.names if named else child.names[:1]:
                    yield Import(f"{stem}.{alias.name}" if named else stem, child.lineno, is_local)
            else:
                inner = is_local or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, inner)

    yield from visit(tree, False)


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
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.fixture(params=MODULES, ids=[dotted_name(path) for path in MODULES])
def module(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


def test_there_is_something_to_judge():
    assert len(MODULES) > 50
    assert {part(dotted_name(path)) for path in MODULES} <= set(MAY_IMPORT)


def test_dependencies_point_one_way(module: Path):
    own = part(dotted_name(module))
    allowed = MAY_IMPORT[own] | {own}
    origins = f"importers.{module.parent.name}."  # what the importer of a format left for the exporter of the same one
    if module.with_suffix("").is_relative_to(ONNX_BACKEND_INTERFACE):
        allowed = allowed | EVERYTHING | {""}
    wrong = []
    for item in imports(parse(module)):
        if item.module.startswith("."):
            wrong.append(f"line {item.line}: relative import {item.module}; write the full name")
        elif own == "exporters" and f"{item.module}.".startswith(origins):
            continue
        elif item.module.split(".")[0] in PACKAGES and part(item.module) not in allowed:
            wrong.append(f"line {item.line}: {own or 'toolkit'} may not see {item.module}")
    assert not wrong, f"{module.relative_to(ROOT)}: {wrong}"


def test_the_order_of_dependence_has_no_cycle():
    done: set[str] = set()
    for name, sees in MAY_IMPORT.items():
        if name in EVERYTHING:
            assert sees <= done, f"{name} may import {sees - done}, which come after it"
            done.add(name)


def test_libraries_stay_where_they_belong(module: Path):
    own = part(dotted_name(module))
    wrong = [
        f"line {item.line}: {item.module}"
        for item in imports(parse(module))
        if own not in RESERVED.get(item.module.split(".")[0], {own})
    ]
    assert not wrong, f"{module.relative_to(ROOT)} imports what {own or 'toolkit'} must do without: {wrong}"


def test_imports_stand_at_the_top(module: Path):
    if dotted_name(module) == ONE_ENGINE_A_PROCESS:
        return
    optional = OPTIONAL_LIBRARIES if part(dotted_name(module)) == "backends" else set()
    wrong = [
        f"line {item.line}: {item.module}"
        for item in imports(parse(module))
        if item.is_local and item.module.split(".")[0] not in optional
    ]
    assert not wrong, f"{module.relative_to(ROOT)} imports inside a function: {wrong}"


def test_names_say_something(module: Path):
    nameless = NAMELESS & set(module.relative_to(ROOT).with_suffix("").parts)
    assert not nameless, f"{module.relative_to(ROOT)}: {nameless} says nothing about what the module owns"


def test_only_the_command_line_prints(module: Path):
    if part(dotted_name(module)) == "cli":
        return
    calls = [
        node.lineno
        for node in ast.walk(parse(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not calls, f"{module.relative_to(ROOT)} prints at lines {calls}"


def test_modules_stay_readable(module: Path):
    text = module.read_text(encoding="utf-8")
    count = text.count("\n")
    assert count <= MOST_LINES, f"{module.relative_to(ROOT)} has {count} lines; split it by meaning"


def test_modules_say_what_they_own(module: Path):
    assert ast.get_docstring(parse(module)), f"{module.relative_to(ROOT)} does not open with a docstring"


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
    assert list(imports(ast.parse(source))) == found
