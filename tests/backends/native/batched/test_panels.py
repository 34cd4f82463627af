"""Right factors in panels, from rows or from columns that lie densely, or from neither."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.compiled import run
from toolkit.backends import native
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.batched.panels import Matrix, pack, panels_of
from toolkit.backends.native.products.tile import width

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)


@pytest.mark.parametrize("strides", ["rows", "columns", "neither"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (17, 16), (9, 43)], ids=str)
def test_every_element_has_its_place(size: tuple[int, int], strides: str) -> None:
    depth, columns = size
    row, column = {"rows": (columns + 3, 1), "columns": (1, depth + 2), "neither": (2, 2 * depth + 1)}[strides]
    source = np.arange((depth - 1) * row + (columns - 1) * column + 1, dtype=np.float32)
    found = np.zeros((panels_of(columns), depth, width()), np.float32)
    code = Code(2)
    pack(code, Matrix(code.places[0], code.index(0), row, column), depth, columns, code.places[1], code.index(0))
    run(code, [source, found])
    wanted = np.arange(depth)[:, None] * row + np.arange(columns) * column
    np.testing.assert_array_equal(found.transpose(1, 0, 2).reshape(depth, -1)[:, :columns], wanted)
