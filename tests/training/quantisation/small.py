"""Networks for the tests of quantisation and pruning, and the judge."""

import numpy as np
import onnx
import onnxruntime

from exporters import save
from importers import load


def random(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def parse(body, opset=17, ir_version=8, **parameters):
    """A network from ONNX's textual syntax, with parameters by name."""
    head = f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'
    model = onnx.parser.parse_model(f"{head}\n{body}")
    for name, array in parameters.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return load(model)


def residual():
    """Convolutions, one of them by channel, with BatchNormalization, Clip, a residual sum, pooling, Gemm and MatMul."""
    return parse(
        """g (float[N, 3, 8, 8] x) => (float[N, 5] y) {
            [first] c1 = Conv <pads = [1, 1, 1, 1]> (x, w1)
            [norm] n1 = BatchNormalization (c1, s1, h1, m1, v1)
            [relu] r1 = Relu (n1)
            [depthwise] c2 = Conv <group = 8, pads = [1, 1, 1, 1]> (r1, w2, b2)
            [clip] k2 = Clip (c2, low, high)
            [second] c3 = Conv (k2, w3, b3)
            [sum] a = Add (c3, r1)
            [after] r2 = Relu (a)
            [pool] p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r2)
            [flat] f = Flatten (p)
            [hidden] h = Gemm <transB = 1> (f, w4, b4)
            [squash] t = Tanh (h)
            [last] l = MatMul (t, w5)
            [offset] o = Add (l, b5)
            [out] y = Softmax (o)
        }""",
        w1=random(8, 3, 3, 3, seed=1, scale=0.4),
        s1=np.linspace(0.5, 2, 8, dtype=np.float32),
        h1=random(8, seed=2),
        m1=random(8, seed=3, scale=0.3),
        v1=np.linspace(0.5, 3, 8, dtype=np.float32),
        w2=random(8, 1, 3, 3, seed=4, scale=0.4),
        b2=random(8, seed=5),
        low=np.float32(0),
        high=np.float32(6),
        w3=random(8, 8, 1, 1, seed=6, scale=0.3),
        b3=random(8, seed=7),
        w4=random(12, 128, seed=8, scale=0.1),
        b4=random(12, seed=9),
        w5=random(12, 5, seed=10),
        b5=random(5, seed=11),
    )


def images(items=6, seed=0):
    return random(items, 3, 8, 8, seed=seed)


def judged(network, path, feeds, *, optimised=True):
    """All outputs by onnxruntime, by name."""
    save(network, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def operators(network):
    """How often each operator occurs."""
    found: dict[str, int] = {}
    for leaf in network.graph.leaves:
        found[leaf.operator] = found.get(leaf.operator, 0) + 1
    return found
