"""Small valid models of every sort: what the corpus of damaged files is made from.

Each is a function returning a ``ModelProto``. The one whose weights lie outside names them ``weights.bin``; its content
is ``EXTERNAL_CONTENT``.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper, parser

EXTERNAL_FILE = "weights.bin"
EXTERNAL_CONTENT = np.arange(64, dtype=np.float32).tobytes()
HEADER = '<ir_version: 10, opset_import: ["": {opset}, "ai.onnx.ml": 4, "own": 1]>\n'


def parsed(text: str, opset: int = 21, **weights: np.ndarray) -> ModelProto:
    """A model in ONNX's textual syntax, with its weights."""
    model: ModelProto = parser.parse_model(HEADER.format(opset=opset) + text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def with_outputs(model: ModelProto, **kinds: int) -> ModelProto:
    """The model with further outputs of unknown rank."""
    model.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items())
    return model


def numbers(*shape: int) -> np.ndarray:
    """Reproducible float32 weights."""
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * 0.3).astype(np.float32)


def convolutions() -> ModelProto:
    text = """cnn (float[N, 3, 8, 8] x) => (float[N, 5] y) {
        c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
        n1 = BatchNormalization (c1, scale, shift, mean, variance)
        r1 = Relu (n1)
        c2 = Conv <pads = [1, 1, 1, 1], group = 2> (r1, w2)
        s = Add (c2, r1)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (s)
        u = Resize <mode = "linear"> (p, , scales)
        a = AveragePool <kernel_shape = [3, 3], auto_pad = "SAME_UPPER"> (u)
        z = Pad (a, pads)
        g = GlobalAveragePool (z)
        f = Flatten (g)
        y = Gemm <transB = 1> (f, w3, b3)
    }"""
    ones = np.ones(6, np.float32)
    return parsed(
        text,
        w1=numbers(6, 3, 3, 3),
        b1=numbers(6),
        scale=ones,
        shift=ones,
        mean=ones,
        variance=ones,
        w2=numbers(6, 3, 3, 3),
        scales=np.array([1, 1, 2, 2], np.float32),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        w3=numbers(5, 6),
        b3=numbers(5),
    )


def attention() -> ModelProto:
    text = """attention (float[N, T, 8] x) => (float[N, T, 8] y) {
        n = LayerNormalization <axis = -1, epsilon = 0.00001> (x, scale, shift)
        shape = Shape (n)
        start = Constant <value_ints = [0]> ()
        two = Constant <value_ints = [2]> ()
        lead = Slice (shape, start, two)
        heads = Constant <value = int64[2] {2, 4}> ()
        target = Concat <axis = 0> (lead, heads)
        split = Reshape (n, target)
        q = Transpose <perm = [0, 2, 1, 3]> (split)
        scores = Einsum <equation = "bhid,bhjd->bhij"> (q, q)
        p = Softmax <axis = -1> (scores)
        v = MatMul (p, q)
        back = Transpose <perm = [0, 2, 1, 3]> (v)
        h = Reshape (back, shape)
        one = Constant <value_ints = [1]> ()
        length = Slice (shape, one, two)
        scalar = Squeeze (length)
        zero = Constant <value_int = 0> ()
        step = Constant <value_int = 1> ()
        steps = Range (zero, scalar, step)
        floats = Cast <to = 1> (steps)
        column = Unsqueeze (floats, one)
        row = Expand (column, length)
        filled = ConstantOfShape <value = float[1] {0.5}> (length)
        tiled = Tile (filled, one)
        weight = ReduceSum <keepdims = 0> (row, one)
        both = Add (tiled, weight)
        both2 = Unsqueeze (both, one)
        s = Mul (h, both2)
        t, indices = TopK (s, eight)
        y = Add (t, x)
    }"""
    return parsed(text, scale=np.ones(8, np.float32), shift=numbers(8), eight=np.array([8]))


