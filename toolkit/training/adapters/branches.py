"""Branches: the leaves by which an adapter changes a layer.

Beside the layer, y + scale (x A) B costs two thin products and never forms anything of the weight's size. Inside, the
weight W becomes W + scale A B, for layers that have no plain output to add to, and for DoRA (Liu et al. 2024), where it
becomes m (W + scale A B) / ||W + scale A B||, the norms taken for each output.

Matrices: A (in, rank), B (rank, out) of products; A (group * rank, in / group, k1, ...), B (out, rank, 1, ...) of
convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.graph.insertion import Insertion
from toolkit.graph.parameter import Parameter
from toolkit.training.adapters.sites import Grid, Site

REDUCTION_INPUT = 18  # the opset from which ReduceL2 takes its axes as an input
DROPOUT_INPUT = 12  # and Dropout its ratio


@dataclass(eq=False, slots=True)
class Branch:
    """An adapter at one site: its matrices, and for DoRA the magnitude of each output."""

    site: Site
    a: Parameter
    b: Parameter
    magnitude: Parameter | None = None

    @property
    def parameters(self) -> list[Parameter]:
        return [item for item in (self.a, self.b, self.magnitude) if item is not None]

    @property
    def is_inside(self) -> bool:
        return self.site.is_inside or self.magnitude is not None


def shapes(site: Site, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of A and of B."""
    if not site.is_convolution:
        return (site.columns, rank), (rank, site.rows)
    return (site.group * rank, *site.shape[1:]), (site.rows, rank, *(1,) * (len(site.shape) - 2))


def magnitude_shape(site: Site) -> tuple[int, ...]:
    """One number for each output, in the form that broadcasts with the weight."""
    axis = 0 if site.is_convolution or site.is_transposed else 1
    return tuple(size if place == axis else 1 for place, size in enumerate(site.shape))


def norms(site: Site, weight: np.ndarray) -> np.ndarray:
    """The Euclidean norm of what each output of a weight reads."""
    axes = tuple(place for place, size in enumerate(magnitude_shape(site)) if size == 1)
    exact = np.sqrt(np.square(weight.astype(np.float64)).sum(axis=axes, keepdims=True))
    return exact.reshape(magnitude_shape(site)).astype(weight.dtype)


def difference(site: Site, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A B in the form of the weight, in double precision."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not site.is_convolution:
        return (a @ b).T if site.is_transposed else a @ b
    rank = b.shape[1]
    right, left = a.reshape(site.group, rank, -1), b.reshape(site.group, -1, rank)
    return (left @ right).reshape(site.shape)


def append_beside(insertion: Insertion, branch: Branch, y: str, scale: float | None, dropout: float, total: str) -> str:
    """Leaves that add the branch to ``y``; the sum is called ``total`` where a name is given.

    ``scale=None`` leaves out the scaling.
    """
    site = branch.site
    x = insertion.leaf("DequantizeLinear", [site.x, *site.x_grid.inputs]) if site.x_grid else site.x
    x = _dropped(insertion, x, dropout)
    if site.is_convolution:
        thin = insertion.leaf("Conv", [x, branch.a.name], group=site.group, **site.geometry)
        change = insertion.leaf("Conv", [_scaled(insertion, thin, scale, site), branch.b.name], group=site.group)
    else:
        thin = insertion.leaf("MatMul", [x, branch.a.name])
        change = insertion.leaf("MatMul", [_scaled(insertion, thin, scale, site), branch.b.name])
    return insertion.leaf("Add", [y, change], output=total)


def append_inside(insertion: Insertion, branch: Branch, weight: str, scale: float | None) -> str:
    """Leaves that compute the changed weight; returns its name."""
    site = branch.site
    if site.is_convolution:
        inner = int(np.prod(site.shape[1:]))
        right = _reshaped(insertion, branch.a.name, (site.group, -1, inner))
        left = _reshaped(insertion, branch.b.name, (site.group, site.rows // site.group, -1))
        product = insertion.leaf("MatMul", [left, _scaled(insertion, right, scale, site)])
        change = _reshaped(insertion, product, site.shape)
    else:
        change = insertion.leaf("MatMul", [_scaled(insertion, branch.a.name, scale, site), branch.b.name])
        if site.is_transposed:
            change = insertion.leaf("Transpose", [change], perm=[1, 0])
    changed = insertion.leaf("Add", [weight, change])
    if branch.magnitude is None:
        return changed
    lengths = _lengths(insertion, changed, site)
    return insertion.leaf("Mul", [changed, insertion.leaf("Div", [branch.magnitude.name, lengths])])


def append_grid(insertion: Insertion, y: str, grid: Grid, *, back: bool, output: str = "") -> str:
    """Integers as floats, or ``back``."""
    return insertion.leaf("QuantizeLinear" if back else "DequantizeLinear", [y, *grid.inputs], output=output)


def _lengths(insertion: Insertion, weight: str, site: Site) -> str:
    axes = [place for place, size in enumerate(magnitude_shape(site)) if size == 1]
    if insertion.opset < REDUCTION_INPUT:
        return insertion.leaf("ReduceL2", [weight], axes=axes, keepdims=1)
    return insertion.leaf("ReduceL2", [weight, insertion.integers("axes", axes)], keepdims=1)


def _reshaped(insertion: Insertion, x: str, shape: tuple[int, ...]) -> str:
    return insertion.leaf("Reshape", [x, insertion.integers("shape", shape)])


def _scaled(insertion: Insertion, x: str, scale: float | None, site: Site) -> str:
    if scale is None:
        return x
    number = np.array(scale, site.dtype)
    return insertion.leaf(
        "Mul", [x, insertion.parameter("scale", number, requires_grad=False, role="the scale of an adapter")]
    )


def _dropped(insertion: Insertion, x: str, ratio: float) -> str:
    if not ratio:
        return x
    if insertion.opset < DROPOUT_INPUT:
        return insertion.leaf("Dropout", [x], ratio=float(ratio))
    held = insertion.parameter("ratio", np.array(ratio, np.float32), requires_grad=False, role="the ratio in Dropout")
    return insertion.leaf("Dropout", [x, held])
