"""What TopK refuses."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.operators.standard.ranking import top_k


@pytest.mark.parametrize("k", [4, -1])
def test_no_more_is_taken_than_there_is(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must lie in \[0, 3\], the size of axis -1, got {k}"):
        top_k(np.zeros((2, 3), np.float32), np.array([k]))
