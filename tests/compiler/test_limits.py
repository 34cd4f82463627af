"""Programs that no memory holds are refused by the name of the layer, those that fit are not."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toolkit.compiler import limits
from toolkit.compiler.limits import available_memory, physical_memory, require_affordable, require_room
from toolkit.compiler.program import Program, Variable
from toolkit.errors import ShapeError

FLOAT = np.dtype(np.float32)
PART = 1000 * FLOAT.itemsize


def chain(length: int, op_type: str = "Relu") -> Program:
    """``x`` (1000,) through a number of layers; each result is read by the next one alone."""
    program = Program()
    value = program.inputs["x"] = Variable("x", FLOAT, (1000,))
    for number in range(length):
        node = program.append(op_type, [value], {}, version=14, outputs=[f"v{number}"], layer=f"layer{number}")
        value = node.y
    program.outputs["y"] = value
    return program


def test_results_take_the_place_of_what_ends():
    require_affordable(chain(20), PART)
    with pytest.raises(ShapeError, match=r"The program takes in 'x', float32 \(1000,\), of 4000 bytes"):
        require_affordable(chain(20), PART - 1)


def test_what_is_read_again_stays():
    program = chain(2)
    both = program.append(
        "Add", [program.inputs["x"], program.outputs["y"]], {}, version=14, outputs=["s"], layer="sum"
    )
    program.outputs["y"] = both.y
    require_affordable(program, 2 * PART)
    with pytest.raises(ShapeError, match=r"with all that is needed at the same time 8000 bytes, but there are 7999"):
        require_affordable(program, 2 * PART - 1)


def test_views_of_what_stays_take_nothing():
    program = chain(0)
    shape = Variable("shape", np.dtype(np.int64), (2,), constant=np.array([10, 100]))
    view = program.append("Reshape", [program.inputs["x"], shape], {}, version=14, outputs=["v"], layer="view")
    program.outputs["v"] = view.y
    require_affordable(program, PART)


def test_the_layer_that_explodes_is_named():
    program = chain(1)
    count = Variable("n", np.dtype(np.int64), (1,), constant=np.array([1 << 30]))
    tiled = program.append("Tile", [program.outputs["y"], count], {}, version=13, outputs=["t"], layer="here/tile")
    program.outputs["y"] = tiled.y
    with pytest.raises(
        ShapeError, match=r"Tile 'here/tile' makes 't', float32 \(1073741824000,\), of 4000.0 GiB.*smaller"
    ):
        require_affordable(program)


def test_results_that_nobody_reads_end_at_once():
    program = chain(0)
    for number in range(5):
        program.append("Relu", [program.inputs["x"]], {}, version=14, outputs=[f"u{number}"], layer=f"unused{number}")
    require_affordable(program, 2 * PART)


def test_room():
    require_room(1, "A small thing")
    with pytest.raises(ShapeError, match=r"The arena takes 1073741824.0 GiB, but there are .* GiB. Bind a smaller"):
        require_room(1 << 60, "The arena")


def test_the_memory_of_the_machine_is_known():
    assert 1 << 28 < physical_memory() < 1 << 46
    assert available_memory() <= physical_memory()


def test_the_memory_of_a_control_group_counts(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "limit").write_text(f"{1 << 20}\n")
    monkeypatch.setattr(limits, "CONTROL_GROUPS", (tmp_path / "memory.max", tmp_path / "limit", tmp_path / "absent"))
    assert physical_memory.__wrapped__() == 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is read from /proc")
def test_a_limit_of_address_space_counts():
    script = (
        "import resource, sys; from toolkit.compiler.limits import available_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY)); print(available_memory())"
    )
    root = Path(__file__).parents[2]
    output = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert int(output.stdout) < 8 << 30
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