def functions() -> ModelProto:
    text = """calls (float[N, 4] x) => (float[N, 4] y) {
        h = own.scaled <factor = 2.0> (x, w)
        y = own.outer (h)
    }
    <domain: "own", opset_import: ["": 21]>
    scaled <factor> (a, b) => (c) {
        k = Constant <value_float: float = @factor> ()
        m = MatMul (a, b)
        c = Mul (m, k)
    }
    <domain: "own", opset_import: ["": 21, "own": 1]>
    outer (a) => (c) {
        inner = own.inner (a)
        c = own.inner (inner)
    }
    <domain: "own", opset_import: ["": 21]>
    inner (a) => (c) { b = Relu (a) c = Neg (b) }
    """
    return parsed(text, w=numbers(4, 4))


def control_flow() -> ModelProto:
    text = """flow (float[N, 4] x) => (float[N, 4] y, float[N, 4] last, float[K, N, 4] all) {
        total = ReduceSum <keepdims = 0> (x)
        positive = Greater (total, zero)
        chosen = If (positive) <
            then_branch = then () => (float[N, 4] a) { a = Add (x, w) },
            else_branch = otherwise () => (float[N, 4] b) { b = Mul (x, w) }
        >
        last, all = Loop (trips, , chosen) <
            body = step (int64 i, bool go, float[N, 4] state) => (bool on, float[N, 4] next, float[N, 4] each) {
                on = Identity (go)
                next = Sub (state, w)
                each = Sin (next)
            }
        >
        never = If (no) <
            then_branch = t () => (float[N, 4] c) { c = Neg (chosen) },
            else_branch = e () => (float[N, 4] d) { d = Abs (chosen) }
        >
        y = Identity (never)
    }"""
    return parsed(text, w=numbers(4), zero=np.float32(0), trips=np.array(3), no=np.array(False))


def scan() -> ModelProto:
    text = """scanned (float[T, 4] x) => (float[4] sum, float[T, 4] sums) {
        sum, sums = Scan <num_scan_inputs = 1> (start, x) <
            body = step (float[4] state, float[4] item) => (float[4] next, float[4] out) {
                next = Add (state, item)
                out = Identity (next)
            }
        >
    }"""
    text = text.replace(" <num_scan_inputs = 1> (start, x) <", " (start, x) <num_scan_inputs = 1,")
    return parsed(text, start=np.zeros(4, np.float32))


def sequences() -> ModelProto:
    text = """lists (float[N, 4] x, seq(float[N, 4]) more) => (float[M, 4] y, int64 count) {
        one = SequenceConstruct (x, x)
        longer = SequenceInsert (one, x)
        item = SequenceAt (longer, first)
        rest = SequenceErase (longer, first)
        count = SequenceLength (rest)
        parts = SplitToSequence <axis = 1> (item, two)
        joined = ConcatFromSequence <axis = 0> (rest)
        some = Optional (x)
        known = OptionalHasElement (some)
        inside = OptionalGetElement (some)
        y = Concat <axis = 0> (joined, inside)
    }"""
    return parsed(text, first=np.array(0), two=np.array(2))


def sparse() -> ModelProto:
    model = parsed(
        """sparse (float[N, 4] x) => (float[N, 4] y) {
            c = Constant <value_float = 1.0> ()
            h = MatMul (x, s)
            y = Add (h, c)
        }"""
    )
    flat = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([1, 2, 3], np.float32), "s"),
        numpy_helper.from_array(np.array([0, 5, 15]), "positions"),
        [4, 4],
    )
    pairs = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([1, 2], np.float32), "unused"),
        numpy_helper.from_array(np.array([[0, 1], [2, 3]])),
        [4, 4],
    )
    model.graph.sparse_initializer.extend([flat, pairs])
    node = model.graph.node[0]
    del node.attribute[:]
    value = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([7], np.float32)), numpy_helper.from_array(np.array([3])), [4]
    )
    node.attribute.append(AttributeProto(name="sparse_value", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=value))
    return model


