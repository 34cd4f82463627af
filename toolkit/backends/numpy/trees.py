"""Direct kernels of tree ensembles: their attributes are turned into arrays when they are bound, not in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.backends.numpy.bound import Arrays, Direct, Lower
from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node
from toolkit.operators.ml.rows import DOMAIN
from toolkit.operators.ml.trees import classifier, prepared, regressor


def _ensemble(make: Callable[..., Callable[[np.ndarray], Any]]) -> Lower:
    def lower(node: Node) -> Direct:
        attributes = node.attributes

        def bind(inputs: Arrays, outputs: Arrays) -> Step:
            x = inputs[0]
            decide = make(prepared(x)[1], **attributes)

            def step() -> None:
                found = decide(prepared(x)[0])
                for target, value in zip(outputs, found if isinstance(found, tuple) else (found,), strict=False):
                    if target is not None:
                        np.copyto(target, value, casting="same_kind")

            return step

        return Direct(bind)

    return lower


TREES: dict[tuple[str, str], Lower] = {
    (DOMAIN, "TreeEnsembleRegressor"): _ensemble(regressor),
    (DOMAIN, "TreeEnsembleClassifier"): _ensemble(classifier),
}
