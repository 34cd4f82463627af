"""Every kernel of our own, compiled for the host by g++ and run on the case rows: its arithmetic, without a device.

What the CUDA backend accepts of the rows is lowered, launched thread by thread, and compared with the references. All
memory that a kernel is to write holds NaN before. Without a compiler the rows are still lowered to text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from tests.cases import all_cases
from tests.cuda.host import COMPILER, HostKernels
from tests.support.case import BATCH_SIZES, Case, is_float
from tests.support.interpret import apply, build
from toolkit.backends.cuda.launch import SourceKernel
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.registry import KERNELS
from toolkit.backends.protocol import Resources
from toolkit.compiler.program import Node

RANDOM = ("Dropout",)  # has tests of its own
FEWEST_ROWS = 400  # of cases that a kernel of ours must serve; there are more


@dataclass(frozen=True)
class Row:
    """A case at a batch size, lowered."""

    case: Case
    batch: int
    node: Node
    kernel: SourceKernel


def lowered(node: Node) -> SourceKernel | None:
    """The node by a kernel of our own, ``None`` where there is none."""
    entry = KERNELS.entry_of(node)
    if entry is None or entry.lower.__module__.split(".")[-1] not in OURS:
        return None
    given = [None if item is None else on_device(item.dtype, item.shape) for item in node.inputs]
    kernel = entry.lower(node, given, Resources(1))
    return kernel if isinstance(kernel, SourceKernel) else None


OURS = (
    *("elementwise", "reduction", "movement", "embedding", "optimization", "rows", "loss", "dropout", "resampling"),
    "temporal_classification",
)


def rows() -> Iterator[Row]:
    for case in all_cases():
        if case.is_data_dependent or case.operator in RANDOM:
            continue
        if not KERNELS.entries(case.domain, case.operator):
            continue
        for batch in BATCH_SIZES:
            arrays = case.arrays(batch)
            node = build(case, arrays, batch)[1]
            kernel = lowered(node)
            if kernel is not None:
                yield Row(case, batch, node, kernel)


@pytest.fixture(scope="module")
def found() -> list[Row]:
    return list(rows())


def test_many_rows_are_served(found):
    assert len({row.case.id for row in found}) >= FEWEST_ROWS


@pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile the kernels for the host")
def test_every_kernel_computes_what_the_reference_does(found, tmp_path):
    compiled = HostKernels([launch.function for row in found for launch in row.kernel.launches], tmp_path)
    wrong = []
    for row in found:
        arrays = row.case.arrays(row.batch)
        expected = apply(row.node.domain, row.node.op_type, row.node.version, arrays, row.node.attributes)
        read = [array if layout is not None else None for array, layout in zip(arrays, row.kernel.inputs, strict=True)]
        made = compiled.run(row.kernel, read)
        wrong += [
            f"{row.case.id} at {row.batch}, output {number}: {fault}"
            for number, (got, wanted) in enumerate(zip(made, expected, strict=False))
            if got is not None and (fault := difference(got, wanted))
        ]
    assert not wrong, "\n".join(wrong[:20])


def difference(found: np.ndarray, expected: np.ndarray) -> str:
    """How the two differ, empty if they do not: floats by more than their precision, all else at all."""
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        return f"{found.dtype} {found.shape} instead of {expected.dtype} {expected.shape}"
    if not is_float(expected.dtype):
        return "" if np.array_equal(found, expected) else f"{found} instead of {expected}"
    tolerance = {2: 1e-2, 4: 1e-5, 8: 1e-9 if expected.dtype == np.float64 else 1e-5}[expected.dtype.itemsize]
    one, other = found.astype(np.float64), expected.astype(np.float64)
    scale = np.abs(other[np.isfinite(other)]).max(initial=1e-6)
    close = np.isclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
    return "" if close.all() else f"{one[~close][:5]} instead of {other[~close][:5]}"
