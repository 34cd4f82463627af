"""Lattices that are wider than a block of threads, numbers of other widths, and symbols that are no class."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.cuda.host import COMPILER, HostKernels
from tests.cuda.test_kernels_on_host import difference, lowered
from tests.support.interpret import apply
from toolkit.backends.cuda.launch import SourceKernel
from toolkit.compiler.program import Node, Program, Variable

BATCH, STEPS, CLASSES = 3, 290, 7
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile the kernels for the host")
Rows = list[tuple[Node, list[np.ndarray], SourceKernel]]


def arrays_of(dtype: np.dtype, steps: int, longest: int) -> list[np.ndarray]:
    """g, log-probabilities, targets and lengths; the last row is shorter than the others."""
    random = np.random.default_rng(0)
    scores = random.standard_normal((BATCH, steps, CLASSES))
    scores -= np.log(np.exp(scores).sum(axis=2, keepdims=True))
    targets = random.integers(1, CLASSES, (BATCH, longest))
    lengths = np.array([steps, steps, max(1, steps // 2)]), np.array([longest, longest // 2, longest // 4])
    return [random.standard_normal(BATCH).astype(dtype), scores.astype(dtype), targets, *lengths]


def rows(dtype: np.dtype, steps: int, longest: int) -> Rows:
    """The loss and its gradient."""
    arrays, found = arrays_of(dtype, steps, longest), []
    for operator, given in (("CTCLoss", arrays[1:]), ("CTCLossGradient", arrays)):
        variables = [Variable(f"x{index}", item.dtype, item.shape) for index, item in enumerate(given)]
        node = Program().append(operator, variables, {}, domain="toolkit")
        kernel = lowered(node)
        assert kernel is not None
        found.append((node, given, kernel))
    return found


@needs_compiler
def test_wide_lattices_and_other_types(tmp_path: Path) -> None:
    types = [np.dtype(item) for item in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)]
    found = [row for dtype in types for row in rows(dtype, 12, 4)] + rows(types[0], STEPS, 140) + rows(types[1], 3, 0)
    compiled = HostKernels([launch.function for *_, kernel in found for launch in kernel.launches], tmp_path)
    for node, arrays, kernel in found:
        expected = apply(node.domain, node.op_type, node.version, arrays, {})[0]
        (made,) = compiled.run(kernel, arrays)
        assert made is not None
        assert not difference(made, expected), f"{node} {arrays[-4].shape} {expected.dtype}"


@needs_compiler
def test_a_symbol_that_is_no_class_makes_the_loss_not_a_number(tmp_path: Path) -> None:
    (_, arrays, kernel), (_, given, gradient) = rows(np.dtype(np.float32), 12, 4)
    arrays[1][0, 2] = CLASSES
    compiled = HostKernels([item.function for own in (kernel, gradient) for item in own.launches], tmp_path)
    (made,), (slope,) = compiled.run(kernel, arrays), compiled.run(gradient, given)
    assert made is not None and np.isnan(made).tolist() == [True, False, False]
    assert slope is not None and np.isfinite(slope).all() and not slope[0].any()


def test_lengths_that_are_no_integers_are_left_to_the_host() -> None:
    shapes = [((BATCH, 4, CLASSES), np.float32), ((BATCH, 2), np.int64), ((BATCH,), np.float32), ((BATCH,), np.float32)]
    variables = [Variable(f"x{index}", np.dtype(kind), shape) for index, (shape, kind) in enumerate(shapes)]
    assert lowered(Program().append("CTCLoss", variables, {}, domain="toolkit")) is None
