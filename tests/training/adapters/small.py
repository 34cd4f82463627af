"""Networks with every layer that takes an adapter, and the judge."""

import numpy as np
import onnx
import onnx.parser
import onnxruntime

import toolkit as tk
from exporters import save
from importers import load
from toolkit import layers

LABELS = [0, 1, 2, 0, 1, 2]


def random(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def image_classifier(opset=21):
    """Convolutions (one grouped) and Gemm for (4, 6, 6) images, 3 classes."""
    body = [layers.Convolution(8, 3, pads=1), layers.ReLU(), layers.Convolution(8, 3, groups=2), layers.Flatten()]
    made = layers.Sequential([*body, layers.Linear(16), layers.Tanh(), layers.Linear(3)])
    return made.network((4, 6, 6), input_name="x", output_name="y", opset=opset), random(6, 4, 6, 6)


def parse(text, opset=17, **parameters):
    """A network in ONNX's textual syntax, with parameters by name."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]>\n{text}')
    for name, array in parameters.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return load(model)


def session_of(network, path):
    """onnxruntime on the saved network."""
    save(network, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every initializer that is an input, which is what we want them to be
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def judged(network, path, x, options=None):
    """The output ``y`` by onnxruntime."""
    return session_of(network, path).run(["y"], {"x": x}, options)[0]


def trained(network, x, steps=8, rate=0.05, **options):
    """Some steps of Adam towards ``LABELS``; returns the trainer."""
    trainer = tk.Trainer(
        network,
        loss=tk.losses.SoftmaxCrossEntropy(output="y"),
        optimizer=tk.optimizers.Adam(rate),
        backend="numpy",
        **options,
    )
    for _ in range(steps):
        trainer.train_minibatch(x, LABELS)
    return trainer


def close(computed, expected):
    """Raise unless arrays are equal up to the rounding of float32."""
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-5)
