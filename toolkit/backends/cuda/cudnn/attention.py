"""Attention as graphs that cuDNN has flash engines for: scores and weights stay on the chip.

The engines know these operations in this order. Without the logarithm as a result they offer nothing. Factors are of
half width, sums and exponentials float32. Tensors are (batch, heads, length, size) in whatever order their strides put
them, those called turned (batch, heads, size, length).
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.backends.cuda.cudnn.builder import Builder
from toolkit.backends.cuda.cudnn.graph import Shape, Tensor, row_major
from toolkit.backends.cuda.cudnn.graph_constants import PointwiseMode, ReductionOperator

HIDDEN = -(2.0**30)  # what the scores of later keys become: unlike infinity it leaves every step finite


@dataclass(frozen=True, slots=True)
class Scored:
    """What the scores are made of: queries, keys (turned), and a mask that broadcasts to the scores."""

    q: Tensor
    k: Tensor
    mask: Tensor | None
    scale: float
    is_causal: bool

    @property
    def grid(self) -> Shape:
        """The shape of the scores."""
        return (*self.q.shape[:3], self.k.shape[3])

    @property
    def rows(self) -> Shape:
        """One number for each query."""
        return (*self.q.shape[:3], 1)


def attention(builder: Builder, given: Scored, v: Tensor, y: Tensor, logarithm: Tensor) -> None:
    """``y`` is the weighted sum of the values, ``logarithm`` that of the sum of the scores' exponentials."""
    scores = _scores(builder, given)
    largest = _reduced(builder, ReductionOperator.MAX, scores, given)
    powers = builder.pointwise(PointwiseMode.EXP, builder.pointwise(PointwiseMode.SUB, scores, largest))
    total = _reduced(builder, ReductionOperator.ADD, powers, given)
    builder.pointwise(PointwiseMode.ADD, largest, builder.pointwise(PointwiseMode.LOG, total), into=logarithm)
    builder.matmul(builder.pointwise(PointwiseMode.DIV, powers, total, dtype=v.dtype), v, y)


def attention_gradient(
    builder: Builder, given: Scored, v: Tensor, y: Tensor, logarithm: Tensor, g: Tensor, into: tuple[Tensor, ...]
) -> None:
    """The gradients of queries, keys and values from ``g``, that of y; ``v`` is turned, the results are not."""
    dq, dk, dv = into
    means = _reduced(builder, ReductionOperator.ADD, builder.pointwise(PointwiseMode.MUL, g, y), given)
    scores = _scores(builder, given)
    weights = builder.pointwise(PointwiseMode.EXP, builder.pointwise(PointwiseMode.SUB, scores, logarithm))
    builder.matmul(builder.turned(weights, g.dtype), g, dv)
    slopes = builder.matmul(g, v, builder.virtual(given.grid, row_major(given.grid)))
    slopes = builder.pointwise(PointwiseMode.MUL, builder.pointwise(PointwiseMode.SUB, slopes, means), weights)
    slopes = builder.pointwise(PointwiseMode.MUL, slopes, builder.number(given.scale, 4), dtype=g.dtype)
    builder.matmul(slopes, builder.turned(given.k, g.dtype), dq)
    builder.matmul(builder.turned(slopes, g.dtype), given.q, dk)


def _scores(builder: Builder, given: Scored) -> Tensor:
    scores = builder.matmul(given.q, given.k, builder.virtual(given.grid, row_major(given.grid)))
    scores = builder.pointwise(PointwiseMode.MUL, scores, builder.number(given.scale, 4))
    if given.mask is not None:
        scores = builder.pointwise(PointwiseMode.ADD, scores, given.mask)
    if given.is_causal:
        seen = builder.comparison(PointwiseMode.CMP_GE, builder.position(scores, 2), builder.position(scores, 3))
        scores = builder.pointwise(PointwiseMode.BINARY_SELECT, scores, builder.number(HIDDEN, 4), chooser=seen)
    return scores


def _reduced(builder: Builder, operator: ReductionOperator, x: Tensor, given: Scored) -> Tensor:
    return builder.reduction(operator, x, builder.virtual(given.rows, row_major(given.rows)))
