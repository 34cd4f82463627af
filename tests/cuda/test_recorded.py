"""Every case row that a family of cuDNN or cublasLt accepts is lowered, bound and run against a recording library."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from tests.backends.test_parity import EXTRA
from tests.cases import all_cases
from tests.cuda.nodes import bound, entry_of, lowered, node_of
from tests.cuda.recorder import Recorder
from tests.support.case import Case

MODULES = ("attention", "convolution", "linear", "pooling", "softmax", "normalization")
LEAST = {"attention": 1, "convolution": 60, "linear": 26, "pooling": 20, "softmax": 12, "normalization": 2}
EXECUTED = ("cudnnBackendExecute", "cublasLtMatmul", "cudnnSoftmax", "cudnnBatchNormalization")


@cache
def rows(module: str) -> tuple[Case, ...]:
    """The cases that a family accepts."""
    cases = [*all_cases(), *EXTRA]
    return tuple(case for case in cases if not case.is_data_dependent and _entry(case, module) is not None)


def _entry(case: Case, module: str) -> object:
    try:
        return entry_of(node_of(case, 3), f".{module}")
    except (TypeError, AttributeError):  # rows of sequences and maps are no nodes for a device
        return None


@pytest.mark.parametrize("module", MODULES)
def test_every_accepted_row_runs(module: str) -> None:
    for case in rows(module):
        recorder = Recorder()
        kernel = lowered(node := node_of(case, 3), entry_of(node, f".{module}"), recorder.resources())
        step, *_ = bound(kernel)
        recorder.calls.clear()
        assert not step(), case.id
        assert recorder.calls and all(name.startswith(EXECUTED) for name, _ in recorder.calls), case.id
        assert [None if item is None else item.shape for item in kernel.outputs] == [
            None if item is None or layout is None else item.shape
            for item, layout in zip(node.outputs, kernel.outputs, strict=True)
        ], case.id
        assert kernel.name and kernel.workspace >= 0


@pytest.mark.parametrize("module", MODULES)
def test_a_family_accepts_what_it_did(module: str) -> None:
    assert len(rows(module)) >= LEAST[module], Counter(case.operator for case in rows(module))


def test_sums_around_a_normalisation_stay_nodes_of_their_own() -> None:
    notes = {case.note for case in rows("normalization") if case.operator.startswith("BatchNormalization")}
    assert "Relu" in notes
    assert not notes & {"residual", "residual and Relu", "of a sum", "of a sum, behind Relu"}
