"""Compiled kernels on disk: read as they were written or not at all, of one user, in a folder that does not grow."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from toolkit.backends import code_cache
from toolkit.backends.code_cache import CodeCache, entry_name, make_room

CACHE = CodeCache("kind")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the entries lie, empty at first."""
    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "kind"


def test_an_entry_is_read_as_it_was_written(folder: Path) -> None:
    assert CACHE.read("one") is None
    CACHE.write("one", b"code")
    CACHE.write("two", b"")
    assert (CACHE.read("one"), CACHE.read("two"), CodeCache("other").read("one")) == (b"code", b"", None)
    assert sorted(path.name for path in folder.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 200, None], ids=["empty", "short", "other", "cut"])
def test_a_damaged_entry_counts_as_none(folder: Path, damage: bytes | None) -> None:
    CACHE.write("one", b"code")
    (folder / "one").write_bytes((folder / "one").read_bytes()[:-1] if damage is None else damage)
    assert CACHE.read("one") is None
    CACHE.write("one", b"again")
    assert CACHE.read("one") == b"again"


def test_an_entry_under_the_name_of_another_counts_as_none(folder: Path) -> None:
    CACHE.write("one", b"code")
    (folder / "one").rename(folder / "two")
    assert CACHE.read("two") is None


def test_names_tell_apart_what_is_joined_otherwise() -> None:
    assert len({entry_name("ab", "c"), entry_name("a", "bc"), entry_name("abc")}) == 3


def test_what_is_off_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    CACHE.write("one", b"code")
    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, "off")
    CACHE.write("two", b"code")
    assert (CACHE.folder(), CACHE.read("one")) == (None, None)


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, str(tmp_path / "file"))
    CACHE.write("one", b"code")
    assert CACHE.read("one") is None


@pytest.mark.skipif(os.name != "posix", reason="needs permissions of POSIX")
class TestOwnership:
    def test_others_can_neither_read_nor_write(self, folder: Path) -> None:
        CACHE.write("one", b"code")
        assert folder.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
    def test_where_others_may_write_nothing_is_trusted(self, folder: Path, mode: int) -> None:
        CACHE.write("one", b"code")
        folder.chmod(mode)
        CACHE.write("two", b"code")
        assert CACHE.read("one") is None
        assert not (folder / "two").exists()

    def test_what_is_another_users_is_not_trusted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        CACHE.write("one", b"code")
        monkeypatch.setattr(os, "getuid", lambda: -1)
        assert CACHE.read("one") is None


def test_the_folder_is_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(code_cache.FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert CACHE.folder() == tmp_path / "onnx-toolkit" / "kind"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert CACHE.folder() == tmp_path / "home" / ".cache" / "onnx-toolkit" / "kind"


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    for variable in (code_cache.FOLDER_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert CACHE.folder() is None


def test_the_oldest_make_room(folder: Path) -> None:
    for age, name in enumerate("dcba"):
        CACHE.write(name, b"code")
        os.utime(folder / name, (1000 - age, 1000 - age))
    make_room(folder, 4 * code_cache.BLOCK)
    assert len(list(folder.iterdir())) == 4
    make_room(folder, 3 * code_cache.BLOCK)
    assert {path.name for path in folder.iterdir()} == {"d", "c"}


def test_writing_looks_whether_there_is_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_cache, "MOST_NBYTES", 0)
    monkeypatch.setattr(code_cache, "WRITES_PER_LOOK", 1)
    CACHE.write("one", b"code")
    assert not list(folder.iterdir())


def test_many_may_write_and_read_at_once() -> None:
    found: list[bytes | None] = []

    def work() -> None:
        for _ in range(50):
            CACHE.write("one", b"code" * 999)
            found.append(CACHE.read("one"))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert set(found) == {b"code" * 999}
