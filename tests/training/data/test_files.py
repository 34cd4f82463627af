"""Files of data: what they hold comes back, and what they lack is named with its row and column."""

import numpy as np
import pytest

from toolkit.errors import InputError
from toolkit.training.data import Batches, from_csv, from_file, from_npy, from_npz

X, Y = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0, 1, 1, 0])


def test_npz(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    ((x, labels),) = Batches(str(tmp_path / "d.npz"))
    assert np.array_equal(x, X) and np.array_equal(labels, Y)
    np.savez(tmp_path / "e.npz", a=X, b=-X, target=Y)
    assert list(from_npz(tmp_path / "e.npz").x) == ["a", "b"]
    ((x, _),) = Batches(from_file(tmp_path / "e.npz", x="b", y="target"))
    assert np.array_equal(x, -X)


def test_npy_files_stay_on_the_disk(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    source = from_npy(tmp_path / "x.npy", tmp_path / "y.npy")
    assert isinstance(source.x, np.ndarray) and isinstance(source.x.base, np.memmap)
    x, labels = source.batch(np.array([3, 0]), None)
    assert np.array_equal(x, X[[3, 0]]) and np.array_equal(labels, Y[[3, 0]])
    assert list(from_npy({"a": tmp_path / "x.npy"}, tmp_path / "y.npy").x) == ["a"]


def test_csv_with_words_as_labels(tmp_path):
    (tmp_path / "d.csv").write_text("a, b,label\n1,2,dog\n3,,cat\n\n5,6e1, dog\n")
    source = from_csv(tmp_path / "d.csv")
    assert source.classes == ["cat", "dog"] and source.labels.tolist() == [1, 0, 1]
    assert np.array_equal(source.x, np.array([[1, 2], [3, np.nan], [5, 60]], np.float32), equal_nan=True)
    assert source.x.dtype == np.float32


@pytest.mark.parametrize(("cells", "dtype"), [("1 0 2", np.int64), ("0.5 1 2", np.float32)])
def test_csv_with_numbers_as_labels(tmp_path, cells, dtype):
    rows = "".join(f"{number},x{number},{cell}\n" for number, cell in enumerate(cells.split()))
    (tmp_path / "d.csv").write_text("a,name,size\n" + rows)
    source = from_csv(tmp_path / "d.csv", x="a", y="size")
    assert source.labels.dtype == dtype and source.labels.tolist() == [float(cell) for cell in cells.split()]
    assert source.classes is None and source.x.tolist() == [[0], [1], [2]]


CSV = [
    ("a,y\n1,2\nq,3\n", r"row 3: column 'a' holds 'q' where a number"),
    ("a,y\n1\n", "row 2: 2 cells are expected, got 1"),
    ("a,b\n1,2\n", r"columns \['a', 'b'\] and lacks a column of labels"),
    ("y\n1\n", "lacks the columns for x"),
    ("a,y\n", "needs a header of distinct names and rows below it"),
    ("a,a,y\n1,2,3\n", "distinct names"),
    ("", "needs a header"),
    ("a,y\n1,x\n2,\n", "row 3: column 'y' lacks a label"),
]


@pytest.mark.parametrize(("text", "message"), CSV)
def test_csv_files_that_do_not_fit_are_named(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        from_csv(tmp_path / "d.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.txt", b"1", r"read from \.npz and \.csv files"),
        ("d.npz", b"nothing", "cannot be read .* damaged"),
        ("d.csv", b"\xff\xfe\x00", "cannot be read"),
        ("none.npz", None, "There is no file .*none.npz"),
        ("none.csv", None, "There is no file .*none.csv"),
    ],
)
def test_files_that_are_no_data_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        from_file(tmp_path / name)


def test_pickled_and_packed_arrays_are_refused(tmp_path):
    np.save(tmp_path / "p.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "z.npz", x=X)
    with pytest.raises(InputError, match="cannot be read"):
        from_npy(tmp_path / "p.npy", tmp_path / "p.npy")
    with pytest.raises(InputError, match="archive of several arrays"):
        from_npy(tmp_path / "z.npz", tmp_path / "z.npz")
