"""Cases of ``operators.standard.optimization``; ``training.test_optimizers`` compares whole optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, constant, uniform

SHAPES = [("N", 3), (4,)]
RULES: dict[str, tuple[int, dict[str, Any], Any]] = {
    # groups, attributes, and the same for one parameter in float64
    "momentum": (
        3,
        {
            "rule": ("Mul t2 n0", "Add v0 t1", "Mul v1 n1", "Sub t0 v2"),
            "results": ("v3", "v1"),
            "targets": (0, 2),
        },
        lambda n, p, g, m: (p - n[1] * (n[0] * m + g), n[0] * m + g),
    ),
    "quotients": (
        2,
        {
            "rule": ("Abs t1", "Add v0 c0.5", "Sqrt v1", "Div t0 v2", "Max v3 n0", "Sub n1 v4", "Div v5 v2"),
            "results": ("v6", "v3"),
            "targets": (1, 0),
        },
        lambda n, p, g: (
            (n[1] - np.maximum(p / np.sqrt(np.abs(g) + 0.5), n[0])) / np.sqrt(np.abs(g) + 0.5),
            p / np.sqrt(np.abs(g) + 0.5),
        ),
    ),
    "exchange": (
        2,
        {"rule": ("Mul n0 n1", "Sign t1", "Mul v1 v0", "Neg t0"), "results": ("v2", "v3"), "targets": (0, 1)},
        lambda n, p, g: (np.sign(g) * n[0] * n[1], -p),
    ),
    "nothing": (2, {"rule": (), "results": ("t1",), "targets": (1,)}, lambda n, p, g: (g,)),
}


def judge(rule: Any) -> Any:
    """One parameter at a time, in float64; results group by group."""

    def judged(numbers: Any, *given: Any, count: int, **_: Any) -> Any:
        wide = [item.astype(np.float64) for item in given]
        rows = [rule(numbers.astype(np.float64), *wide[index::count]) for index in range(count)]
        return tuple(item.astype(np.float32) for group in zip(*rows, strict=True) for item in group)

    return judged


CASES = [
    *(
        Case(
            "ElementwiseUpdate",
            [constant([0.9, 0.1]), *(uniform(*shape) for _ in range(groups) for shape in SHAPES)],
            {**attributes, "count": 2},
            version=1,
            domain="toolkit",
            outputs=2 * len(attributes["targets"]),
            judge=judge(rule),
            note=name,
        )
        for name, (groups, attributes, rule) in RULES.items()
    ),
    Case(
        "SumOfSquares",
        [uniform("N", 3), uniform(4)],
        version=1,
        domain="toolkit",
        judge=lambda x, y: np.float32((x.astype(np.float64) ** 2).sum() + (y.astype(np.float64) ** 2).sum()),
    ),
]
