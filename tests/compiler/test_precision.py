"""Precision: which nodes become narrow, where Casts stand, and what is computed where no kernel of half width is."""

import ml_dtypes
import numpy as np
import pytest

from tests.support.models import network
from toolkit.backends.registry import resolve
from toolkit.compiler.bind import bind
from toolkit.compiler.passes.precision import PRECISIONS, precision_named, use_precision
from toolkit.compiler.passes.widening import widen
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.errors import BackendError

BFLOAT16, FLOAT32 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32)
EPSILON = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "mixed": 2.0**-8}


def narrowed(net, precision="bfloat16", batch=2):
    program = optimise_for_inference(bind(net, batch))
    use_precision(program, PRECISIONS[precision])
    return program


def types(program):
    """{operator: element type of its first output} of the last node of each operator."""
    return {node.op_type: node.y.dtype.name for node in program.nodes if node.op_type != "Cast"}


def casts(program):
    return [(node.x.name, node.y.dtype.name) for node in program.nodes if node.op_type == "Cast"]


def block():
    return network(
        """g (float[N, 6] x) => (float[N, 6] y) {
            h = MatMul(x, w1)
            n = LayerNormalization(h, scale, shift)
            a = Add(n, h)
            r = MatMul(a, w2)
            t = Tanh(r)
            z = Mul(t, t)
            s = Softmax(z)
            y = MatMul(s, w2)
        }""",
        w1=(6, 6), w2=(6, 6), scale=(6,), shift=(6,),
    )  # fmt: skip


def test_products_are_narrow_and_what_follows_follows():
    found = types(narrowed(block()))
    assert found == {
        "FusedMatMul": "float32",  # the last one: only the output reads it
        "LayerNormalization": "bfloat16",
        "Add": "bfloat16",
        "Mul": "bfloat16",
        "Softmax": "bfloat16",
    }


def test_mixed_keeps_normalisations_in_float32_and_what_joins_them():
    found = types(narrowed(block(), "mixed"))
    assert {name: found[name] for name in ("LayerNormalization", "Add", "Softmax")} == {
        "LayerNormalization": "float32",
        "Add": "float32",
        "Softmax": "float32",
    }
    assert found["Mul"] == "bfloat16"


def test_each_tensor_is_cast_once_and_interfaces_keep_their_types():
    program = narrowed(block())
    made = casts(program)
    assert len(made) == len(set(made)) and ("w2", "bfloat16") in made  # though two products read it
    assert all(item.dtype == FLOAT32 for item in (*program.inputs.values(), *program.outputs.values()))
    parameters = {item for node in program.nodes for item in node.inputs if item is not None and item.parameter}
    assert all(item.dtype == FLOAT32 for item in parameters)


def test_a_parameter_is_cast_in_each_pass():
    program = optimise_for_inference(
        bind(network("g (float[N, 6] x) => (float[N, 6] y) { y = MatMul(x, w) }", w=(6, 6)), 2)
    )
    (product,) = program.nodes
    second = program.append("FusedMatMul", [product.y, *product.inputs[1:]], product.attributes, domain="toolkit")
    second.role, program.outputs["y"] = "backward", second.y
    use_precision(program, PRECISIONS["bfloat16"])
    roles = [node.role for node in program.nodes if node.op_type == "Cast" and node.x.parameter is not None]
    assert roles == ["forward", "backward"]


