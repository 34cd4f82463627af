"""Checkpoint files: faithful for every element type, atomic, and suspicious of what they read."""

import ml_dtypes
import numpy as np
import pytest

from toolkit.errors import TrainingError
from toolkit.training import Checkpoint, load_checkpoint, save_checkpoint


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.bool_])
def test_arrays_come_back_as_they_were(tmp_path, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    saved = Checkpoint({"a/b:0": array, "..": array[0]}, {"momentum/a": array.T}, {"steps": 3, "big": 2**100})
    save_checkpoint(tmp_path / "c", saved)
    found = load_checkpoint(tmp_path / "c")
    assert list(found.parameters) == ["a/b:0", ".."] and found.progress == {"steps": 3, "big": 2**100}
    for expected, got in ((array, found.parameters["a/b:0"]), (array.T, found.state["momentum/a"])):
        assert got.dtype == expected.dtype and np.array_equal(got, expected)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError("no space left on device")

    path = tmp_path / "c"
    save_checkpoint(path, Checkpoint({"a": np.ones(2)}))
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, Checkpoint({"a": np.zeros(2)}))
    assert load_checkpoint(path).parameters["a"].tolist() == [1, 1]
    assert [item.name for item in tmp_path.iterdir()] == ["c"]


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(TrainingError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "missing")
    path = tmp_path / "c"
    path.write_bytes(b"not a zip")
    with pytest.raises(TrainingError, match="is not a checkpoint of this toolkit"):
        load_checkpoint(path)
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with pytest.raises(TrainingError, match="is not a checkpoint of this toolkit"):
        load_checkpoint(tmp_path / "other.npz")
    save_checkpoint(path, Checkpoint({"a": np.ones(200)}))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(TrainingError, match="or is damaged"):
        load_checkpoint(path)


def test_another_format_is_named(tmp_path):
    header = np.frombuffer(b'{"format": "onnx-toolkit checkpoint 9"}', np.uint8)
    np.savez(tmp_path / "new.npz", header=header)
    with pytest.raises(TrainingError, match="is a 'onnx-toolkit checkpoint 9', this version reads"):
        load_checkpoint(tmp_path / "new.npz")
