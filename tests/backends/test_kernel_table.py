"""Which kernels serve an operator: in an order that does not depend on imports, known to later processes."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from toolkit.backends import code_cache
from toolkit.backends.kernel_table import KernelTable
from toolkit.compiler.program import Program, Variable

PACKAGE = "made_for_kernel_tables"
MODULE = """
from {package}.table import TABLE

@TABLE.kernel("", {operators}, is_fallback={is_fallback})
def lower_{name}(node, inputs, resources):
    return "{name}"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of four modules of kernels, and nothing on disk."""
    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    table = (
        "from toolkit.backends.kernel_table import KernelTable\nTABLE = KernelTable(__package__, lambda node: True)\n"
    )
    (folder / "table.py").write_text(table)
    rows = {
        "addition": ("'Add'", False),
        "both": ("'Add', 'Mul'", False),
        "late": ("'Add'", True),
        "other": ("'Sub'", 0),
    }
    for name, (operators, is_fallback) in rows.items():
        text = MODULE.format(package=PACKAGE, operators=operators, name=name, is_fallback=bool(is_fallback))
        (folder / f"{name}.py").write_text(text)
    return folder


def table_of_a_new_process() -> KernelTable:
    """The table, after everything of the package was forgotten."""
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]
    found: KernelTable = import_module(f"{PACKAGE}.table").TABLE
    return found


def names(table: KernelTable, operator: str) -> list[str]:
    return [entry.lower.__name__.removeprefix("lower_") for entry in table.entries("", operator)]


def imported() -> set[str]:
    return {name.removeprefix(f"{PACKAGE}.") for name in sys.modules if name.startswith(f"{PACKAGE}.")} - {"table"}


@pytest.mark.parametrize("first", ["addition", "both", "late"])
def test_the_order_is_that_of_names_and_fallbacks_come_last(package: Path, first: str) -> None:
    table = table_of_a_new_process()
    import_module(f"{PACKAGE}.{first}")
    assert names(table, "Add") == ["both", "addition", "late"]


def test_a_module_serves_what_its_own_kernels_accept(package: Path) -> None:
    table, x = table_of_a_new_process(), Variable("x", np.dtype(np.float32), (2,))
    node = Program().append("Mul", [x, x], {}, version=14)
    homes = [PACKAGE, f"{PACKAGE}.both", f"{PACKAGE}.bot", f"{PACKAGE}.addition"]
    assert [table.serves(home, node) for home in homes] == [True, True, False, False]


def test_a_later_process_imports_what_it_is_asked_for(package: Path) -> None:
    assert names(table_of_a_new_process(), "Mul") == ["both"]
    assert imported() == {"addition", "both", "late", "other"}
    later = table_of_a_new_process()
    assert names(later, "Mul") == ["both"]
    assert imported() == {"both"}
    assert names(later, "Add") == ["both", "addition", "late"]
    assert names(later, "Nothing") == []
    assert imported() == {"addition", "both", "late"}


def test_a_file_that_is_edited_is_seen(package: Path) -> None:
    assert names(table_of_a_new_process(), "Div") == []
    text = MODULE.format(package=PACKAGE, operators="'Sub', 'Div'", name="other", is_fallback=False)
    (package / "other.py").write_text(text)
    assert names(table_of_a_new_process(), "Div") == ["other"]


def test_where_files_cannot_be_looked_at_all_is_imported(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: object) -> None:
        raise NotADirectoryError(folder)

    names(table_of_a_new_process(), "Mul")
    later = table_of_a_new_process()
    monkeypatch.setattr("toolkit.backends.kernel_table.os.scandir", refuse)
    assert names(later, "Mul") == ["both"]
    assert imported() == {"addition", "both", "late", "other"}
