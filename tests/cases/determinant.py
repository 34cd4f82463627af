"""Cases of ``toolkit.operators.standard.determinant``."""

import numpy as np

from tests.support.case import Case, uniform, variable

SINGULAR = variable(
    lambda batch: [
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, -1.0]],
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [-1.0, -2.0, -3.0]],
        np.zeros((3, 3)).tolist(),
    ][:batch]
)


def in_double(x: np.ndarray) -> np.ndarray:
    """The determinants, rounded once."""
    return np.linalg.det(x.astype(np.float64)).astype(x.dtype)


def cofactors(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``g`` times every cofactor, from the determinant of what is left without its row and column."""
    result = np.zeros_like(x)
    for number in np.ndindex(x.shape):
        *place, row, column = number
        minor = np.delete(np.delete(x[tuple(place)], row, axis=0), column, axis=1)
        result[number] = g[tuple(place)] * (-1) ** (row + column) * np.linalg.det(minor)
    return result


def gradient(given: object, grad: object, note: str) -> Case:
    return Case("DetGradient", [grad, given], version=1, domain="toolkit", judge=cofactors, tolerance=1e-4, note=note)


CASES = [
    Case("Det", [uniform("N", 3, 3)], version=11, tolerance=1e-4),
    Case("Det", [uniform(2, "N", 4, 4)], version=22, tolerance=1e-4, note="batches"),
    Case("Det", [uniform(2, 2)], version=22, note="a matrix"),
    Case("Det", [uniform("N", 1, 1)], version=22, note="one number"),
    Case("Det", [SINGULAR], version=22, tolerance=1e-5, note="singular"),
    Case("Det", [uniform("N", 3, 3, dtype="float16")], version=22, judge=in_double, tolerance=2e-2, note="half"),
    gradient(uniform("N", 3, 3), uniform("N"), "matrices"),
    gradient(uniform(2, "N", 2, 2), uniform(2, "N"), "batches"),
    gradient(SINGULAR, uniform("N"), "singular"),
]
