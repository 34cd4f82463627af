"""Cases of ``toolkit.operators.ml.support_vectors``.

The results are float32 whatever the input is. Where a gradient is compared with differences, the decisions are close to
zero: there float32 is fine enough to resolve them. Kernels have a test of their own.
"""

from functools import partial
from typing import Any

import numpy as np

from tests.support.case import Case, integers, uniform

Row = partial(Case, domain="ai.onnx.ml", version=1)

KERNELS = {"LINEAR": [0.0, 0.0, 0.0], "POLY": [0.5, 1.0, 3.0], "RBF": [0.7, 0.0, 0.0], "SIGMOID": [0.3, -0.5, 0.0]}
COUNTS = {2: [2, 3], 3: [2, 3, 1], 4: [2, 1, 1, 2]}
NEAR_ZERO = uniform("N", 3, low=-1e-5, high=1e-5)
X = uniform("N", 3)


def numbers(count: int, seed: int, low: float = -1.0) -> list[float]:
    return [round(float(value), 3) for value in np.random.default_rng(seed).uniform(low, 1.0, count)]


def machine(classes: int, kernel: str = "RBF", probabilities: bool = False, **more: Any) -> dict[str, Any]:
    """A classifier with random support vectors of three features."""
    count, pairs = sum(COUNTS[classes]), classes * (classes - 1) // 2
    found = {
        "classlabels_ints": [7, 3, 9, 1][:classes],
        "coefficients": numbers((classes - 1) * count, 1),
        "kernel_type": kernel,
        "kernel_params": KERNELS[kernel],
        "rho": numbers(pairs, 2),
        "support_vectors": numbers(3 * count, 3),
        "vectors_per_class": COUNTS[classes],
    }
    if probabilities:
        found |= {"prob_a": numbers(pairs, 4, -2.0), "prob_b": numbers(pairs, 5)}
    return {**found, **more}


def classifier(note: str, attributes: dict[str, Any], x: Any = X, **more: Any) -> Case:
    return Row("SVMClassifier", [x], attributes, outputs=2, note=note, **{"differentiable": (), **more})


REGRESSOR: dict[str, Any] = {
    "coefficients": numbers(4, 6),
    "kernel_type": "RBF",
    "kernel_params": KERNELS["RBF"],
    "rho": [0.25],
    "support_vectors": numbers(12, 7),
    "n_supports": 4,
}
LINEAR_REGRESSOR: dict[str, Any] = {"coefficients": [0.5, -1.0, 2.0], "rho": [0.0], "kernel_params": KERNELS["LINEAR"]}
LINEAR: dict[str, Any] = {
    "classlabels_ints": [7, 3, 9],
    "coefficients": numbers(9, 8),
    "rho": [0.1],
    "kernel_params": KERNELS["LINEAR"],
}
TWO_LINEAR: dict[str, Any] = {**LINEAR, "classlabels_ints": [7, 3], "coefficients": numbers(6, 9)}
TRANSFORMS = ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")

CASES = [
    Row("SVMRegressor", [NEAR_ZERO], LINEAR_REGRESSOR, note="slope"),
    *(
        Row(
            "SVMRegressor",
            [X],
            {**REGRESSOR, "kernel_type": kernel, "kernel_params": given},
            note=kernel,
            differentiable=(),
        )
        for kernel, given in KERNELS.items()
    ),
    Row("SVMRegressor", [X], {**REGRESSOR, "one_class": 1}, note="one class", differentiable=()),
    Row("SVMRegressor", [uniform(3)], REGRESSOR, note="row", differentiable=()),
    Row("SVMRegressor", [X], {**REGRESSOR, "post_transform": "LOGISTIC"}, note="transform", differentiable=()),
    classifier("slope", {**LINEAR, "rho": [0.0]}, NEAR_ZERO, differentiable=None),
    *(classifier(f"3 {kernel}", machine(3, kernel)) for kernel in KERNELS),
    *(classifier(f"{classes} classes", machine(classes)) for classes in (2, 4)),
    *(classifier(f"{classes} probabilities", machine(classes, probabilities=True)) for classes in (2, 3, 4)),
    *(
        classifier(
            f"{classes} {kind} {name}", machine(classes, probabilities=kind == "probabilities", post_transform=name)
        )
        for classes in (2, 3)
        for kind in ("decisions", "probabilities")
        for name in TRANSFORMS
    ),
    classifier("probits", machine(3, probabilities=True, post_transform="PROBIT"), tolerance=1e-4),
    classifier("double", machine(3), uniform("N", 3, dtype="float64")),
    classifier("integers", machine(3), integers("N", 3, low=-2, high=3)),
    classifier("row", machine(3), uniform(3)),
    classifier("strings", {**machine(2), "classlabels_ints": [], "classlabels_strings": ["no", "yes"]}),
    classifier("linear", LINEAR),
    *(classifier(f"linear {name}", {**LINEAR, "post_transform": name}) for name in TRANSFORMS),
    classifier("linear two", TWO_LINEAR),
    classifier("linear two positive", {**TWO_LINEAR, "coefficients": numbers(6, 10, 0.0)}),
]
