"""Data files on the way out: copied by the system, holes and all, with changes written over; in every place."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from exporters import diff, save, to_proto
from exporters.onnx.files import CopiedFile, write_together
from importers import load
from importers.onnx.origin import DataHandle, ExternalFile
from tests.importers.small import info, model_of
from toolkit.errors import ModelError

CONTENT = np.arange(400, dtype=np.float32)


def outside(tensor: TensorProto, offset: int, location: str = "weights.bin") -> TensorProto:
    """The tensor with its data at an offset of the data file."""
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def at(offset: int, name: str = "", location: str = "weights.bin", count: int = 4) -> TensorProto:
    return outside(numpy_helper.from_array(CONTENT[offset // 4 :][:count], name), offset, location)


def everywhere() -> ModelProto:
    """External data in an initializer, a body, an attribute, a sparse tensor, and in a function."""
    inner = helper.make_graph([helper.make_node("Add", ["x", "b"], ["n"])], "inner", [], [info("n")], [at(16, "b")])
    function = helper.make_function(
        "own", "f", ["a"], ["c"], [helper.make_node("Constant", [], ["c"])], [helper.make_opsetid("", 17)]
    )
    function.node[0].attribute.append(helper.make_attribute("value", at(32)))
    sparse = helper.make_sparse_tensor(at(48), numpy_helper.from_array(np.arange(4)), [8])
    nodes = [
        helper.make_node("If", ["w"], ["i"], then_branch=inner, else_branch=inner),
        helper.make_node("Constant", [], ["k"]),
        helper.make_node("Constant", [], ["s"]),
        helper.make_node("f", ["x"], ["y"], domain="own"),
    ]
    nodes[1].attribute.append(helper.make_attribute("value", at(64)))
    nodes[2].attribute.append(helper.make_attribute("sparse_value", sparse))
    model = model_of(nodes, initializers=[at(0, "w")], functions=[function])
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def written(folder, model: ModelProto, location: str = "weights.bin"):
    folder.mkdir(exist_ok=True)
    (folder / location).parent.mkdir(exist_ok=True)
    (folder / location).write_bytes(CONTENT.tobytes())
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_external_data_of_every_tensor_keeps_its_place(tmp_path):
    model = everywhere()
    network = load(written(tmp_path / "a", model))
    (tmp_path / "b").mkdir()
    save(network, tmp_path / "b" / "model.onnx")
    assert onnx.load(tmp_path / "b" / "model.onnx", load_external_data=False) == model
    assert (tmp_path / "b" / "weights.bin").read_bytes() == CONTENT.tobytes()
    assert sorted(os.listdir(tmp_path / "b")) == ["model.onnx", "weights.bin"]


def test_a_proto_takes_in_the_data_of_every_tensor(tmp_path):
    assert "weights.bin" not in str(to_proto(load(written(tmp_path, everywhere()))))


def test_changes_are_written_over_their_places(tmp_path):
    network = load(written(tmp_path, everywhere()))
    network.graph.leaves[1].attributes["value"] = np.full(4, 7, np.float32)
    next(network.graph.leaves[0].bodies).parameters["b"].assign(np.full(4, 8, np.float32))
    save(network, tmp_path / "model.onnx")
    expected = CONTENT.copy()
    expected[16:20], expected[4:8] = 7, 8
    np.testing.assert_array_equal(np.fromfile(tmp_path / "weights.bin", np.float32), expected)


def test_what_did_not_change_is_not_written_again(tmp_path):
    network = load(written(tmp_path, everywhere()))
    before = os.stat(tmp_path / "weights.bin")
    network.metadata["a"] = "b"
    save(network, tmp_path / "model.onnx")
    save(network, tmp_path / "other.onnx")
    after = os.stat(tmp_path / "weights.bin")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "other.onnx", "weights.bin"]


def test_attributes_that_outgrew_their_place(tmp_path):
    network = load(written(tmp_path, everywhere()))
    network.graph.leaves[1].attributes["value"] = np.zeros(5, np.float32)
    with pytest.raises(ModelError, match=r"Attribute 'value' of Constant 'Constant_1' now has 20 bytes, but its place"):
        save(network, tmp_path / "model.onnx")


def test_folders_of_data_files_are_made(tmp_path):
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[at(0, "w", "sub/weights.bin")])
    network = load(written(tmp_path / "a", model, "sub/weights.bin"))
    (tmp_path / "b").mkdir()
    save(network, tmp_path / "b" / "model.onnx")
    assert diff(tmp_path / "a" / "model.onnx", tmp_path / "b" / "model.onnx") == []
    with pytest.raises(ModelError, match=r"cannot be written to .*absent/model.onnx': No such file"):
        save(network, tmp_path / "absent" / "model.onnx")
    assert not (tmp_path / "absent").exists()


def test_two_spellings_of_one_data_file(tmp_path):
    tensors = [at(0, "v", "weights.bin"), at(16, "w", "./weights.bin")]
    model = model_of([helper.make_node("Add", ["v", "w"], ["y"])], initializers=tensors)
    network = load(written(tmp_path, model))
    for name in ("v", "w"):
        network.parameters[name].assign(np.full(4, 9, np.float32))
    save(network, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx", load_external_data=False) == model
    assert (np.fromfile(tmp_path / "weights.bin", np.float32)[:8] == 9).all()


def test_weights_beyond_a_proto():
    zeros = np.zeros(1 << 28, np.float32)  # pages that nobody touches take no memory
    network = load(model_of([helper.make_node("Neg", ["x"], ["y"])]))
    from_one = type(next(iter(load(everywhere_inside()).parameters.values())))
    network.parameters.update({name: from_one(name, zeros) for name in "pqr"})
    with pytest.raises(ModelError, match=r"weights take 3221225472 bytes.*save\(network, path, external_data="):
        to_proto(network)


def everywhere_inside() -> ModelProto:
    return model_of([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[numpy_helper.from_array(CONTENT, "w")])


def sparse_file(path, size: int = 1 << 26) -> CopiedFile:
    """A file of holes with something in between."""
    with open(path, "wb") as file:
        file.seek(size // 2)
        file.write(CONTENT.tobytes())
        file.truncate(size)
    return CopiedFile(np.memmap(path, np.uint8, "r"), DataHandle(os.open(path, os.O_RDONLY)))


def same(one, other) -> bool:
    return np.array_equal(np.memmap(one, np.uint8, "r"), np.memmap(other, np.uint8, "r"))


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="the system does not tell where holes are")
def test_holes_stay_holes(tmp_path):
    copied = sparse_file(tmp_path / "a")
    write_together({os.fspath(tmp_path / "b"): [copied]})
    assert same(tmp_path / "a", tmp_path / "b")
    assert os.stat(tmp_path / "b").st_blocks * 512 <= os.stat(tmp_path / "a").st_blocks * 512 + 8192


def test_chunks_before_and_after_a_copied_file(tmp_path):
    copied = sparse_file(tmp_path / "a", 8192)
    changes = ((5, np.array([1, 2, 3], np.uint8)),)
    write_together({os.fspath(tmp_path / "b"): [b"head", CopiedFile(copied.content, copied.handle, changes), b"tail"]})
    expected = bytearray((tmp_path / "a").read_bytes())
    expected[5:8] = b"\1\2\3"
    assert (tmp_path / "b").read_bytes() == b"head" + bytes(expected) + b"tail"


def refusing(number: int):
    def refuse(*arguments):
        raise OSError(number, "refused")

    return refuse


@pytest.mark.parametrize("lacking", ["copy_file_range", "lseek", "handle"])
def test_systems_that_cannot_copy_by_themselves(tmp_path, monkeypatch, lacking):
    copied = sparse_file(tmp_path / "a")
    if lacking == "handle":
        copied = CopiedFile(copied.content, None)
    else:
        monkeypatch.setattr(os, lacking, refusing(errno.EINVAL))
    write_together({os.fspath(tmp_path / "b"): [copied]})
    assert same(tmp_path / "a", tmp_path / "b")


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="the system does not copy by itself")
def test_files_that_become_shorter(tmp_path, monkeypatch):
    copied = sparse_file(tmp_path / "a")
    monkeypatch.setattr(os, "copy_file_range", lambda *arguments: 0)
    with pytest.raises(ModelError, match=r"a data file became shorter while it was copied.*nothing was changed"):
        write_together({os.fspath(tmp_path / "b"): [copied]})
    assert os.listdir(tmp_path) == ["a"]


def test_copies_of_a_network_share_the_file(tmp_path):
    network = load(written(tmp_path, everywhere()))
    file = network.parameters["w"].origin.external.file
    assert copy.deepcopy(file) is file
    restored = pickle.loads(pickle.dumps(file))
    assert isinstance(restored, ExternalFile) and restored.handle is None
    np.testing.assert_array_equal(restored.content, file.content)


def test_the_file_is_closed_with_the_network(tmp_path):
    network = load(written(tmp_path, everywhere()))
    descriptor = network.parameters["w"].origin.external.file.handle.fileno()
    os.fstat(descriptor)
    del network
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
