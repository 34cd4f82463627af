"""Authored layers: declared shapes are what onnx infers and onnxruntime computes; names, seeds and errors."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest

from exporters import save
from toolkit import layers
from toolkit.errors import GraphError, ShapeError
from toolkit.graph import Graph, Network, Value
from toolkit.graph.surgery import set_batch_statistics
from toolkit.layers import initialisers

IMAGE = (3, 9, 8)
CASES = {
    "linear": (layers.Linear(5), (7,)),
    "linear on the last axis": (layers.Linear(5), (4, 7)),
    "linear without bias": (layers.Linear(5, bias=False), (7,)),
    "linear without bias on the last axis": (layers.Linear(5, bias=False), (4, 7)),
    "convolution": (layers.Convolution(4, 3), IMAGE),
    "convolution in one dimension": (layers.Convolution(4, 3), (3, 9)),
    "convolution in three dimensions": (layers.Convolution(4, (1, 2, 3)), (3, 4, 5, 6)),
    "strided, dilated, grouped": (layers.Convolution(6, (3, 2), (2, 1), (1, 2), (1, 2), groups=3), IMAGE),
    "uneven pads": (layers.Convolution(4, 3, pads=(0, 1, 2, 3), bias=False), IMAGE),
    "same": (layers.Convolution(4, (4, 3), pads="same"), IMAGE),
    "same with strides": (layers.Convolution(4, 3, strides=2, pads="same"), IMAGE),
    "max pool": (layers.MaxPool(2), IMAGE),
    "max pool rounded up": (layers.MaxPool(3, strides=2, pads=1, ceil_mode=True), IMAGE),
    "average pool": (layers.AveragePool((2, 3), strides=1, pads=1), IMAGE),
    "average pool with padding": (layers.AveragePool(3, strides=2, pads=1, count_include_pad=True), IMAGE),
    "average pool rounded up": (layers.AveragePool(2, ceil_mode=True), IMAGE),
    "global average pool": (layers.GlobalAveragePool(), IMAGE),
    "flatten": (layers.Flatten(), IMAGE),
    "reshape": (layers.Reshape((9, -1)), IMAGE),
    "relu": (layers.ReLU(), IMAGE),
    "sigmoid": (layers.Sigmoid(), (7,)),
    "tanh": (layers.Tanh(), (7,)),
    "softmax": (layers.Softmax(), (7,)),
    "softmax over channels": (layers.Softmax(axis=1), IMAGE),
    "log softmax": (layers.LogSoftmax(), (7,)),
    "dropout": (layers.Dropout(0.3), (7,)),
    "batch normalization": (layers.BatchNormalization(), IMAGE),
    "layer normalization": (layers.LayerNormalization(), (4, 7)),
    "layer normalization over all": (layers.LayerNormalization(axis=1), (4, 7)),
    "embedding": (layers.Embedding(11, 5), (4,)),
    "leaky relu": (layers.LeakyReLU(0.2), (7,)),
    "prelu": (layers.PReLU(), IMAGE),
    "prelu with one slope": (layers.PReLU(per_channel=False), (4, 7)),
    "elu": (layers.ELU(0.7), (7,)),
    "selu": (layers.SELU(), (7,)),
    "gelu": (layers.GELU(), (7,)),
    "gelu through tanh": (layers.GELU(approximate=True), (7,)),
    "silu": (layers.SiLU(), (7,)),
    "hard swish": (layers.HardSwish(), (7,)),
    "mish": (layers.Mish(), (7,)),
    "softplus": (layers.Softplus(), (7,)),
    "global max pool": (layers.GlobalMaxPool(), IMAGE),
    "transposed convolution": (layers.TransposedConvolution(4, 3, strides=2, pads=1, output_padding=1), IMAGE),
    "transposed, dilated, grouped": (layers.TransposedConvolution(6, (3, 2), (1, 2), 0, 0, (2, 1), groups=3), IMAGE),
    "transpose": (layers.Transpose((3, 1, 2)), IMAGE),
    "rms normalization": (layers.RMSNormalization(), (4, 7)),
    "group normalization": (layers.GroupNormalization(3), (6, 4, 5)),
    "instance normalization": (layers.InstanceNormalization(), IMAGE),
    "local response normalization": (layers.LocalResponseNormalization(3), IMAGE),
    "residual": (layers.Residual(layers.Convolution(3, 3, pads="same")), IMAGE),
    "residual with a shortcut": (
        layers.Residual(layers.Convolution(4, 3, strides=2, pads="same"), layers.Convolution(4, 1, strides=2)),
        IMAGE,
    ),
    "lstm": (layers.LSTM(5), (6, 4)),
    "lstm, stacked, both ways, last step": (layers.LSTM(5, 2, True, dropout=0.5, sequence=False), (6, 4)),
    "gru": (layers.GRU(5, bidirectional=True), (6, 4)),
    "rnn": (layers.RNN(5, activation="Relu"), (6, 4)),
    "rnn without input weights": (layers.RNN(4, 2, skip_input=True, sequence=False), (6, 4)),
    "attention": (layers.MultiHeadAttention(2), (6, 8)),
    "causal attention": (layers.MultiHeadAttention(2, causal=True, dropout=0.1, bias=False), (6, 8)),
    "transformer encoder": (layers.TransformerEncoder(2, 16), (6, 8)),
    "transformer encoder, normalised first": (layers.TransformerEncoder(2, 16, normalise_first=True), (6, 8)),
    "positions": (layers.PositionalEmbedding(9), (6, 8)),
    "sinusoidal positions": (layers.PositionalEmbedding(9, sinusoidal=True), (6, 8)),
    "nothing": (layers.Sequential([]), (7,)),
}


def session_of(network, path):
    save(network, path)
    onnx.checker.check_model(str(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", CASES)
def test_declared_shape_is_the_computed_one(name, tmp_path):
    layer, shape = CASES[name]
    indices = isinstance(layer, layers.Embedding)
    network = layers.Sequential([layer]).network(shape, dtype="int64" if indices else "float32", seed=3)
    set_batch_statistics(network, learning=False)
    session = session_of(network, tmp_path / "layer.onnx")
    random = np.random.default_rng(0)
    for batch in (1, 3):
        numbers = random.standard_normal((batch, *shape)).astype(np.float32)
        x = random.integers(0, 11, (batch, *shape)) if indices else numbers
        (computed,) = session.run(None, {"input": x})
        declared = network.outputs["output"]
        assert computed.shape == (batch, *declared.unit_shape)
        assert computed.dtype == declared.dtype
        np.testing.assert_allclose(network.run({"input": x})["output"], computed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [8, 11, 13, 17, 21])
def test_leaves_are_written_in_the_opset_of_the_network(opset, tmp_path):
    body = [layers.Convolution(4, 3), layers.BatchNormalization(), layers.MaxPool(2), layers.Dropout(0.5)]
    head = [layers.Flatten(), layers.Linear(6, bias=False), layers.Reshape((2, 3)), layers.LogSoftmax()]
    network = layers.Sequential(body + head).network((1, 8, 8), opset=opset)
    set_batch_statistics(network, learning=False)
    (y,) = session_of(network, tmp_path / "old.onnx").run(None, {"input": np.ones((2, 1, 8, 8), np.float32)})
    assert y.shape == (2, 2, 3)


def test_sequential_names_scopes_by_kind_and_number():
    inner = layers.Sequential([layers.Linear(4), layers.ReLU()], name="body")
    network = layers.Sequential([inner, layers.Linear(3), layers.LogSoftmax(), layers.Linear(2, name="last")]).network(
        (5,)
    )
    assert [leaf.path for leaf in network.graph.leaves] == [
        "body/linear1/Gemm",
        "body/relu1/Relu",
        "linear1/Gemm",
        "log_softmax1/LogSoftmax",
        "last/Gemm",
    ]
    assert list(network.select("body").parameters) == ["body/linear1/weight", "body/linear1/bias"]


def test_a_definition_used_twice_gets_parameters_of_its_own():
    layer = layers.Linear(5)
    network = layers.Sequential([layer, layer]).network((5,))
    first, second = network.parameters["linear1/weight"], network.parameters["linear2/weight"]
    assert first is not second
    assert not np.array_equal(first.array, second.array)


def test_the_seed_decides_the_weights():
    def weights(seed):
        return layers.Sequential([layers.Linear(5)]).network((4,), seed=seed).parameters["linear1/weight"].array

    assert np.array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("initialiser", "mean", "deviation"),
    [
        (initialisers.Constant(0.5), 0.5, 0.0),
        (initialisers.Uniform(-1, 3), 1.0, 4 / 12**0.5),
        (initialisers.Normal(2.0, 0.3), 2.0, 0.3),
        (initialisers.GlorotUniform(), 0.0, (2 / 300) ** 0.5),
        (initialisers.GlorotNormal(), 0.0, (2 / 300) ** 0.5),
        (initialisers.HeUniform(), 0.0, (2 / 200) ** 0.5),
        (initialisers.HeNormal(), 0.0, (2 / 200) ** 0.5),
        (initialisers.LeCunNormal(), 0.0, (1 / 200) ** 0.5),
        (initialisers.FanInUniform(), 0.0, (1 / 600) ** 0.5),
        (initialisers.TruncatedNormal(1.0, 0.5), 1.0, 0.5 * 0.8796),
        (initialisers.Orthogonal(2.0), 0.0, 2.0 / 200**0.5),
        (initialisers.Identity(), 0.005, 0.0705),
    ],
)
def test_initialisers_have_the_spread_they_promise(initialiser, mean, deviation):
    layer = layers.Linear(100, weight_initialiser=initialiser, bias_initialiser=initialisers.Constant(1.5))
    network = layers.Sequential([layer]).network((200,), seed=5)
    weight = network.parameters["linear1/weight"].array
    assert weight.shape == (100, 200)
    assert weight.mean() == pytest.approx(mean, abs=0.02)
    assert weight.std() == pytest.approx(deviation, rel=0.03, abs=1e-6)
    assert (network.parameters["linear1/bias"].array == 1.5).all()


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 2, 3)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape):
    drawn = initialisers.Orthogonal(2.0).draw(np.random.default_rng(0), shape, 1, 1).reshape(shape[0], -1) / 2
    product = drawn @ drawn.T if drawn.shape[0] <= drawn.shape[1] else drawn.T @ drawn
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


def test_an_identity_kernel_hands_images_through():
    layer = layers.Convolution(3, 3, pads="same", weight_initialiser=initialisers.Identity())
    x = np.random.default_rng(0).standard_normal((2, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(layers.Sequential([layer]).network(IMAGE).run(x)["output"], x, rtol=1e-6)


def test_batch_statistics_can_be_switched_off_and_on():
    network = layers.Sequential([layers.BatchNormalization()]).network((3, 4))
    (leaf,) = network.graph.leaves
    assert leaf.attributes["training_mode"] == 1 and len(leaf.outputs) == 3
    set_batch_statistics(network, learning=False)
    assert "training_mode" not in leaf.attributes and leaf.outputs == ["output"]
    set_batch_statistics(network, learning=True)
    assert leaf.attributes["training_mode"] == 1 and len(set(leaf.outputs)) == 3
    assert network.revision == 2
    assert not network.parameters["batch_normalization1/running_mean"].requires_grad


def test_batch_statistics_need_opset_14():
    network = layers.Sequential([layers.BatchNormalization()]).network((3, 4), opset=11)
    with pytest.raises(GraphError, match=r"BatchNormalization .* is written in opset 11"):
        set_batch_statistics(network, learning=True)


ERRORS = [
    (layers.Linear(3), (), ShapeError, r"Linear 'linear1' requires an input \(batch, ..., features\)"),
    (layers.Linear(3), ("width",), ShapeError, r"Linear 'linear1' requires a known size of axis -1"),
    (layers.Embedding(3, 3), (4,), ShapeError, r"requires int32 or int64 indices"),
    (layers.Convolution(4, 3), (3,), ShapeError, r"Convolution 'convolution1' requires an input \(batch, channels"),
    (layers.Convolution(4, 3, groups=2), IMAGE, ShapeError, r"that 2 groups divide, got 3 channels"),
    (layers.Convolution(4, 30), IMAGE, ShapeError, r"at least as large as its window"),
    (layers.Convolution(4, (3, 3, 3)), IMAGE, ShapeError, r"kernel requires one number or 2 of them"),
    (layers.MaxPool(2, strides=0), IMAGE, ShapeError, r"strides requires one number or 2 of them, each at least 1"),
    (layers.MaxPool(2, pads="valid"), IMAGE, ShapeError, r"pads requires numbers or 'same'"),
    (layers.MaxPool(2, pads="same"), (3, "h", "w"), ShapeError, r"requires known spatial sizes"),
    (layers.Reshape((5, -1)), IMAGE, ShapeError, r"requires a unit shape of 216 elements"),
    (layers.Softmax(axis=4), IMAGE, ShapeError, r"Softmax 'softmax1' requires an axis in \[-4, 3\]"),
    (layers.Dropout(1.0), (3,), ShapeError, r"requires a ratio in \[0, 1\), got 1.0"),
    (layers.LayerNormalization(axis=0), (3,), ShapeError, r"requires an axis behind the batch axis"),
]


@pytest.mark.parametrize(("layer", "shape", "error", "message"), ERRORS)
def test_what_does_not_fit_is_named(layer, shape, error, message):
    with pytest.raises(error, match=message):
        layers.Sequential([layer]).network(shape)


@pytest.mark.parametrize(
    "layer", [layers.LayerNormalization(), layers.Softmax(axis=1), layers.MaxPool(2, ceil_mode=True)]
)
def test_what_an_old_opset_lacks_is_named(layer):
    with pytest.raises(GraphError, match=r"needs opset \d+, the network is written in opset 8"):
        layers.Sequential([layer]).network(IMAGE, opset=8)


def test_a_class_in_place_of_a_layer_is_named():
    with pytest.raises(GraphError, match=r"Sequential requires layers .* at position 1"):
        layers.Sequential([layers.Linear(2), layers.ReLU])


def test_an_input_of_unknown_rank_is_named():
    builder = layers.Builder(Graph())
    with pytest.raises(ShapeError, match="requires an input of known rank"):
        layers.Flatten().append(builder, Value("x", np.dtype(np.float32)))


def test_names_avoid_what_the_graph_has():
    network = layers.Sequential([layers.Linear(3)]).network((4,))
    builder = layers.Builder(network.graph)
    before = {name for leaf in network.graph.leaves for name in (leaf.path, *leaf.outputs)} | set(network.parameters)
    with builder.scope("linear1"):
        layers.Linear(2).append(builder, network.outputs["output"])
    added = network.graph.leaves[-1]
    names = [added.path, *added.outputs, *added.inputs[1:]]
    assert not before & set(names)
    assert len(set(itertools.chain(before, names))) == len(before) + len(names)


def test_networks_are_like_imported_ones():
    network = layers.Sequential([layers.Linear(3)]).network(
        (4,), name="small", batch=2, input_name="x", output_name="y"
    )
    assert isinstance(network, Network)
    assert (network.name, network.opsets, network.ir_version) == ("small", {"": 21}, 10)
    assert network.inputs["x"].shape == (2, 4) and network.outputs["y"].shape == (2, 3)
    assert network.inputs["x"].batch_axis == 0 and network.outputs["y"].batch_axis == 0