def external() -> ModelProto:
    model = parsed(
        """outside (float[N, 4] x) => (float[N, 4] y) { h = MatMul (x, w) y = Add (h, b) }""",
        w=numbers(4, 4),
        b=numbers(4),
    )
    for tensor, offset in zip(model.graph.initializer, (64, 192), strict=True):
        entries = {"location": EXTERNAL_FILE, "offset": str(offset), "length": str(len(tensor.raw_data))}
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
    return model


def quantised() -> ModelProto:
    text = """quantised (float[N, 4] x) => (float[N, 4] y) {
        q = QuantizeLinear (x, scale, zero)
        m = QLinearMatMul (q, scale, zero, w, scale, zero, scale, zero)
        i = MatMulInteger (m, w, zero, zero)
        f = DequantizeLinear (m, scale, zero)
        d, ds, dz = DynamicQuantizeLinear (f)
        c = Cast <to = 1> (i)
        g = DequantizeLinear (d, ds, dz)
        h = DequantizeLinear <axis = 0, block_size = 2> (packed, scales)
        s = Add (c, g)
        y = Add (s, h)
    }"""
    model = parsed(text, w=np.ones((4, 4), np.uint8), scale=np.float32(0.1), zero=np.uint8(3))
    packed = TensorProto(name="packed", data_type=TensorProto.INT4, dims=[4], raw_data=b"\x12\x34")
    model.graph.initializer.extend([packed, numpy_helper.from_array(np.ones(2, np.float32), "scales")])
    return model


def element_types() -> ModelProto:
    model = parsed("""types (float[N, 4] x) => (float[N, 4] y) { y = Identity (x) }""", opset=23)
    kinds = [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2fnuz, np.float16, np.complex64, np.bool_]
    for number, dtype in enumerate([*kinds, np.uint16, np.float64, np.int8]):
        name = f"t{number}"
        model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32).astype(dtype), name))
        if dtype is not np.complex64:
            last = model.graph.node.pop()
            model.graph.node.append(helper.make_node("Cast", [name], [f"c{number}"], to=1))
            model.graph.node.append(helper.make_node("Add", [last.input[0], f"c{number}"], [f"s{number}"]))
            last.input[0] = f"s{number}"
            model.graph.node.append(last)
    model.graph.initializer.extend(
        [
            TensorProto(name="u2", data_type=TensorProto.UINT2, dims=[3], int32_data=[0b111001]),
            TensorProto(name="f4", data_type=TensorProto.FLOAT4E2M1, dims=[2], raw_data=b"\x21"),
            TensorProto(name="half", data_type=TensorProto.FLOAT16, dims=[2], int32_data=[15360, 0]),
            TensorProto(name="typed", data_type=TensorProto.FLOAT, dims=[2, 1], float_data=[1, 2]),
            TensorProto(name="wide", data_type=TensorProto.UINT64, dims=[2], uint64_data=[1, 2]),
        ]
    )
    return model


def strings() -> ModelProto:
    text = """texts (string[N] x) => (string[N] y, int64[N] labels, bool[N] found) {
        joined = StringConcat (x, tail)
        y = ai.onnx.ml.LabelEncoder <keys_strings = ["a", "b"], values_strings = ["c", "d"], default_string = "?"> (x)
        labels = ai.onnx.ml.LabelEncoder <keys_strings = ["a"], values_int64s = [4]> (joined)
        upper = StringNormalizer <case_change_action = "UPPER", stopwords = ["the"]> (x)
        parts, lengths = StringSplit <delimiter = " "> (x)
        found = RegexFullMatch <pattern = "a+"> (x)
        vector = TfIdfVectorizer <max_gram_length = 1, max_skip_count = 0, min_gram_length = 1, mode = "TF",
            ngram_counts = [0], ngram_indexes = [0, 1], pool_strings = ["a", "b"]> (upper)
    }"""
    return parsed(text, tail=np.array(["!"], object))


