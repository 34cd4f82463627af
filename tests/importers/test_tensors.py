"""Tensors of every element type in every storage the format has, judged by onnx's own reader."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from exporters import to_proto
from importers import load
from importers.onnx.elements import BY_CODE, pack, raw_content, typed_content, unpack
from tests.importers.small import assert_round_trip, info, model_of
from toolkit.errors import ModelError

ELEMENTS = list(BY_CODE.values())
NUMBERS = [element for element in ELEMENTS if element.storage != "string_data"]


def with_tensor(tensor: TensorProto) -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", ["t"], ["y"])]
    return model_of(nodes, inputs=[], outputs=[info("y", None, tensor.data_type)], initializers=[tensor])


def sample(element, count: int) -> np.ndarray:
    """Elements from all bit patterns of the type (0 and 1 for booleans)."""
    codes = np.random.default_rng(count).integers(0, 256, count * element.dtype.itemsize).astype(np.uint8)
    if element.packed:
        codes &= (1 << element.bits) - 1
    if element.dtype == np.bool_:
        codes &= 1
    if element.dtype.kind in "fc" and element.dtype.isbuiltin:
        return np.random.default_rng(count).normal(size=count).astype(element.dtype)
    return codes.view(element.dtype)


def tensor_of(element, array: np.ndarray, raw: bool, shape: tuple[int, ...]) -> TensorProto:
    tensor = TensorProto(name="t", data_type=element.code, dims=shape)
    if raw:
        tensor.raw_data = raw_content(array, element).tobytes()
    else:
        getattr(tensor, element.storage).extend(typed_content(array, element).tolist())
    return tensor


@pytest.mark.parametrize("count", [0, 1, 7, 700])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("element", NUMBERS, ids=lambda element: element.dtype.name)
def test_every_element_type(element, raw: bool, count: int, tmp_path):
    array = sample(element, count)
    tensor = tensor_of(element, array, raw, (count,))
    network = assert_round_trip(with_tensor(tensor), tmp_path)
    loaded = network.parameters["t"].array
    assert loaded.dtype == element.dtype
    np.testing.assert_array_equal(loaded.view(np.uint8), array.view(np.uint8))
    judged = numpy_helper.to_array(tensor)
    np.testing.assert_array_equal(loaded.view(np.uint8), judged.view(np.uint8))


def test_the_table_covers_every_element_type_of_onnx():
    assert set(BY_CODE) == set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}


@given(st.lists(st.integers(0, 63), max_size=40), st.sampled_from([2, 4, 6]))
def test_packing_is_undone_by_unpacking(codes: list[int], bits: int):
    array = np.array(codes, np.uint8) & ((1 << bits) - 1)
    packed = pack(array, bits)
    assert packed.size == -(-len(codes) * bits // 8)
    np.testing.assert_array_equal(unpack(packed, bits, len(codes)), array)


def test_strings_and_bytes_that_are_no_text(tmp_path):
    tensor = TensorProto(name="t", data_type=TensorProto.STRING, dims=[3])
    tensor.string_data.extend([b"abc", "ä".encode(), b"\xff\xfe"])
    network = assert_round_trip(with_tensor(tensor), tmp_path)
    assert network.parameters["t"].array.tolist() == ["abc", "ä", b"\xff\xfe"]
    assert not network.parameters["t"].requires_grad


@pytest.mark.parametrize(
    ("code", "numbers"),
    [(TensorProto.UINT8, [300, -1]), (TensorProto.BOOL, [5, 0]), (TensorProto.FLOAT16, [-1, 1 << 20])],
)
def test_numbers_beyond_the_element_type_survive_until_they_change(code, numbers, tmp_path):
    tensor = TensorProto(name="t", data_type=code, dims=[2], int32_data=numbers)
    network = assert_round_trip(with_tensor(tensor), tmp_path)
    parameter = network.parameters["t"]
    parameter.assign(np.zeros(2, parameter.dtype))
    assert list(to_proto(network).graph.initializer[0].int32_data) == [0, 0]


def test_padding_bits_survive_until_the_tensor_changes(tmp_path):
    tensor = TensorProto(name="t", data_type=TensorProto.UINT4, dims=[3], raw_data=b"\x21\xf3")
    network = assert_round_trip(with_tensor(tensor), tmp_path)
    parameter = network.parameters["t"]
    assert parameter.array.astype(int).tolist() == [1, 2, 3]
    parameter.assign(np.array([1, 2, 4]).astype(parameter.dtype))
    assert to_proto(network).graph.initializer[0].raw_data == b"\x21\x04"


def test_residues_of_a_tensor(tmp_path):
    tensor = numpy_helper.from_array(np.array([[1, 2]], np.float32), "t")
    tensor.doc_string = "about it"
    tensor.metadata_props.add(key="k", value="v")
    assert_round_trip(with_tensor(tensor), tmp_path)


def test_nan_payloads_survive_in_typed_storage(tmp_path):
    bits = np.array([0x7FA00001, 0xFFC12345] * 300, np.uint32)
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[600])
    content = bits.tobytes()
    tensor.MergeFromString(b"\x22" + bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content)
    model = with_tensor(tensor)
    network = load(model.SerializeToString())
    np.testing.assert_array_equal(network.parameters["t"].array.view(np.uint32), bits)
    assert content in to_proto(network).SerializeToString()


def sparse_model(indices: np.ndarray, dims=(3, 4), values=(1.0, 2.0)) -> onnx.ModelProto:
    stored = numpy_helper.from_array(np.array(values, np.float32), "t")
    sparse = helper.make_sparse_tensor(stored, numpy_helper.from_array(indices, "where"), list(dims))
    model = with_tensor(numpy_helper.from_array(np.array([0], np.float32), "other"))
    model.graph.sparse_initializer.append(sparse)
    return model


@pytest.mark.parametrize("indices", [np.array([1, 6]), np.array([[0, 1], [1, 2]])], ids=["linear", "coordinates"])
def test_sparse_initializers_are_dense_parameters(indices, tmp_path):
    network = assert_round_trip(sparse_model(indices), tmp_path)
    parameter = network.parameters["t"]
    expected = np.zeros((3, 4), np.float32)
    expected[0, 1], expected[1, 2] = 1, 2
    np.testing.assert_array_equal(parameter.array, expected)
    assert not parameter.requires_grad
    parameter.assign(expected * 3)
    written = to_proto(network).graph.sparse_initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(written.indices), indices)
    np.testing.assert_array_equal(numpy_helper.to_array(written.values), [3, 6])
    parameter.assign(np.ones((3, 4), np.float32))
    written = to_proto(network).graph.sparse_initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(written.indices), np.arange(12))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(name="t", data_type=99, dims=[1]), "element type 99, which is none of ONNX's"),
        (TensorProto(name="t", dims=[1]), "element type 0"),
        (TensorProto(name="t", data_type=1, dims=[-1], raw_data=b"1234"), r"dims \[-1\]; sizes must be 0 or more"),
        (TensorProto(name="t", data_type=1, dims=[1 << 40, 1 << 40]), "must be 0 or more.*fit in memory"),
        (TensorProto(name="t", data_type=1, dims=[0, 1 << 62]), "must be 0 or more.*fit in memory"),
        (TensorProto(name="t", data_type=1, dims=[1] * 70), "at most 64 of them"),
        (TensorProto(name="t", data_type=1, dims=[2], raw_data=b"1234567"), "requires 8 bytes of data, got 7"),
        (TensorProto(name="t", data_type=1, dims=[1 << 40], raw_data=b"1234"), "requires 4398046511104 bytes .* got 4"),
        (TensorProto(name="t", data_type=1, dims=[2]), "requires 2 elements of data, got 0"),
        (TensorProto(name="t", data_type=1, dims=[2], float_data=[1.0]), "requires 2 numbers of data, got 1"),
        (TensorProto(name="t", data_type=8, dims=[2], string_data=[b""]), "requires 2 strings of data, got 1"),
        (TensorProto(name="t", data_type=1, dims=[1], int64_data=[1]), "must keep its data in float_data or raw_data"),
        (TensorProto(name="t", data_type=8, dims=[1], raw_data=b"a"), "must keep its data in string_data, but"),
        (TensorProto(name="t", data_type=1, dims=[1], raw_data=b"1234", float_data=[1]), "hold its data once, but"),
    ],
)
def test_tensors_that_do_not_fit(tensor, message):
    with pytest.raises(ModelError, match=message):
        load(with_tensor(tensor))


def test_cut_data_must_be_whole_elements():
    tensor = TensorProto(name="t", data_type=TensorProto.DOUBLE, dims=[128])
    model = with_tensor(tensor)
    payload = b"\x52\x81\x08" + bytes(1025)  # double_data, 1025 bytes
    header = tensor.SerializeToString() + payload
    graph = b"\x2a" + bytes([len(header) & 0x7F | 0x80, len(header) >> 7]) + header
    del model.graph.initializer[:]
    rest = model.SerializeToString()
    body = b"\x3a" + bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7]) + graph
    with pytest.raises(ModelError, match="1025 bytes of data, which are no whole number of float64"):
        load(rest + body)


@pytest.mark.parametrize(
    ("indices", "dims", "message"),
    [
        (np.array([1, 99]), (3, 4), "indices outside of its dims"),
        (np.array([[0, 1], [1, -2]]), (3, 4), "indices outside of its dims"),
        (np.array([1]), (3, 4), r"requires values \(count,\) and int64 indices"),
        (np.array([1, 2], np.int32), (3, 4), "int64 indices"),
        (np.array([1, 2]), (1 << 20, 1 << 20), "is sparse with dims .* at most 2147483648 bytes"),
    ],
)
def test_sparse_tensors_that_do_not_fit(indices, dims, message):
    with pytest.raises(ModelError, match=message):
        load(sparse_model(indices, dims))
