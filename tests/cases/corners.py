"""The same corners for every family: ranks 0 to 5, tensors without elements, float64, stretching on both sides.

What is special to one operator stands in the table of its family.
"""

from __future__ import annotations

from typing import Any

from tests.support.case import Case, Given, Size, constant, integers, spread, uniform

SIZES: tuple[Size, ...] = ("N", 2, 1, 3, 2)
ELEMENTWISE = [
    "Relu",
    "Sigmoid",
    "Tanh",
    "Gelu",
    "HardSwish",
    "Softplus",
    "Abs",
    "Exp",
    "Neg",
    "Erf",
    "Clip",
    "Identity",
]
BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu"]
REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp"]


def row(
    operator: str, *inputs: Given | None, note: str, version: int = 23, outputs: int = 1, **attributes: Any
) -> Case:
    return Case(operator, list(inputs), attributes, version=version, outputs=outputs, note=f"corner {note}")


def elementwise() -> list[Case]:
    """Every rank; none, and one, of the elements."""
    shapes = [SIZES[:rank] for rank in range(6)]
    rows = [
        row(operator, spread(*shape, dtype="float64" if len(shape) % 2 else "float32"), note=f"rank {len(shape)}")
        for number, operator in enumerate(ELEMENTWISE)
        for shape in (shapes[number % 6], shapes[(number + 3) % 6])
    ]
    return rows + [row(operator, uniform("N", 0, 2), note="nothing") for operator in ELEMENTWISE]


def binary() -> list[Case]:
    """Both operands stretched, a scalar on either side, five axes, nothing at all."""
    positive = {"low": 0.4, "high": 2.0}
    rows = []
    for operator in BINARY:
        rows += [
            row(operator, spread("N", 2, 1, 3, 2, **positive), uniform(3, 1, dtype="float32"), note="rank 5"),
            row(operator, uniform("N", 0, 3, **positive), uniform(1, 3), note="nothing"),
            row(operator, uniform(**positive), uniform(), note="scalars"),
            row(operator, spread("N", 3, dtype="float64", **positive), spread(3, dtype="float64"), note="double"),
        ]
        if operator != "PRelu":  # its slope is what is stretched
            rows += [
                row(operator, uniform(low=2.5, high=3.0), uniform("N", 3), note="scalar first"),
                row(operator, spread("N", 1, 3, **positive), spread(2, 1, low=0.5, high=1.7), note="both stretched"),
            ]
    return rows


def reductions() -> list[Case]:
    """Scalars, axes from the end, nothing to reduce and nothing left."""
    rows = []
    for operator in REDUCTIONS:
        rows += [
            row(operator, uniform(low=0.5), note="scalar"),
            row(operator, spread("N", 2, 1, 3, 2, low=0.3), constant([-1, -4]), keepdims=0, note="rank 5"),
            row(operator, spread("N", low=0.3, dtype="float64"), constant([-1]), note="rank 1"),
            row(operator, uniform("N", 3, 0), constant([1]), note="nothing"),
        ]
    rows += [row(name, uniform("N", 0), constant([-1]), note="of nothing") for name in ("ReduceSum", "ReduceProd")]
    rows += [
        row(name, *given, note=note, **attributes)
        for name in ("Softmax", "LogSoftmax")
        for note, given, attributes in (
            ("rank 1", (uniform(5, dtype="float64"),), {}),
            ("rank 5", (uniform("N", 2, 1, 3, 2),), {"axis": -2}),
            ("nothing", (uniform("N", 0, 3),), {"axis": 1}),
        )
    ]
    return rows