def trees() -> ModelProto:
    text = """trees (float[N, 3] x) => (float[N, 1] y, int64[N] label, float[N, 2] probabilities) {
        scaled = ai.onnx.ml.Scaler <offset = [0.0, 0.0, 0.0], scale = [1.0, 1.0, 1.0]> (x)
        y = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 1, aggregate_function = "SUM", post_transform = "NONE",
            nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2], nodes_featureids = [0, 0, 0],
            nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values = [0.5, 0.0, 0.0],
            nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0], target_treeids = [0, 0],
            target_nodeids = [1, 2], target_ids = [0, 0], target_weights = [1.0, 2.0]> (scaled)
        label, probabilities = ai.onnx.ml.LinearClassifier <classlabels_ints = [0, 1], post_transform = "SOFTMAX",
            coefficients = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], intercepts = [0.0, 1.0]> (x)
        label2, p2 = ai.onnx.ml.TreeEnsembleClassifier <classlabels_int64s = [0, 1], post_transform = "NONE",
            nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2], nodes_featureids = [1, 0, 0],
            nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values = [0.5, 0.0, 0.0],
            nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0], class_treeids = [0, 0],
            class_nodeids = [1, 2], class_ids = [0, 1], class_weights = [1.0, 2.0]> (x)
        binary = ai.onnx.ml.Binarizer <threshold = 0.5> (x)
    }"""
    model = parsed(text)
    return with_outputs(model, p2=TensorProto.FLOAT, binary=TensorProto.FLOAT)


def recurrent() -> ModelProto:
    text = """recurrent (float[T, N, 4] x) => (float[T, 1, N, 3] y, float[1, N, 3] h) {
        y, h, c = LSTM <hidden_size = 3> (x, w, r, b)
        y2, h2 = GRU <hidden_size = 3> (x, gw, gr)
    }"""
    weights = {"w": (1, 12, 4), "r": (1, 12, 3), "b": (1, 24), "gw": (1, 9, 4), "gr": (1, 9, 3)}
    model = parsed(text, **{name: numbers(*shape) for name, shape in weights.items()})
    return with_outputs(model, h2=TensorProto.FLOAT)


def selection() -> ModelProto:
    text = """selection (float[N, 6] x, int64[K] i) => (float[N, K] g, int64[R, C] where, float[Q] kept) {
        g = Gather <axis = 1> (x, i)
        where = NonZero (x)
        positive = Greater (x, zero)
        kept = Compress (x, mask)
        unique, first, back, counts = Unique (x)
        boxes = Reshape (x, box_shape)
        best = ArgMax <axis = 1> (x)
        hot = OneHot (best, depth, values)
        put = ScatterElements <axis = 0> (x, positions, updates)
        nd = GatherND (x, positions)
        sum = CumSum (x, axis)
        a, b, c = Split <axis = 1, num_outputs = 3> (x)
        cut = Clip (a, zero, one)
        triangle = Trilu (x)
        pixel = DepthToSpace <blocksize = 1> (boxes)
        random = RandomNormalLike <seed = 1.0> (x)
        eye = EyeLike (x)
        window = HannWindow (depth)
        chosen = Where (positive, x, put)
    }"""
    model = parsed(
        text,
        zero=np.float32(0),
        one=np.float32(1),
        mask=np.array([True, False]),
        box_shape=np.array([-1, 1, 1, 6]),
        depth=np.array(6),
        values=np.array([0, 1], np.float32),
        positions=np.array([[0, 0]]),
        updates=np.array([[1, 2]], np.float32),
        axis=np.array(1),
    )
    names = ("hot", "nd", "sum", "b", "cut", "triangle", "pixel", "random", "eye", "window", "chosen", "unique")
    return with_outputs(model, **dict.fromkeys(names, TensorProto.FLOAT))


SEEDS: dict[str, Callable[[], ModelProto]] = {
    make.__name__: make
    for make in (
        convolutions,
        attention,
        functions,
        control_flow,
        scan,
        sequences,
        sparse,
        external,
        quantised,
        element_types,
        strings,
        trees,
        recurrent,
        selection,
    )
}
