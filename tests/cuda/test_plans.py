"""Every graph that the case rows need has a plan of cuDNN's for an H200, without TF32 where float32 is to be exact."""

from __future__ import annotations

import pytest

from tests.cuda import offline
from tests.cuda.nodes import entry_of, lowered, node_of
from tests.cuda.test_recorded import rows
from tests.support.case import Case
from toolkit.backends.cuda.cudnn.session import INEXACT
from toolkit.backends.cuda.parts import GraphPart, PartsKernel

REASON = None if not isinstance(offline.session(), str) else offline.session()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"cuDNN cannot choose here: {REASON}")
FAMILIES = ("convolution", "pooling", "normalization")


def plans(case: Case, module: str, strict: bool) -> list[GraphPart]:
    node = node_of(case, 3)
    entry = entry_of(node, f".{module}")
    assert entry is not None
    kernel = lowered(node, entry, offline.resources(strict))
    assert isinstance(kernel, PartsKernel)
    return [part for part in kernel.parts if isinstance(part, GraphPart)]


@pytest.mark.parametrize("strict", [True, False], ids=["exact", "TF32"])
@pytest.mark.parametrize("module", FAMILIES)
def test_every_row_has_plans(module: str, strict: bool) -> None:
    for case in rows(module):
        for part in plans(case, module, strict):
            is_exact = not part.plan.notes & INEXACT
            assert is_exact or not strict or not part.plan.graph.is_contraction, case.id
