"""Hostile sizes: tensors that a few bytes declare and no memory holds, in files and as results of operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.hostile.seeds import parsed
from tests.hostile.structures import plain
from tests.hostile.table import hostile

HUGE = 10**12
TOO_MUCH = "GiB|which no tensor can have|cannot be computed|needs|more elements"
DIMS = "sizes must be 0 or more, at most 64 of them, and fit in memory"


def with_tensor(**fields: Any) -> bytes:
    """A model with one more initializer."""
    model = plain(helper.make_node("Neg", ["x"], ["y"]))
    model.graph.initializer.append(TensorProto(name="t", **fields))
    return model.SerializeToString()


def computing(text: str, **constants: np.ndarray) -> bytes:
    """``x`` (N, 4) is used as the text says; ``y`` is of any shape."""
    return parsed(f"sizes (float[N, 4] x) => (float[A] y) {{ {text} }}", **constants).SerializeToString()


def ints(*content: int) -> np.ndarray:
    return np.array(content, np.int64)


@hostile("has dims .1000000000000. and requires 4000000000000 bytes of data, got 4")
def tensor_of_a_million_million_elements(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.FLOAT, dims=[HUGE], raw_data=bytes(4))


@hostile(DIMS)
def dims_whose_product_overflows_to_zero(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.FLOAT, dims=[1 << 32, 1 << 32], raw_data=b"")


@hostile(DIMS)
def dims_whose_product_overflows_to_four(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.FLOAT, dims=[(1 << 62) + 1, 4], raw_data=bytes(16))


@hostile(DIMS)
def negative_dims(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.FLOAT, dims=[-1], raw_data=bytes(4))


@hostile(DIMS)
def dims_that_are_negative_in_pairs(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.FLOAT, dims=[-2, -2], raw_data=bytes(16))


@hostile(DIMS)
def ten_thousand_dims(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.FLOAT, dims=[1] * 10_000, raw_data=bytes(4))


@hostile(None)
def empty_tensor_of_a_huge_shape(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.FLOAT, dims=[0, HUGE])


@hostile("has element type 99, which is none of ONNX's")
def element_type_99(folder: Path) -> bytes:
    return with_tensor(data_type=99, dims=[1], raw_data=bytes(4))


@hostile("has element type 99, which is none of ONNX's")
def input_of_element_type_99(folder: Path) -> bytes:
    model = plain(helper.make_node("Neg", ["x"], ["y"]))
    model.graph.input[0].type.tensor_type.elem_type = 99
    return model.SerializeToString()


@hostile("must hold its data once, but fills raw_data and float_data")
def data_in_two_fields(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.FLOAT, dims=[1], raw_data=bytes(4), float_data=[1])


@hostile("requires 1000000000000 strings of data, got 1")
def strings_that_are_not_there(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.STRING, dims=[HUGE], string_data=[b"a"])


@hostile("requires 250000000000 bytes of data, got 1|requires .* got 1")
def packed_numbers_that_are_not_there(folder: Path) -> bytes:
    return with_tensor(data_type=TensorProto.UINT2, dims=[HUGE], raw_data=b"a")


def with_sparse(dims: list[int], indices: np.ndarray) -> bytes:
    model = plain(helper.make_node("Neg", ["x"], ["y"]))
    sparse = model.graph.sparse_initializer.add(dims=dims)
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(indices))
    return model.SerializeToString()


@hostile("is sparse with dims .1000000000000.; dense it must be numbers of at most")
def sparse_tensor_that_dense_is_huge(folder: Path) -> bytes:
    return with_sparse([HUGE], ints(5))


@hostile("has indices outside of its dims")
def sparse_indices_beyond_the_end(folder: Path) -> bytes:
    return with_sparse([4], ints(4))


@hostile("has indices outside of its dims")
def sparse_indices_before_the_beginning(folder: Path) -> bytes:
    return with_sparse([4, 4], ints(-1, 2).reshape(1, 2))


@hostile("requires values .count,. and int64 indices")
def sparse_indices_that_do_not_match(folder: Path) -> bytes:
    return with_sparse([4, 4], ints(1, 2, 3))


@hostile("'sparse_value' has the shape .*, which dense is above")
def sparse_constant_that_dense_is_huge(folder: Path) -> bytes:
    model = plain(helper.make_node("Constant", [], ["y"]))
    value = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32)), numpy_helper.from_array(ints(5)), [HUGE]
    )
    model.graph.node[0].attribute.append(helper.make_attribute("sparse_value", value))
    return model.SerializeToString()


def sized(*dims: int) -> bytes:
    """An input that is declared with these sizes."""
    model = plain(helper.make_node("Neg", ["x"], ["y"]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, dims))
    return model.SerializeToString()


@hostile(TOO_MUCH)
def input_of_a_million_million_elements(folder: Path) -> bytes:
    return sized(1, HUGE)


@hostile(TOO_MUCH)
def input_whose_size_overflows(folder: Path) -> bytes:
    return sized(1, 1 << 40, 1 << 40)


@hostile(None)
def negative_sizes_of_an_input(folder: Path) -> bytes:
    return sized(-1, -5)


EXPLOSIONS: dict[str, tuple[str, dict[str, np.ndarray]]] = {
    "constant_of_shape": ("y = ConstantOfShape (n)", {"n": ints(HUGE)}),
    "constant_of_shape_that_overflows": ("y = ConstantOfShape (n)", {"n": ints(1 << 32, 1 << 32)}),
    "range_without_end": ("y = Range (a, b, c)", {"a": np.array(0), "b": np.array(HUGE), "c": np.array(1)}),
    "range_of_tiny_steps": (
        "y = Range (a, b, c)",
        {"a": np.array(0.0), "b": np.array(1e30), "c": np.array(1e-30)},
    ),
    "tile": ("y = Tile (x, n)", {"n": ints(HUGE, 1)}),
    "tile_of_a_constant": ("y = Tile (k, n)", {"n": ints(HUGE), "k": np.ones(3, np.float32)}),
    "expand": ("y = Expand (x, n)", {"n": ints(HUGE, 1, 1)}),
    "expand_of_a_constant": ("y = Expand (k, n)", {"n": ints(HUGE, 3), "k": np.ones(3, np.float32)}),
    "pad": ("y = Pad (x, n)", {"n": ints(0, HUGE, 0, 0)}),
    "pad_of_a_constant": ("y = Pad (k, n)", {"n": ints(HUGE, 0), "k": np.ones(3, np.float32)}),
    "one_hot": (
        "y = OneHot (i, d, v)",
        {"i": ints(1), "d": np.array(HUGE), "v": np.array([0, 1], np.float32)},
    ),
    "random_normal": (f"y = RandomNormal <shape = [{HUGE}]> ()", {}),
    "random_uniform": (f"y = RandomUniform <shape = [{HUGE}, 4]> ()", {}),
    "eye_like_of_a_huge_tensor": (
        "z = ConstantOfShape (n) y = EyeLike (z)",
        {"n": ints(10**6, 10**6)},
    ),
    "gather_of_much": (
        "i = ConstantOfShape <value = int64[1] {0}> (n) y = Gather (x, i)",
        {"n": ints(10**6, 10**6)},
    ),
    "outer_product": (
        "a = ConstantOfShape (n) b = ConstantOfShape (m) y = Mul (a, b)",
        {"n": ints(10**6, 1), "m": ints(1, 10**6)},
    ),
    "resize": (
        "u = Unsqueeze (x, zero) y = Resize (u, , s)",
        {"zero": ints(0), "s": np.array([1, 1, 1e12], np.float32)},
    ),
    "resize_by_sizes": ("y = Resize (x, , , s)", {"s": ints(2, HUGE)}),
    "resize_by_infinity": ("y = Resize (x, , s)", {"s": np.array([1, np.inf], np.float32)}),
    "bernoulli_of_a_huge_tensor": ("z = ConstantOfShape (n) y = Bernoulli (z)", {"n": ints(HUGE)}),
    "window": ("y = HannWindow (n)", {"n": np.array(HUGE)}),
    "mel_weights": (
        "y = MelWeightMatrix (n, n, r, l, h)",
        {"n": np.array(10**6), "r": np.array(8000), "l": np.array(0.0, np.float32), "h": np.array(4e3, np.float32)},
    ),
    "depth_to_space": ("r = Reshape (x, n) y = DepthToSpace <blocksize = 1000000> (r)", {"n": ints(1, -1, 1, 1)}),
    "concat_doubling": (
        "\n".join(f"v{at + 1} = Concat <axis = 0> (v{at}, v{at})" for at in range(44)).replace("(v0, v0)", "(x, x)")
        + " y = Identity (v44)",
        {},
    ),
    "convolution_padded": (
        f"u = Reshape (x, n) y = Conv <pads = [{HUGE}, {HUGE}]> (u, w)",
        {"n": ints(0, 1, 4), "w": np.ones((1, 1, 1), np.float32)},
    ),
    "transposed_convolution_strided": (
        f"u = Reshape (x, n) y = ConvTranspose <strides = [{HUGE}]> (u, w)",
        {"n": ints(0, 1, 4), "w": np.ones((1, 1, 1), np.float32)},
    ),
    "pooling_padded": (
        f"u = Reshape (x, n) y = AveragePool <kernel_shape = [{HUGE}], pads = [{HUGE}, {HUGE}]> (u)",
        {"n": ints(0, 1, 4)},
    ),
    "top_k": ("y, i = TopK (x, k)", {"k": ints(HUGE)}),
    "split_into_much": ("y, z = Split <axis = 1> (x, n)", {"n": ints(HUGE, 4 - HUGE)}),
    "upsampled_cubically": (
        'u = Reshape (x, n) y = Resize <mode = "cubic"> (u, , s)',
        {"n": ints(1, 1, -1, 4), "s": np.array([1, 1, 1e6, 1e6], np.float32)},
    ),
    "dropout_of_a_huge_tensor": ("z = ConstantOfShape (n) y = Dropout (z)", {"n": ints(HUGE)}),
    "recurrent_state": (
        f"u = Reshape (x, n) y, h = RNN <hidden_size = {HUGE}> (u, w, r)",
        {"n": ints(1, -1, 4), "w": np.ones((1, 1, 4), np.float32), "r": np.ones((1, 1, 1), np.float32)},
    ),
    "fourier_transform": (
        "u = Reshape (x, n) y = DFT (u, l)",
        {"n": ints(-1, 4, 1), "l": np.array(HUGE)},
    ),
}


def _explosion(name: str, text: str, constants: dict[str, np.ndarray]) -> Callable[[Path], bytes]:
    def build(folder: Path) -> bytes:
        return computing(text, **constants)

    build.__name__ = f"explosion_by_{name}"
    return build


for _name, (_text, _constants) in EXPLOSIONS.items():
    hostile("[A-Z][A-Za-z]+(-[0-9]+)? '?")(_explosion(_name, _text, _constants))


@hostile("trip|Loop")
def loop_that_stacks_without_end(folder: Path) -> bytes:
    model: ModelProto = parsed(
        """stacking (float[N, 4] x) => (float[K, A, B] y) {
            last, y = Loop (trips, , x) <
                body = step (int64 i, bool go, float[N, 4] s) => (bool on, float[A, 4] next, float[A, 4] each) {
                    on = Identity (go)
                    next = Tile (s, many)
                    each = Identity (s)
                }
            >
        }""",
        trips=np.array(HUGE),
        many=ints(30000, 1),
    )
    return model.SerializeToString()
