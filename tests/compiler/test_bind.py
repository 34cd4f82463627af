"""Binding: sizes, constants known early, rebatching, and the errors for what cannot be bound."""

import numpy as np
import onnx
import pytest

from importers import load
from tests.support.models import mlp, network
from toolkit.compiler.bind import bind
from toolkit.errors import GraphError, InputError, ShapeError, UnsupportedOperatorError


def test_symbolic_batch_is_bound_everywhere() -> None:
    program = bind(mlp(), 3)
    assert program.inputs["x"].shape == (3, 8)
    assert program.outputs["y"].shape == (3, 4)


def test_shape_arithmetic_is_folded() -> None:
    net = network(
        """g (float[N, 2, 3] x) => (float[N, M] y) {
            s = Shape (x)
            zero = Constant <value_ints = [0]> ()
            n = Gather (s, zero)
            rest = Constant <value_ints = [-1]> ()
            target = Concat <axis = 0> (n, rest)
            y = Reshape (x, target)
        }"""
    )
    program = bind(net, 5)
    assert [node.op_type for node in program.nodes] == ["Reshape"]
    assert program.outputs["y"].shape == (5, 6)


def test_only_wanted_outputs_are_bound() -> None:
    net = network("g (float[N, 2] x) => (float[N, 2] a, float[N, 2] b) { a = Relu(x) b = Neg(x) }")
    assert [node.op_type for node in bind(net, 1, outputs=["b"]).nodes] == ["Neg"]
    with pytest.raises(GraphError, match=r"no output 'c'.*'a', 'b'"):
        bind(net, 1, outputs=["c"])


def test_open_sizes_are_named() -> None:
    net = network("g (float[N, seq] x) => (float[N, seq] y) { y = Relu(x) }")
    with pytest.raises(InputError, match="batch size: pass batch_size"):
        bind(net, None, {"seq": 3})
    with pytest.raises(InputError, match=r"size of axis 1 is open.*'seq'"):
        bind(net, 2)
    assert bind(net, 2, {"seq": 7}).outputs["y"].shape == (2, 7)


def test_all_unknown_operators_are_listed_at_once() -> None:
    net = network("g (float[N, 2] x) => (float[N, 2] y) { h = custom.Frobnicate(x) y = other.Twiddle(h) }")
    with pytest.raises(UnsupportedOperatorError, match=r"2 of the model's operators.*Frobnicate.*Twiddle"):
        bind(net, 1)


def test_shapes_that_do_not_fit_name_the_layer() -> None:
    net = network("g (float[N, 7] x) => (float[N, 4] y) { y = Gemm(x, w) }", w=(8, 4))
    with pytest.raises(ShapeError, match="Gemm"):
        bind(net, 2)


def test_functions_are_expanded_with_their_attributes() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
        g (float[N, 4] x) => (float[N, 4] y) { y = local.leak <slope: float = 0.25> (x) }
        <domain: "local", opset_import: ["" : 21]>
        leak <slope> (a) => (b) { b = LeakyRelu <alpha: float = @slope> (a) }"""
    )
    program = bind(load(model), 2)
    assert [(node.op_type, node.attributes["alpha"]) for node in program.nodes] == [("LeakyRelu", 0.25)]


def test_if_with_a_known_condition_is_replaced_by_its_branch() -> None:
    net = network(
        """g (float[N, 4] x) => (float[N, 4] y) {
            one = Constant <value = bool {1}> ()
            y = If (one) <
                then_branch = t () => (float[N, 4] a) { a = Relu(x) },
                else_branch = e () => (float[N, 4] b) { b = Neg(x) }
            >
        }"""
    )
    assert [node.op_type for node in bind(net, 2).nodes] == ["Relu"]


class TestRebatch:
    def frozen(self, target: str) -> "object":
        return network(f"""g (float[1, 2, 3] x) => (float[1, 6] y) {{
            shape = Constant <value_ints = [{target}]> ()
            y = Reshape (x, shape)
        }}""")

    @pytest.mark.parametrize("target", ["1, 6", "1, -1", "-1, 6", "0, -1"])
    def test_baked_in_batch_is_recomputed(self, target: str) -> None:
        program = bind(self.frozen(target), 4)
        assert program.outputs["y"].shape == (4, 6)

    def test_items_stay_apart(self) -> None:
        net = network(
            """g (float[1, 2, 3] x) => (float[1, 3, 2] y) {
                merged = Constant <value_ints = [2, 3]> ()
                m = Reshape (x, merged)
                r = Relu (m)
                apart = Constant <value_ints = [1, 2, 3]> ()
                a = Reshape (r, apart)
                y = Transpose <perm = [0, 2, 1]> (a)
            }"""
        )
        x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
        together = net.run({"x": x}, backend="numpy")["y"]
        alone = np.concatenate([net.run({"x": x[i : i + 1]}, backend="numpy")["y"] for i in range(4)])
        np.testing.assert_array_equal(together, alone)

    def test_ambiguous_batch_is_refused_with_the_layer(self) -> None:
        net = network(
            """g (float[1, 2, 3] x) => (float[3, 2] y) {
                t = Transpose <perm = [2, 0, 1]> (x)
                shape = Constant <value_ints = [6]> ()
                f = Reshape (t, shape)
                back = Constant <value_ints = [3, 2]> ()
                y = Reshape (f, back)
            }"""
        )
        with pytest.raises(ShapeError, match=r"baked into its shape.*batch_size=1"):
            bind(net, 4)