@pytest.mark.parametrize("precision", ["bfloat16", "mixed"])
def test_normalisation_between_convolutions_is_narrow_in_both_passes(precision):
    net = network(
        "g (float[N, 4, 6, 6] x) => (float[N, 4, 6, 6] y) { h = Conv(x, k)\n y = Conv(h, k) }", k=(4, 4, 1, 1)
    )
    program = optimise_for_inference(bind(net, 2))
    first, last = program.nodes
    vectors = [program.constant(np.full(4, 0.5, np.float32)).variable for _ in range(4)]
    made = program.append("BatchNormalizationTraining", [first.y, *vectors], {}, domain="toolkit", outputs=5)
    last.inputs[0] = made.y
    program.nodes.append(program.nodes.pop(program.nodes.index(last)))
    operands = [last.y, first.y, vectors[0], *made.outputs[3:5]]
    slope = program.append("BatchNormalizationGradient", operands, {}, domain="toolkit", outputs=3)
    slope.role = "backward"
    program.outputs.update(g=slope.y, scale=slope.outputs[1])
    use_precision(program, PRECISIONS[precision])
    assert [item.dtype for item in (made.x, made.y, slope.x, slope.inputs[1])] == [BFLOAT16] * 4
    assert [item.dtype for item in (*made.inputs[1:], *made.outputs[1:], *slope.outputs[1:])] == [FLOAT32] * 10
    assert slope.outputs[0].dtype == BFLOAT16


@pytest.mark.parametrize("precision", ["bfloat16", "mixed"])
def test_what_convolutions_add_is_narrow(precision):
    net = network(
        """g (float[N, 4, 6, 6] x) => (float[N, 4, 6, 6] y) {
            a = Conv(x, k)
            b = Conv(x, j)
            s = Add(a, b)
            y = Conv(s, k)
        }""",
        k=(4, 4, 1, 1),
        j=(4, 4, 1, 1),
    )
    program = narrowed(net, precision)
    assert [node.y.dtype for node in program.nodes if node.op_type == "FusedConv"] == [BFLOAT16, BFLOAT16, FLOAT32]


def masked(bound):
    return network(
        f"""g (float[N, 4] x, float[N, 4] mask) => (float[N, 4] y) {{
            one = Constant <value_float = 1.0> ()
            low = Constant <value_float = {bound}> ()
            q = MatMul(x, w)
            off = Sub(one, mask)
            m = Mul(off, low)
            a = Add(q, m)
            s = Softmax(a)
            y = MatMul(s, w)
        }}""",
        w=(4, 4),
    )


@pytest.mark.parametrize(
    "bound, precision, stays",
    [
        ("-10000.0", "float16", False),
        ("-1000000.0", "float16", True),
        ("-1000000.0", "bfloat16", False),
        ("-3.4028234e38", "bfloat16", True),
        ("0.00000001", "float16", True),
    ],
)
def test_what_holds_numbers_that_the_type_lacks_stays_float32(bound, precision, stays):
    found = types(narrowed(masked(bound), precision))
    assert (found["Softmax"] == "float32") == stays


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize("precision", list(EPSILON))
def test_a_masked_softmax_has_no_nan(backend, precision):
    net = masked("-3.4028234e38")
    feeds = {"x": np.ones((2, 4), np.float32), "mask": np.array([[1, 1, 0, 0], [0, 0, 0, 0]], np.float32)}
    y = net.context(2, threads=1, backend=backend, precision=precision).run(feeds)["y"]
    np.testing.assert_allclose(y, net.context(2, threads=1, backend=backend).run(feeds)["y"], rtol=0.02, atol=0.02)


# text of a graph that begins with a product, so that the operator in question is given narrow tensors
OPERATORS = [
    *(f"y = {name}(h)" for name in ("Relu", "Sigmoid", "Tanh", "Elu", "HardSwish", "Abs", "Neg", "LeakyRelu", "Gelu")),
    "y = Clip(h, low, high)", "y = Add(h, x)", "y = Mul(h, h)", "y = Sub(h, low)", "y = Div(h, high)",
    "y = Max(h, x)", "y = Transpose(h)", "y = Concat <axis = 1> (h, h)", "y = Softmax(h)", "y = LogSoftmax(h)",
    "y = LayerNormalization(h, scale, scale)", "y = RMSNormalization(h, scale)", "y = MatMul(h, w)",
    "y = Gemm <transB = 1> (h, w, scale)", "i = Transpose(h)\n y = MatMul(i, h)", "y = ReduceSum(h)", "y = Exp(h)",
]  # fmt: skip
IMAGES = [
    "y = Conv <pads = [1, 1, 1, 1]> (h, k)", "y = MaxPool <kernel_shape = [2, 2]> (h)", "y = GlobalAveragePool(h)",
    "y = AveragePool <kernel_shape = [3, 3], strides = [2, 2]> (h)", "y = GlobalMaxPool(h)", "y = Flatten(h)",
    "y = ConvTranspose(h, k)", "y = InstanceNormalization(h, s, s)", "y = BatchNormalization(h, s, s, s, p)",
    "c = Conv(h, k, s)\n d = Relu(c)\n e = Conv(h, k)\n y = Add(d, e)", "y = LRN <size = 3> (h)",
    "y = DepthToSpace <blocksize = 2> (h)",
]  # fmt: skip