def linear() -> list[Case]:
    """Vectors, stacks that stretch on both sides, inner sizes of 0."""
    return [
        row("MatMul", uniform(4), uniform(4), note="vectors"),
        row("MatMul", uniform(4), uniform("N", 4, 2), note="vector first"),
        row("MatMul", uniform("N", 2, 4), uniform(4), note="vector last"),
        row("MatMul", uniform(2, 1, 2, 3), uniform("N", 3, 2), note="both stretched"),
        row("MatMul", uniform("N", 0), uniform(0, 3), note="no terms"),
        row("MatMul", uniform(0, 3), uniform(3, 2), note="no rows"),
        row("MatMul", uniform("N", 3, dtype="float64"), uniform(3, 2, dtype="float64"), note="double"),
        row("Gemm", uniform("N", 3), uniform(3, 2), uniform(), note="scalar C"),
        row("Gemm", uniform("N", 3), uniform(3, 2), uniform("N", 1), note="column C"),
        row("Gemm", uniform("N", 3), uniform(3, 0), note="no columns"),
        row("Einsum", uniform(), uniform("N", 2), equation=",ij->ji", note="scalar"),
        row("Einsum", uniform("N", 0), uniform(0, 2), equation="ij,jk->ik", note="no terms"),
    ]


def shapes() -> list[Case]:
    """Scalars, nothing, negative axes and indices."""
    return [
        row("Reshape", uniform(), constant([1, 1]), note="scalar"),
        row("Reshape", uniform("N", 0), constant([0, 3]), allowzero=1, note="nothing"),
        row("Squeeze", uniform(1, "N", 1), constant([-1, 0]), note="negative axes"),
        row("Unsqueeze", uniform(), constant([0, -1]), note="scalar"),
        row("Transpose", uniform("N", 2, 1, 3, 2), perm=[4, 0, 3, 1, 2], note="rank 5"),
        row("Transpose", uniform(), note="scalar"),
        row("Expand", uniform(), constant([2, 0]), note="nothing"),
        row("Expand", uniform(3, 1), constant([2, 1, 4]), note="both stretched"),
        row("Concat", uniform("N", 0), uniform("N", 2), axis=-1, note="with nothing"),
        row("Slice", uniform("N", 5), constant([-1]), constant([-9]), constant([-1]), constant([-2]), note="backwards"),
        row("Slice", uniform("N", 5), constant([3]), constant([3]), constant([-1]), note="nothing"),
        row("Gather", uniform("N", 5), constant([-1, 0, -1]), axis=-1, note="negative, twice"),
        row("Gather", uniform("N", 5), constant([], "int64"), axis=-1, note="nothing"),
        row("GatherElements", uniform("N", 5), integers("N", 3, low=-5, high=5), axis=-1, note="negative, twice"),
        row("GatherND", uniform(3, 2), constant([[-1, -2], [2, 0]]), note="negative, twice"),
        row("ScatterElements", uniform(1, 5), constant([[-1, 1]]), uniform(1, 2), axis=-1, note="negative"),
        row("Where", constant(True), uniform("N", 1), uniform(3), note="both stretched"),
        row("Where", constant([[True], [False]]), uniform(), uniform("N", 1, 3), note="scalar"),
        row("CumSum", uniform("N", 2, 3), constant(-2), note="negative axis"),
        row("CumSum", uniform("N", 0), constant(1), note="nothing"),
        row("CumProd", uniform(4), constant(-1), version=26, note="rank 1"),
        row("Tile", uniform("N", 2), constant([1, 0]), note="nothing"),
        row("Pad", uniform("N", 4), constant([-1, 2]), None, constant([-1]), note="negative"),
        row("Sum", uniform(2, 1), uniform("N", 1, 3), uniform(), note="all stretched"),
        row("Mean", uniform(2, 1), uniform("N", 1, 3), uniform(), note="all stretched"),
        row("TopK", uniform("N", 5), constant([0]), axis=-1, outputs=2, note="nothing"),
        row("LayerNormalization", uniform(5), uniform(5), note="rank 1"),
        row("LayerNormalization", uniform("N", 2, 3), uniform(3), None, axis=-1, note="no bias"),
        row("RMSNormalization", uniform("N", 2, 3), uniform(2, 3), axis=-2, note="negative axis"),
    ]


CASES = [*elementwise(), *binary(), *reductions(), *linear(), *shapes()]
