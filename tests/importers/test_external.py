"""External data: read where it lies, written back with its layout, and never from outside of the model's folder."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from exporters import diff, save, to_proto
from importers import load
from tests.importers.small import linear
from toolkit.errors import ModelError

WEIGHT = np.arange(16, dtype=np.float32).reshape(4, 4)


def external_model(folder, **entries: str) -> onnx.ModelProto:
    """The weight lies at byte 64 of weights.bin, between bytes that belong to nobody."""
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": "weights.bin", "offset": "64", "length": "64", **entries}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(b"a" * 64 + WEIGHT.tobytes() + b"z" * 10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return model


def test_external_data_is_mapped_and_comes_back(tmp_path):
    model = external_model(tmp_path / "a")
    network = load(tmp_path / "a" / "model.onnx")
    np.testing.assert_array_equal(network.parameters["w"].array, WEIGHT)
    assert not network.parameters["w"].array.flags.owndata
    (tmp_path / "b").mkdir()
    save(network, tmp_path / "b" / "model.onnx")
    assert onnx.load(tmp_path / "b" / "model.onnx", load_external_data=False) == model
    assert (tmp_path / "b" / "weights.bin").read_bytes() == (tmp_path / "a" / "weights.bin").read_bytes()
    assert sorted(os.listdir(tmp_path / "b")) == ["model.onnx", "weights.bin"]
    assert diff(tmp_path / "a" / "model.onnx", tmp_path / "b" / "model.onnx") == []


def test_data_at_odd_offsets_is_aligned(tmp_path):
    external_model(tmp_path, offset="67")
    (tmp_path / "weights.bin").write_bytes(bytes(67) + WEIGHT.tobytes())
    array = load(tmp_path / "model.onnx").parameters["w"].array
    assert array.flags.aligned
    np.testing.assert_array_equal(array, WEIGHT)


def test_saved_over_itself_after_training(tmp_path):
    model = external_model(tmp_path)
    network = load(tmp_path / "model.onnx")
    network.parameters["w"].assign(WEIGHT + 1)
    save(network, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx", load_external_data=False) == model
    content = (tmp_path / "weights.bin").read_bytes()
    assert content == b"a" * 64 + (WEIGHT + 1).tobytes() + b"z" * 10
    np.testing.assert_array_equal(load(tmp_path / "model.onnx").parameters["w"].array, WEIGHT + 1)


def test_a_sibling_model_keeps_its_weights(tmp_path):
    external_model(tmp_path)
    network = load(tmp_path / "model.onnx")
    save(network, tmp_path / "same.onnx")
    assert not (tmp_path / "same.onnx.data").exists()
    network.parameters["w"].assign(WEIGHT + 1)
    save(network, tmp_path / "tuned.onnx")
    np.testing.assert_array_equal(load(tmp_path / "model.onnx").parameters["w"].array, WEIGHT)
    np.testing.assert_array_equal(load(tmp_path / "tuned.onnx").parameters["w"].array, WEIGHT + 1)
    assert (tmp_path / "tuned.onnx.data").exists()
    assert [str(change) for change in diff(tmp_path / "model.onnx", tmp_path / "tuned.onnx")] == [
        "initializer 'w': storage",
        "initializer 'w': values",
    ]


def test_checksums_follow_the_data(tmp_path):
    external_model(tmp_path, checksum="stale")
    network = load(tmp_path / "model.onnx")
    save(network, tmp_path / "model.onnx")
    entries = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer[0].external_data
    assert entries[-1].value == "stale"
    network.parameters["w"].assign(WEIGHT + 1)
    save(network, tmp_path / "model.onnx")
    entries = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer[0].external_data
    assert entries[-1].value == hashlib.sha1((tmp_path / "weights.bin").read_bytes()).hexdigest()


def test_length_and_offset_may_be_left_out(tmp_path):
    model = external_model(tmp_path)
    entries = model.graph.initializer[0].external_data
    del entries[1:]
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(load(tmp_path / "model.onnx").parameters["w"].array, WEIGHT)


def test_a_proto_takes_external_data_in(tmp_path):
    external_model(tmp_path)
    proto = to_proto(load(tmp_path / "model.onnx"))
    assert proto.graph.initializer[0].raw_data == WEIGHT.tobytes()
    assert not proto.graph.initializer[0].external_data


def test_weights_move_out_on_request(tmp_path):
    path = tmp_path / "big.onnx"
    network = load(linear(400))
    save(network, path, external_data="big.weights")
    tensor = onnx.load(path, load_external_data=False).graph.initializer[0]
    assert tensor.data_location == TensorProto.EXTERNAL and not tensor.HasField("raw_data")
    np.testing.assert_array_equal(load(path).parameters["w"].array, network.parameters["w"].array)
    onnx.checker.check_model(str(path))


@pytest.mark.parametrize("name", ["../out", "", "a/b", "big.onnx", ".."])
def test_weights_move_only_beside_the_model(name, tmp_path):
    with pytest.raises(ModelError, match=r"external_data must be the name of a file next to the model"):
        save(load(linear(400)), tmp_path / "big.onnx", external_data=name)


def test_weights_do_not_move_into_a_file_in_use(tmp_path):
    external_model(tmp_path)
    with pytest.raises(ModelError, match=r"external_data='weights.bin' is a data file of this model already"):
        save(load(tmp_path / "model.onnx"), tmp_path / "model.onnx", external_data="weights.bin")


def test_bytes_need_a_folder(tmp_path):
    model = external_model(tmp_path)
    with pytest.raises(ModelError, match=r"given as bytes or proto has no folder. Pass folder="):
        load(model)
    np.testing.assert_array_equal(load(model, folder=tmp_path).parameters["w"].array, WEIGHT)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "", "sub/../../weights.bin", "a\0b", "C:\\weights", "..\\weights.bin"]
)
def test_locations_outside_of_the_folder(location, tmp_path):
    external_model(tmp_path / "in", location=location)
    (tmp_path / "weights.bin").write_bytes(bytes(200))
    with pytest.raises(
        ModelError, match=r"Initializer 'w' keeps its data in .* is not a relative path inside the folder"
    ):
        load(tmp_path / "in" / "model.onnx")


def test_symbolic_links(tmp_path):
    external_model(tmp_path)
    os.rename(tmp_path / "weights.bin", tmp_path / "real.bin")
    os.symlink(tmp_path / "real.bin", tmp_path / "weights.bin")
    with pytest.raises(ModelError, match=r"leads through a symbolic link"):
        load(tmp_path / "model.onnx")


def test_folders_that_are_symbolic_links(tmp_path):
    external_model(tmp_path, location="sub/weights.bin")
    (tmp_path / "elsewhere").mkdir()
    os.rename(tmp_path / "weights.bin", tmp_path / "elsewhere" / "weights.bin")
    os.symlink(tmp_path / "elsewhere", tmp_path / "sub")
    with pytest.raises(ModelError, match=r"leads through a symbolic link"):
        load(tmp_path / "model.onnx")


def test_hard_links(tmp_path):
    external_model(tmp_path)
    os.link(tmp_path / "weights.bin", tmp_path / "other.bin")
    with pytest.raises(ModelError, match=r"is not a plain file with a single name"):
        load(tmp_path / "model.onnx")


def test_named_pipes_do_not_block(tmp_path):
    external_model(tmp_path)
    os.unlink(tmp_path / "weights.bin")
    os.mkfifo(tmp_path / "weights.bin")
    with pytest.raises(ModelError, match=r"is not a plain file"):
        load(tmp_path / "model.onnx")


def test_missing_data_file(tmp_path):
    external_model(tmp_path)
    os.unlink(tmp_path / "weights.bin")
    with pytest.raises(
        ModelError, match=r"'weights.bin', which cannot be opened .*Put the data file next to the model"
    ):
        load(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "100"}, "lies at bytes 100 to 164 of 'weights.bin', which has only 138"),
        ({"length": "60"}, "requires 64 bytes of external data, but its range in 'weights.bin' has 60"),
        ({"offset": "-4"}, "external data with offset '-4'; a number of bytes is required"),
        ({"length": "9" * 30}, "external data with length '999.*; a number of bytes is required"),
        ({"offset": "1e3"}, "external data with offset '1e3'"),
    ],
)
def test_ranges_that_do_not_fit(entries, message, tmp_path):
    external_model(tmp_path, **entries)
    with pytest.raises(ModelError, match=message):
        load(tmp_path / "model.onnx")


def test_empty_data_file(tmp_path):
    external_model(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"which has only 0"):
        load(tmp_path / "model.onnx")


def test_strings_cannot_be_external(tmp_path):
    model = external_model(tmp_path)
    model.graph.initializer[0].data_type = TensorProto.STRING
    with pytest.raises(ModelError, match=r"holds strings, which cannot lie in an external file"):
        load(model, folder=tmp_path)


def test_parameter_that_outgrew_its_place(tmp_path):
    external_model(tmp_path)
    network = load(tmp_path / "model.onnx")
    old = network.parameters["w"]
    network.parameters["w"] = type(old)("w", np.zeros((4, 5), np.float32), origin=old.origin)
    with pytest.raises(ModelError, match=r"now has 80 bytes, but its place in 'weights.bin' has 64"):
        save(network, tmp_path / "other.onnx")