@pytest.mark.parametrize(
    "backend, precision", [("cpu", "bfloat16"), ("cpu", "float16"), ("cpu", "mixed"), ("numpy", "float16")]
)
@pytest.mark.parametrize("text", OPERATORS + IMAGES)
def test_results_agree_with_float32_within_what_the_type_resolves(text, precision, backend):
    if text in OPERATORS:
        first, weights = "MatMul(x, w)", {"w": (8, 8), "scale": (8,)}
        shape: tuple[int, ...] = (2, 8)
        constants = "low = Constant <value_float = -0.7> ()\n high = Constant <value_float = 1.3> ()\n"
    else:
        first, shape, constants = "Conv <pads = [1, 1, 1, 1]> (x, k)", (2, 4, 6, 6), ""
        weights = {"k": (4, 4, 3, 3), "s": (4,), "p": (4,)}
    sizes = ", ".join(map(str, shape))
    header = '<ir_version: 11, opset_import: ["" : 23]>\n'
    net = network(f"g (float[{sizes}] x) => (y) {{\n {constants} h = {first}\n {text} }}", header=header, **weights)
    if "p" in net.parameters:
        net.parameters["p"].assign(np.full(4, 0.5, np.float32))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = net.context(threads=1, backend=backend).run(x)["y"]
    found = net.context(threads=1, backend=backend, precision=precision).run(x)["y"]
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(
        found, expected, rtol=8 * EPSILON[precision], atol=8 * EPSILON[precision] * abs(expected).max()
    )
    assert text.startswith("y = Flatten") or np.any(found != expected)


def test_widening_leaves_no_tensor_of_half_width_and_weights_are_rounded_once():
    net = block()
    context = net.context(2, precision="bfloat16")
    explained = context.explain()
    if all(backend.widens or not _computes_narrow(backend) for backend in resolve("cpu")):
        assert {kind for step in explained.steps for kind in step.types} == {"float32"}
        assert "round to bfloat16" in str(explained)
    assert not any(step.layer in net.parameters for step in explained.steps)


def _computes_narrow(backend):
    program = narrowed(network("g (float[N, 6] x) => (float[N, 6] y) { y = MatMul(x, w) }", w=(6, 6)))
    return any(backend.supports(node) for node in program.nodes if node.op_type == "FusedMatMul")


class Native:
    """A backend with kernels of half width for some operators."""

    widens = False

    def __init__(self, *operators):
        self.name, self.operators = "native", operators

    def supports(self, node):
        return node.op_type in self.operators


def test_where_a_backend_has_kernels_nodes_stay_narrow_and_others_are_widened_between_them():
    program = narrowed(block())
    widen(program, [Native("FusedMatMul", "Add", "Cast"), *resolve("numpy")])
    kinds = {
        (node.op_type, tuple(item.dtype.name for item in (*node.inputs[:1], *node.outputs[:1])))
        for node in program.nodes
    }
    assert ("FusedMatMul", ("bfloat16", "bfloat16")) in kinds and ("Add", ("bfloat16", "bfloat16")) in kinds
    assert ("LayerNormalization", ("float32", "float32")) in kinds and ("Softmax", ("float32", "float32")) in kinds


def test_precisions_are_checked():
    assert precision_named("float32") is None
    with pytest.raises(BackendError, match=r"precision must be one of 'float32', .*, got 'int8'"):
        precision_named("int8")
