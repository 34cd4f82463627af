"""Normalizer by rows; Scaler, Imputer and Binarizer element by element, their numbers repeated as the elements lie.

Refused: element types that the references convert in ways of their own, and numbers that do not fit the features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, FLOATS, INDEX, Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.ml.rows import Row
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.ml.rows import DOMAIN, row_shape
from toolkit.operators.ml.scaling import NORMS, imputed_values, per_feature

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
MOST_FEATURES = 1 << 16  # elements of a row: tables repeat their numbers for each


def is_normalizer(node: Node) -> bool:
    """Whether the node divides rows of numbers by a norm that there is."""
    is_served = is_of_numbers(node) and node.x.dtype != BOOLEAN and len(node.x.shape) in (1, 2)
    return is_served and node.attributes.get("norm", "MAX") in NORMS


@kernel(DOMAIN, "Normalizer", accepts=is_normalizer)
def lower_normalizer(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Every row over its largest element, the sum of its magnitudes, or its length."""
    x, norm = node.x, node.attributes.get("norm", "MAX")
    rows, features = row_shape(x.shape)
    dtype = FLOAT64 if x.dtype == FLOAT64 else FLOAT32
    code = Code(3)
    source, target, workspace = code.places
    least = float(np.finfo(np.float32).min)
    row = Row(code, workspace, features, dtype, filler=least if norm == "MAX" else 0.0)
    rest = features % row.lanes
    with code.loop(rows) as index:
        start = index * features
        row.copy(source, start, x.dtype)
        if norm == "MAX":
            size = row.reduced(least, Number.larger).largest_lane()
        elif norm == "L1":
            size = row.reduced(0.0, lambda total, item: total + item.absolute()).sum_of_lanes()
        else:
            size = row.reduced(0.0, lambda total, item: item.times_plus(item, total)).sum_of_lanes().square_root()
        divisor = size.equals(0.0).choose(size.like(1.0), size).spread(row.lanes)
        with code.loop(features - rest, row.lanes) as at:
            quotient = code.load(workspace, at, dtype, row.lanes) / divisor
            code.store(quotient.converted(FLOAT32), target, start + at)
        if rest:
            quotient = code.load(workspace, features - rest, dtype, row.lanes) / divisor
            code.store_some(quotient.converted(FLOAT32), target, start + (features - rest), rest)
    given, made = plain(x.dtype, x.shape), plain(FLOAT32, x.shape)
    return CompiledKernel(code, [given], [made], workspace=row.width * dtype.itemsize, in_place=_over(given, made))


def _over(given: Layout, made: Layout) -> list[tuple[int, int]]:
    """The result may be written over the input where elements are of the same type."""
    return [(0, 0)] if given.dtype == made.dtype else []


# element by element ---------------------------------------------------------------------------------------------------

Function = Callable[..., Number]


def _is_tabled(node: Node, *values: Sequence[Any] | None) -> bool:
    """Whether there is one number for all or one for each feature, and rows are short enough to repeat them."""
    shape = node.x.shape
    features = shape[min(1, len(shape) - 1)] if shape else 0
    is_short = math.prod(shape[1:] if len(shape) > 1 else shape) <= MOST_FEATURES
    return is_short and all(item is not None and len(item) in (1, features) for item in values)


def is_scaler(node: Node) -> bool:
    """Whether the node scales numbers, with an offset and a factor for each feature or for all."""
    is_served = is_of_numbers(node) and node.x.dtype != BOOLEAN
    return is_served and _is_tabled(node, node.attributes.get("offset"), node.attributes.get("scale"))


@kernel(DOMAIN, "Scaler", accepts=is_scaler)
def lower_scaler(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``(x - offset) * scale``."""
    dtype = FLOAT64 if node.x.dtype == FLOAT64 else FLOAT32
    tables = [per_feature(node.attributes[name], node.x.shape, name, dtype) for name in ("offset", "scale")]

    def scale(x: Number, offset: Number, factor: Number) -> Number:
        return ((x.converted(dtype) - offset) * factor).converted(FLOAT32)

    return _mapped(node, tables, scale)


def is_imputer(node: Node) -> bool:
    """Whether the node replaces elements of a type that has its own attributes."""
    if not is_of_numbers(node) or node.x.dtype not in (FLOAT32, FLOAT64, INDEX) or not node.x.shape:
        return False
    return _is_tabled(node, imputed_values(node.x.shape, node.attributes, node.x.dtype))


@kernel(DOMAIN, "Imputer", accepts=is_imputer)
def lower_imputer(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The imputed value of the feature where an element is the replaced one, which may be NaN."""
    x, attributes = node.x, node.attributes
    values = per_feature(imputed_values(x.shape, attributes, x.dtype), x.shape, "imputed", x.dtype)
    replaced = attributes.get(f"replaced_value_{'float' if x.dtype in FLOATS else 'int64'}", 0)

    def impute(item: Number, imputed: Number) -> Number:
        is_replaced = item.differs(item) if np.isnan(replaced) else item.equals(replaced)
        return is_replaced.choose(imputed, item)

    return _mapped(node, [values], impute)


def is_binarizer(node: Node) -> bool:
    """Whether the node compares floats."""
    return is_of_numbers(node) and node.x.dtype in FLOATS


@kernel(DOMAIN, "Binarizer", accepts=is_binarizer)
def lower_binarizer(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """1 above the threshold, else 0."""
    threshold = np.float32(node.attributes.get("threshold", 0.0))
    return _mapped(node, [], lambda x: (x > float(threshold)).choose(x.like(1), 0))


def _mapped(node: Node, values: Sequence[np.ndarray], function: Function) -> Kernel:
    """A function of each element and of one number out of each of ``values``, which broadcast against a row."""
    x, y = node.x, node.y
    is_known = all(item.size == 1 for item in values)
    rows, period = (1, x.size) if is_known or len(x.shape) == 1 else (x.shape[0], x.size // x.shape[0])
    row_of = x.shape if len(x.shape) == 1 else x.shape[1:]
    tables = [np.ascontiguousarray(np.broadcast_to(item, row_of)).reshape(-1) for item in values if not is_known]
    types = {x.dtype, y.dtype, *(item.dtype for item in values)}
    lanes = min(period, *(compiler().lanes(dtype) for dtype in types))
    code = Code(2 + len(tables))
    source, target, *places = code.places
    rest = period % lanes

    def piece(start: Number, at: Number, count: int) -> None:
        if is_known:
            numbers = [code.constant(item.reshape(-1)[0], item.dtype, lanes) for item in values]
        else:
            numbers = [
                code.load_some(place, at, item.dtype, count, lanes) for place, item in zip(places, tables, strict=True)
            ]
        given = code.load_some(source, start + at, x.dtype, count, lanes)
        code.store_some(function(given, *numbers), target, start + at, count)

    with code.loop(rows) as row:
        start = row * period
        with code.loop(period - rest, lanes) as at:
            piece(start, at, lanes)
        if rest:
            piece(start, code.index(period - rest), rest)
    given, made = plain(x.dtype, x.shape), plain(y.dtype, y.shape)
    return CompiledKernel(code, [given], [made], tables=tables, in_place=_over(given, made))
