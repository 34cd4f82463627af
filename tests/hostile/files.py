"""Hostile files around the model: links, pipes, devices and paths that lead out of its folder; what is no model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from onnx import TensorProto

from tests.hostile.seeds import EXTERNAL_CONTENT, EXTERNAL_FILE, SEEDS
from tests.hostile.table import hostile


def external(folder: Path, change: Callable[[TensorProto], object] = lambda tensor: None, *, data: bool = True) -> str:
    """The path of a model with external data, in a folder of its own; ``change`` edits its first tensor."""
    home = folder / "home"
    home.mkdir()
    model = SEEDS["external"]()
    change(model.graph.initializer[0])
    if data:
        (home / EXTERNAL_FILE).write_bytes(EXTERNAL_CONTENT)
    (home / "model.onnx").write_bytes(model.SerializeToString())
    return os.fspath(home / "model.onnx")


def entry(key: str, value: str) -> Callable[[TensorProto], None]:
    """An edit of one entry of ``external_data``."""

    def change(tensor: TensorProto) -> None:
        for item in tensor.external_data:
            if item.key == key:
                item.value = value

    return change


def located(folder: Path, location: str) -> str:
    (folder / "secret.bin").write_bytes(EXTERNAL_CONTENT)
    return external(folder, entry("location", location))


OUTSIDE = "is not a relative path inside the folder of the model"


@hostile(OUTSIDE)
def data_above_the_folder(folder: Path) -> str:
    return located(folder, "../secret.bin")


@hostile(OUTSIDE)
def data_above_the_folder_by_detour(folder: Path) -> str:
    return located(folder, "a/b/../../../secret.bin")


@hostile(OUTSIDE)
def data_above_the_folder_in_windows_spelling(folder: Path) -> str:
    return located(folder, "..\\secret.bin")


@hostile(OUTSIDE)
def data_at_an_absolute_path(folder: Path) -> str:
    return located(folder, os.fspath(folder / "secret.bin"))


@hostile(OUTSIDE)
def data_of_the_system(folder: Path) -> str:
    return located(folder, "/etc/passwd")


@hostile(OUTSIDE)
def data_of_the_process(folder: Path) -> str:
    return located(folder, "/proc/self/mem")


@hostile(OUTSIDE)
def data_on_another_drive(folder: Path) -> str:
    return located(folder, "C:/secret.bin")


@hostile(OUTSIDE)
def data_with_nul_in_its_name(folder: Path) -> str:
    return located(folder, "weights.bin\0.txt")


@hostile(OUTSIDE)
def data_without_a_name(folder: Path) -> str:
    return located(folder, "")


@hostile("is not a plain file with a single name|cannot be opened")
def data_that_is_the_folder_itself(folder: Path) -> str:
    return located(folder, ".")


@hostile("leads through a symbolic link")
def data_behind_a_symbolic_link(folder: Path) -> str:
    path = located(folder, "link.bin")
    os.symlink(folder / "secret.bin", Path(path).with_name("link.bin"))
    return path


@hostile("leads through a symbolic link")
def data_behind_a_symbolic_link_to_a_device(folder: Path) -> str:
    path = located(folder, "link.bin")
    os.symlink("/dev/zero", Path(path).with_name("link.bin"))
    return path


@hostile("leads through a symbolic link")
def data_in_a_folder_that_is_a_symbolic_link(folder: Path) -> str:
    path = located(folder, "sub/secret.bin")
    os.symlink(folder, Path(path).with_name("sub"))
    return path


@hostile("leads through a symbolic link|cannot be opened")
def data_behind_a_link_to_itself(folder: Path) -> str:
    path = located(folder, "loop.bin")
    os.symlink("loop.bin", Path(path).with_name("loop.bin"))
    return path


@hostile("is not a plain file with a single name")
def data_behind_a_hard_link(folder: Path) -> str:
    path = located(folder, "hard.bin")
    os.link(folder / "secret.bin", Path(path).with_name("hard.bin"))
    return path


@hostile("is not a plain file with a single name")
def data_in_a_pipe_that_nobody_writes(folder: Path) -> str:
    path = located(folder, "pipe")
    os.mkfifo(Path(path).with_name("pipe"))
    return path


@hostile("is not a plain file with a single name|cannot be opened")
def data_in_a_folder(folder: Path) -> str:
    path = located(folder, "sub")
    Path(path).with_name("sub").mkdir()
    return path


@hostile("cannot be opened in the folder .*Put the data file next to the model")
def data_that_is_not_there(folder: Path) -> str:
    return external(folder, data=False)


@hostile("lies at bytes 9000 to 9064 of 'weights.bin', which has only 256")
def data_beyond_the_end(folder: Path) -> str:
    return external(folder, entry("offset", "9000"))


@hostile("with offset '999.*; a number of bytes is required")
def data_beyond_any_end(folder: Path) -> str:
    return external(folder, entry("offset", "9" * 30))


@hostile("with offset '-64'; a number of bytes is required")
def data_before_the_beginning(folder: Path) -> str:
    return external(folder, entry("offset", "-64"))


@hostile("requires 64 bytes of external data, but its range in 'weights.bin' has 999999999999")
def data_of_another_length(folder: Path) -> str:
    return external(folder, entry("length", "999999999999"))


@hostile("requires 4000000000000 bytes of external data, but its range in 'weights.bin' has 64")
def data_for_a_million_million_elements(folder: Path) -> str:
    def change(tensor: TensorProto) -> None:
        del tensor.dims[:]
        tensor.dims.extend([10**6, 10**6])

    return external(folder, change)


@hostile("holds strings, which cannot lie in an external file")
def strings_outside(folder: Path) -> str:
    def change(tensor: TensorProto) -> None:
        tensor.data_type = TensorProto.STRING

    return external(folder, change)


@hostile(None)
def data_that_is_the_model_itself(folder: Path) -> str:
    path = located(folder, "model.onnx")
    content = Path(path).read_bytes()
    Path(path).write_bytes(content + b"\xa2\x06" + bytes([100]) + bytes(100))  # an unknown field makes it long enough
    return path


@hostile("must be an ONNX file, but is no regular file")
def pipe_for_a_model(folder: Path) -> str:
    os.mkfifo(folder / "model.onnx")
    return os.fspath(folder / "model.onnx")


@hostile("must be an ONNX file, but is no regular file")
def device_for_a_model(folder: Path) -> str:
    return "/dev/zero"


@hostile("cannot be opened: Is a directory|is no regular file")
def folder_for_a_model(folder: Path) -> str:
    return os.fspath(folder)


@hostile("cannot be opened: Too many levels of symbolic links")
def model_behind_a_link_to_itself(folder: Path) -> str:
    os.symlink("model.onnx", folder / "model.onnx")
    return os.fspath(folder / "model.onnx")


@hostile("cannot be opened: (embedded null byte|.*)")
def path_with_nul(folder: Path) -> str:
    return "model\0.onnx"


@hostile("is empty")
def empty_file(folder: Path) -> str:
    (folder / "model.onnx").touch()
    return os.fspath(folder / "model.onnx")


@hostile("is no ONNX model, or only a part of one")
def picture(folder: Path) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(1000)


@hostile("is no ONNX model, or only a part of one")
def pickle_that_would_run_a_command(folder: Path) -> bytes:
    return b"\x80\x04cposix\nsystem\n(S'touch /tmp/pwned'\ntR."


@hostile("cannot be mapped into memory")
def data_of_a_hundred_gibibytes(folder: Path) -> str:
    path = external(folder)
    with open(Path(path).with_name(EXTERNAL_FILE), "r+b") as file:
        file.truncate(100 << 30)
    return path


@hostile("has 1099511627776 bytes, but an ONNX file holds at most")
def model_of_a_tebibyte(folder: Path) -> str:
    with open(folder / "model.onnx", "wb") as file:
        file.truncate(1 << 40)
    return os.fspath(folder / "model.onnx")


@hostile("is no ONNX model, or only a part of one|holds no graph")
def a_gibibyte_of_zeros(folder: Path) -> str:
    with open(folder / "model.onnx", "wb") as file:
        file.truncate(1 << 30)
    return os.fspath(folder / "model.onnx")


@hostile("is no ONNX model, or only a part of one")
def length_that_lies(folder: Path) -> bytes:
    return b"\x08\x0a\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(50)


@hostile("is no ONNX model, or only a part of one")
def number_that_never_ends(folder: Path) -> bytes:
    return b"\x08" + b"\xff" * 100_000


@hostile("is no ONNX model, or only a part of one")
def groups_that_open_without_end(folder: Path) -> bytes:
    return b"\xa3\x06" * 100_000
