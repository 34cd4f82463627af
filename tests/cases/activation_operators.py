"""Cases of ``toolkit.operators.standard.activation_operators``."""

import numpy as np

from tests.cases.activation import naive_activation
from tests.support.case import Case, integers, spread, uniform

X = spread("N", 3, 7, low=-4, high=4)


def own(name: str) -> Case:
    """An activation of our own domain."""
    return Case(
        name,
        [X],
        version=1,
        domain="toolkit",
        judge=lambda x: naive_activation(x, name).astype(x.dtype),
        tolerance=1e-5,
    )


CASES = [
    Case("Relu", [X], version=6),
    Case("Relu", [integers("N", 7, low=-4, high=4, dtype="int32")], version=14, note="integers"),
    Case("Relu", [spread("N", 7, dtype="bfloat16")], version=14, note="bfloat16", judge="onnx.reference"),
    Case("LeakyRelu", [X], version=6),
    Case("LeakyRelu", [X], {"alpha": 0.3}, note="alpha"),
    Case("LeakyRelu", [X], {"alpha": -0.3}, note="negative alpha"),
    Case("PRelu", [X, uniform(3, 1)], version=7),
    Case("PRelu", [X, uniform(1)], note="one slope"),
    Case("Elu", [X], version=6),
    Case("Elu", [X], {"alpha": -0.6}, note="negative alpha"),
    Case("Selu", [X], version=6),
    Case("Selu", [X], {"alpha": 1.2, "gamma": 0.9}, note="alpha and gamma"),
    Case(
        "Selu",
        [X],
        {"consumed_inputs": [0]},
        version=1,
        judge=lambda x, consumed_inputs: np.where(x > 0, 1.0507 * x, 1.0507 * 1.6732 * (np.exp(x) - 1)).astype(x.dtype),
    ),
    Case(
        "Relu",
        [X],
        {"consumed_inputs": [0]},
        version=1,
        judge=lambda x, consumed_inputs: x * (x > 0),
        note="consumed inputs",
    ),
    Case("Celu", [X], version=12),
    Case("Celu", [X], {"alpha": 0.5}, version=12, note="alpha"),
    Case("ThresholdedRelu", [X], version=10),
    Case("ThresholdedRelu", [X], {"alpha": 0.3}, note="alpha"),
    Case("Sigmoid", [X], version=6),
    Case("Sigmoid", [spread("N", 8, low=-120, high=120)], note="saturated"),
    Case("HardSigmoid", [X], version=6),
    Case("HardSigmoid", [X], {"alpha": 0.1, "beta": 0.4}, note="alpha and beta"),
    Case("HardSwish", [X], version=14),
    Case("Tanh", [X], version=6),
    Case("Softplus", [X], version=1),
    Case("Softplus", [spread("N", 8, low=-120, high=120)], note="saturated"),
    Case("Softsign", [X], version=1),
    Case("Gelu", [X], version=20),
    Case("Gelu", [X], {"approximate": "tanh"}, note="tanh"),
    Case("Gelu", [spread("N", 7, dtype="float16")], note="float16", tolerance=3e-3),
    Case("Mish", [X], version=18),
    Case("Swish", [X], {"alpha": 0.7}, version=24),
    Case("Shrink", [X], {"lambd": 0.5, "bias": 0.2}, version=9),
    own("Silu"),
    own("GeluTanh"),
]
