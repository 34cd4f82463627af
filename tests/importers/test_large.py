"""Models over 2 GiB: mapped without being read, run in part, and saved with the layout that they had.

Their data file is full of holes, so that it takes no room. What a process needs is measured in one of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from exporters import save
from importers import load
from tests.importers.small import info, linear, model_of
from toolkit.errors import ModelError
from toolkit.graph import Parameter

GIBIBYTE = 1 << 30
ELEMENTS = GIBIBYTE // 4
ROOT = Path(__file__).parents[2]
LEAST_MEMORY = 200 << 20  # bytes; far below the size of one of the weights

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="files with holes, and the memory of a process, are measured as on Linux"
)

MEASURED = """
import json, resource, sys
import numpy as np
from exporters import save
from importers import load
import toolkit

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

start, target = sys.argv[1:]
before = peak()
network = load(start)
loaded = peak() - before
context = network.context(1, threads=1, outputs=["y"])
y = context.run({"x": np.ones((1, 4), np.float32), "i": np.array([7])})["y"]
run = peak() - before
network.parameters["small"].assign(np.full(4, 3, np.float32))
save(network, target)
print(json.dumps({"loaded": loaded, "run": run, "saved": peak() - before, "y": y.tolist()}))
"""


def large_model(folder: Path, count: int = 3) -> Path:
    """``count`` weights of a gibibyte each, all zeros but the seventh, and a small one behind them."""
    names = [f"w{number}" for number in range(count)]
    nodes = [helper.make_node("Gather", [name, "i"], [f"g{name}"]) for name in names]
    nodes.append(helper.make_node("Sum", [f"g{name}" for name in names], ["all"]))
    nodes.append(helper.make_node("Add", ["x", "small"], ["s"]))
    nodes.append(helper.make_node("Add", ["s", "gw0"], ["y"]))
    indices = helper.make_tensor_value_info("i", TensorProto.INT64, [1])
    model = model_of(nodes, inputs=[info("x"), indices], outputs=[info("y"), info("all", [1])])
    tensors = [(name, number * GIBIBYTE, ELEMENTS) for number, name in enumerate(names)]
    for name, offset, size in [*tensors, ("small", count * GIBIBYTE, 4)]:
        tensor = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=[size])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "weights.bin"), ("offset", str(offset)), ("length", str(4 * size))):
            tensor.external_data.add(key=key, value=value)
    folder.mkdir()
    with open(folder / "weights.bin", "wb") as file:
        for _, offset, _ in tensors:
            file.seek(offset + 7 * 4)
            file.write(np.array([5], np.float32).tobytes())
        file.truncate(count * GIBIBYTE + 16)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def blocks(path: Path) -> int:
    return os.stat(path).st_blocks * 512


def test_a_model_of_three_gibibytes(tmp_path):
    source = large_model(tmp_path / "a")
    target = tmp_path / "b" / "model.onnx"
    target.parent.mkdir()
    if blocks(source.with_name("weights.bin")) > GIBIBYTE:
        pytest.skip("the file system does not keep holes")
    output = subprocess.run(
        [sys.executable, "-c", MEASURED, source, target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(output.stdout)
    assert found["y"] == [[6.0] * 4]
    assert max(found["loaded"], found["run"], found["saved"]) < LEAST_MEMORY, found
    before, after = (onnx.load(path, load_external_data=False) for path in (source, target))
    assert before == after
    assert os.stat(target.with_name("weights.bin")).st_size == 3 * GIBIBYTE + 16
    assert blocks(target.with_name("weights.bin")) < GIBIBYTE
    network = load(target)
    np.testing.assert_array_equal(network.parameters["small"].array, np.full(4, 3, np.float32))
    for name in ("w0", "w1", "w2"):
        assert network.parameters[name].array[5:10].tolist() == [0, 0, 5, 0, 0]


def with_weights_inside() -> tuple:
    network = load(linear())
    zeros = np.zeros(ELEMENTS, np.float32)  # pages that nobody touches take no memory
    network.parameters.update({name: Parameter(name, zeros) for name in ("p", "q")})
    return network, zeros


def test_weights_inside_beyond_two_gibibytes_are_refused_with_the_remedy(tmp_path):
    network, _ = with_weights_inside()
    with pytest.raises(ModelError, match=r"at most 2147483647. Keep the weights beside it: save\(.*external_data="):
        save(network, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_weights_inside_beyond_two_gibibytes_move_out_when_asked(tmp_path):
    if shutil.disk_usage(tmp_path).free < 6 * GIBIBYTE:
        pytest.skip("two gibibytes of weights do not fit this disk comfortably")
    network, zeros = with_weights_inside()
    path = tmp_path / "model.onnx"
    try:
        save(network, path, external_data="weights.bin")
        assert os.stat(path).st_size < 10_000
        assert os.stat(tmp_path / "weights.bin").st_size == 2 * GIBIBYTE
        entries = ModelProto.FromString(path.read_bytes()).graph.initializer[-1].external_data
        assert {entry.key: entry.value for entry in entries} == {
            "location": "weights.bin",
            "offset": str(GIBIBYTE),
            "length": str(GIBIBYTE),
        }
        assert load(path).parameters["q"].shape == zeros.shape
    finally:
        (tmp_path / "weights.bin").unlink(missing_ok=True)


def test_files_that_no_protobuf_reader_takes(tmp_path):
    with open(tmp_path / "model.onnx", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match=r"has 1099511627776 bytes, but an ONNX file holds at most 2147483647"):
        load(tmp_path / "model.onnx")


def test_data_files_that_the_address_space_cannot_hold(tmp_path):
    path = large_model(tmp_path / "a")
    script = (
        "import resource, sys; from importers import load; from toolkit.errors import ModelError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "try: load(sys.argv[1])\n"
        "except ModelError as error: sys.stdout.write(str(error))"
    )
    output = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "whose 3221225488 bytes cannot be mapped into memory: Cannot allocate memory" in output.stdout
