"""Hostile computations: what is known to kill or hang ONNX's native inference, and kernels' worst cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.hostile.seeds import parsed
from tests.hostile.sizes import computing, ints
from tests.hostile.structures import plain
from tests.hostile.table import hostile


def older(text: str, opset: int, **constants: np.ndarray) -> bytes:
    return parsed(f"old (float[N, 4] x) => (float[A] y) {{ {text} }}", opset, **constants).SerializeToString()


@hostile("Split-18 'Split_0': num_outputs must equal its 3 outputs")
def split_18_with_fewer_num_outputs_than_outputs(folder: Path) -> bytes:
    return computing("y, b, c = Split <axis = 1, num_outputs = 1> (x)")


@hostile("Split-18 'Split_0': num_outputs must")
def split_18_into_less_than_nothing(folder: Path) -> bytes:
    return computing("y, b, c = Split <axis = 1, num_outputs = -3> (x)")


@hostile("LayerNormalization-17 '.*': axis must lie in .-2, 1., got 7")
def layer_normalization_17_with_axis_7(folder: Path) -> bytes:
    return older("y = LayerNormalization <axis = 7> (x, s)", 17, s=np.ones(4, np.float32))


@hostile("LayerNormalization-17 '.*': axis must lie in .-2, 1., got -9223372036854775808")
def layer_normalization_17_with_the_lowest_axis(folder: Path) -> bytes:
    return older("y = LayerNormalization <axis = -9223372036854775808> (x, s)", 17, s=np.ones(4, np.float32))


@hostile("RMSNormalization-23 '.*': axis must lie in")
def rms_normalization_with_axis_7(folder: Path) -> bytes:
    return older("y = RMSNormalization <axis = 7> (x, s)", 23, s=np.ones(4, np.float32))


def sliced(opset: int) -> bytes:
    """A Slice of an input with negative sizes."""
    model = plain(helper.make_node("Slice", ["x", "from", "to"], ["y"]))
    model.opset_import[0].version = opset
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [-7, -(1 << 62)]))
    for name in ("from", "to"):
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [-(1 << 63) + 1]))
    return model.SerializeToString()


@hostile(None)
def slice_10_of_negative_sizes(folder: Path) -> bytes:
    return sliced(10)


@hostile(None)
def slice_11_of_negative_sizes(folder: Path) -> bytes:
    return sliced(11)


@hostile(None)
def slice_13_of_negative_sizes(folder: Path) -> bytes:
    return sliced(13)


@hostile("Slice-13 '.*': ")
def slice_by_a_step_of_zero(folder: Path) -> bytes:
    return computing("y = Slice (x, a, b, c, d)", a=ints(0), b=ints(2), c=ints(0), d=ints(0))


@hostile("GatherND-11")
def gather_nd_11_with_deep_indices(folder: Path) -> bytes:
    return older("y = GatherND (x, i)", 11, i=ints(*range(64)).reshape(1, 64))


@hostile("GatherND-12")
def gather_nd_12_with_negative_batch_dims(folder: Path) -> bytes:
    return older("y = GatherND <batch_dims = -9223372036854775808> (x, i)", 12, i=ints(0, 1))


@hostile("GatherND-13")
def gather_nd_13_with_more_batch_dims_than_axes(folder: Path) -> bytes:
    return older("y = GatherND <batch_dims = 1000000000000> (x, i)", 13, i=ints(0, 1))


@hostile("GatherND-13")
def gather_nd_13_with_scalar_indices(folder: Path) -> bytes:
    return older("y = GatherND (x, i)", 13, i=np.array(0))


@hostile("Einsum-12 '.*': an equation consists of letters")
def einsum_outside_its_alphabet(folder: Path) -> bytes:
    return computing('y = Einsum <equation = "i$j;k->i"> (x)')


@hostile("Einsum-12 '.*': ")
def einsum_of_more_letters_than_axes(folder: Path) -> bytes:
    return computing('y = Einsum <equation = "abcdefghij->a"> (x)')


@hostile("Einsum-12 '.*': ")
def einsum_with_points_without_end(folder: Path) -> bytes:
    return computing(f'y = Einsum <equation = "{"." * 10_000}i"> (x)')


@hostile("Reshape-21 '.*': ")
def reshape_to_another_count(folder: Path) -> bytes:
    return computing("y = Reshape (x, n)", n=ints(7, 7))


@hostile("Reshape-21 '.*': ")
def reshape_with_two_open_sizes(folder: Path) -> bytes:
    return computing("y = Reshape (x, n)", n=ints(-1, -1))


@hostile("Gather")
def gather_far_out_of_range(folder: Path) -> bytes:
    return computing("y = Gather (x, i)", i=ints(1 << 62))


@hostile("ScatterElements|scatter")
def scatter_far_out_of_range(folder: Path) -> bytes:
    return computing("y = ScatterElements (x, i, u)", i=ints(1 << 40).reshape(1, 1), u=np.ones((1, 1), np.float32))


@hostile("Transpose-21 '.*': ")
def transpose_by_no_permutation(folder: Path) -> bytes:
    return computing("y = Transpose <perm = [0, 0]> (x)")


@hostile("Concat-13 '.*': ")
def concat_far_beyond_its_axes(folder: Path) -> bytes:
    return computing("y = Concat <axis = 9223372036854775807> (x, x)")


@hostile("Conv-11 '.*': |Conv")
def convolution_of_no_groups(folder: Path) -> bytes:
    w = np.ones((1, 1, 1), np.float32)
    return computing("u = Reshape (x, n) y = Conv <group = 0> (u, w)", n=ints(0, 1, 4), w=w)


@hostile("Conv")
def convolution_by_strides_of_zero(folder: Path) -> bytes:
    w = np.ones((1, 1, 1), np.float32)
    return computing("u = Reshape (x, n) y = Conv <strides = [0]> (u, w)", n=ints(0, 1, 4), w=w)


@hostile("MaxPool")
def pooling_by_strides_of_zero(folder: Path) -> bytes:
    return computing("u = Reshape (x, n) y = MaxPool <kernel_shape = [1], strides = [0]> (u)", n=ints(0, 1, 4))


@hostile("MaxPool")
def pooling_by_a_window_of_minus_one(folder: Path) -> bytes:
    return computing("u = Reshape (x, n) y = MaxPool <kernel_shape = [-1]> (u)", n=ints(0, 1, 4))


@hostile("DepthToSpace")
def depth_to_space_by_zero(folder: Path) -> bytes:
    return computing("u = Reshape (x, n) y = DepthToSpace <blocksize = 0> (u)", n=ints(0, 1, 4, 1))


@hostile("Cast-21 '.*': ")
def cast_to_a_type_that_is_none(folder: Path) -> bytes:
    return computing("y = Cast <to = 77> (x)")


@hostile("Mod-13 '.*'|Mod")
def modulo_of_integers_by_zero_without_end(folder: Path) -> bytes:
    return computing("y = Mod (a, b)", a=ints(-(1 << 63)), b=np.array([1], np.float32))


@hostile(None)
def division_of_the_lowest_integer_by_minus_one(folder: Path) -> bytes:
    return computing("q = Div (a, b) c = Cast <to = 1> (q) y = Add (x, c)", a=ints(-(1 << 63)), b=ints(-1))


@hostile("RegexFullMatch|regular expression|regex")
def regular_expression_that_is_none(folder: Path) -> bytes:
    text = 'r (string[N] x) => (bool[N] y) { y = RegexFullMatch <pattern = "([" > (x) }'
    return parsed(text).SerializeToString()


@hostile(None)
def regular_expression_that_backtracks(folder: Path) -> bytes:
    text = 'r (float[N, 4] x) => (bool[N] y) { y = RegexFullMatch <pattern = "(a*)*(a*)*b"> (s) }'
    return parsed(text, s=np.array(["a" * 40], object)).SerializeToString()


@hostile("StringConcat 'StringConcat_[0-9]+' cannot be computed on .*: the results must hold at most [0-9]+ characters")
def strings_that_double(folder: Path) -> bytes:
    doubling = " ".join(f"s{step + 1} = StringConcat (s{step}, s{step})" for step in range(45))
    text = f"d (float[N, 4] x) => (string[1] s45) {{ {doubling} }}"
    return parsed(text, s0=np.array(["ab"], object)).SerializeToString()


@hostile("TreeEnsembleRegressor|tree")
def trees_that_loop(folder: Path) -> bytes:
    text = """t (float[N, 4] x) => (float[N, 1] y) {
        y = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 1, nodes_treeids = [0, 0], nodes_nodeids = [0, 1],
            nodes_featureids = [0, 0], nodes_modes = ["BRANCH_LEQ", "BRANCH_LEQ"], nodes_values = [0.5, 0.5],
            nodes_truenodeids = [1, 0], nodes_falsenodeids = [1, 0], target_treeids = [0], target_nodeids = [1],
            target_ids = [0], target_weights = [1.0]> (x)
    }"""
    return parsed(text).SerializeToString()


@hostile("TreeEnsembleRegressor|tree")
def trees_of_features_that_are_not_there(folder: Path) -> bytes:
    text = """t (float[N, 4] x) => (float[N, 1] y) {
        y = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 1, nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2],
            nodes_featureids = [1000000000000, 0, 0], nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_values = [0.5, 0.0, 0.0], nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0],
            target_treeids = [0, 0], target_nodeids = [1, 2], target_ids = [0, 99999], target_weights = [1.0, 1.0]> (x)
    }"""
    return parsed(text).SerializeToString()


@hostile("ImageDecoder|image|picture")
def picture_that_is_none(folder: Path) -> bytes:
    text = "i (float[N, 4] x) => (uint8[A, B, C] y) { y = ImageDecoder (d) }"
    return parsed(text, d=np.frombuffer(b"\xff\xd8\xff" + bytes(100), np.uint8)).SerializeToString()


@hostile("NonMaxSuppression|boxes")
def boxes_that_do_not_match_their_scores(folder: Path) -> bytes:
    return parsed(
        "n (float[N, 4] x) => (int64[A, 3] y) { y = NonMaxSuppression (b, s, k) }",
        b=np.ones((1, 5, 4), np.float32),
        s=np.ones((2, 1, 7), np.float32),
        k=ints(10**12),
    ).SerializeToString()
