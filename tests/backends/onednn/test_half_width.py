"""Half width on oneDNN: nodes go there where the processor has kernels, and nowhere else.

Few processors have them. The others are told that bfloat16 is float32: what oneDNN then offers stands for
kernels of half width, and what it was asked for tells whether they would get the right types.
"""

import ml_dtypes
import numpy as np
import pytest

from tests.support.models import network
from toolkit.backends.onednn import memory
from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.backends.onednn.memory import layout_of, retyped, tagged
from toolkit.backends.onednn.rounding import BLOCK, _Rounding
from toolkit.backends.protocol import Resources, plain
from toolkit.backends.registry import resolve
from toolkit.compiler.bind import bind
from toolkit.compiler.passes.precision import PRECISIONS, use_precision
from toolkit.compiler.passes.widening import widen
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.runtime.tensors import host_buffer

BFLOAT16, FLOAT32 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32)
NATIVE = (
    "FusedConv",
    "FusedMatMul",
    "Relu",
    "Sigmoid",
    "Add",
    "MaxPool",
    "AveragePool",
    "LayerNormalization",
    "Softmax",
)


def transformer():
    return network(
        """g (float[N, 4, 8] x) => (float[N, 4, 8] y) {
            h = MatMul(x, w)
            n = LayerNormalization(h, s, s)
            q = MatMul(n, w)
            i = Sigmoid(q)
            p = Softmax(i)
            a = Add(p, i)
            r = Relu(a)
            z = MatMul(r, w)
            b = Add(z, s)
            d = Add(b, h)
            e = MatMul(d, w)
            y = Exp(e)
        }""",
        w=(8, 8), s=(8,),
    )  # fmt: skip


def images():
    return network(
        """g (float[N, 8, 6, 6] x) => (float[N, 8, 3, 3] y) {
            h = Conv <pads = [1, 1, 1, 1]> (x, w, s)
            p = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h)
            m = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (p)
            c = Conv <pads = [1, 1, 1, 1]> (m, w, s)
            d = Add(c, p)
            r = Relu(d)
            y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        }""",
        w=(8, 8, 3, 3), s=(8,),
    )  # fmt: skip


def narrowed(net):
    program = optimise_for_inference(bind(net, 2))
    use_precision(program, PRECISIONS["bfloat16"])
    return program


class Asked(dict):
    """The codes of element types; notes which were asked for."""

    def __init__(self, codes):
        super().__init__(codes)
        self.types = []

    def __getitem__(self, dtype):
        self.types.append(dtype)
        return super().__getitem__(dtype)


@pytest.fixture
def asked(monkeypatch):
    caches = (memory._strided, memory._any_format, memory.tagged)
    codes = Asked({**memory.DATA_TYPES, BFLOAT16: memory.DATA_TYPES[FLOAT32]})
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(memory, "DATA_TYPES", codes)
    yield codes
    for cache in caches:
        cache.cache_clear()


def narrow_nodes(program):
    return [node for node in program.nodes if node.op_type in NATIVE and BFLOAT16 in {node.x.dtype, node.y.dtype}]


@pytest.mark.parametrize("make", [transformer, images])
def test_kernels_of_half_width_are_used_where_there_are_some(asked, make):
    program, backend = narrowed(make()), OneDNNBackend()
    before = {id(node) for node in narrow_nodes(program)}
    assert [node for node in narrow_nodes(program) if not backend.supports(node)] == []
    widen(program, [backend, *resolve("numpy")])
    assert {id(node) for node in narrow_nodes(program)} == before and len(before) >= 5
    assert not any(node.op_type == "RoundToType" for node in program.nodes)


def test_a_convolution_asks_for_narrow_factors_and_a_bias_as_it_is(asked):
    node = next(node for node in narrowed(images()).nodes if node.op_type == "FusedConv")
    memory._any_format.cache_clear()
    memory._strided.cache_clear()
    asked.types.clear()
    OneDNNBackend().lower(node, [plain(item.dtype, item.shape) for item in node.inputs], Resources(1))
    assert asked.types[:3] == [BFLOAT16, BFLOAT16, FLOAT32]  # input and output, weight, bias


@pytest.mark.parametrize("make", [transformer, images])
def test_elsewhere_nothing_of_half_width_is_left(monkeypatch, make):
    monkeypatch.setattr("toolkit.backends.onednn.backend.OneDNNBackend._offers", lambda *_: False)
    program = narrowed(make())
    widen(program, resolve("cpu"))
    assert {item.dtype for node in program.nodes for item in node.outputs} == {FLOAT32}
    assert any(node.op_type == "RoundToType" for node in program.nodes)


@pytest.mark.parametrize("implementation", ["ref:any", "simple:any", "jit:avx512_core_bf16"])
def test_plain_loops_are_no_kernels(monkeypatch, asked, implementation):
    node = narrow_nodes(narrowed(transformer()))[0]
    name = property(lambda self: implementation)
    monkeypatch.setattr("toolkit.backends.onednn.primitive.PrimitiveDescriptor.implementation", name)
    assert OneDNNBackend().supports(node) == implementation.startswith("jit")


@pytest.mark.parametrize("tag", memory.ACTIVATION_TAGS[4])
def test_another_type_lies_as_the_first_one(tag):
    shape = (2, 24, 3, 5)
    given, wanted = (layout_of(tagged(dtype, shape, tag)) for dtype in (FLOAT32, BFLOAT16))
    assert retyped(given, BFLOAT16) == wanted and retyped(wanted, FLOAT32) == given


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_rounding_is_the_conversion_of_numpy_for_every_exponent(dtype):
    bits = np.random.default_rng(0).integers(0, 2**32, 3 * BLOCK + 5, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], [np.inf, -np.inf, np.nan, 0.0, -0.0, 65519.996, 65520.0]]).astype(np.float32)
    layout = plain(FLOAT32, x.shape)
    given, result = host_buffer(layout, x), host_buffer(layout)
    _Rounding(layout, np.dtype(dtype)).bind([given], [result], None)()
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(result.array, x.astype(dtype).astype(np.float32))
