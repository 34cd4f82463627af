"""Products as cublasLt would compute them: the recorded descriptions, read literally, give what the reference says."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tests.cuda.nodes import Somewhere, entry_of, lowered, node_of
from tests.cuda.recorder import Recorder
from tests.cuda.test_recorded import rows
from tests.support.case import Case
from tests.support.interpret import apply
from tests.support.rows import each_row
from toolkit.backends.cuda.cublaslt import Epilogue
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.parts import GraphPart, PartsKernel


class Multiplier(Recorder):
    """Executes products on host memory, column by column as cublasLt counts."""

    def execute(self, arguments: tuple[Any, ...]) -> None:
        _, description, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d, *_ = arguments
        asked = {name: value[0] for name, value in self.made[description].attributes.items()}
        epilogue = Epilogue(asked["EPILOGUE"])
        left, right = self._matrices(a, of_a), self._matrices(b, of_b)
        left = left.swapaxes(1, 2) if asked["TRANSA"] else left
        right = right.swapaxes(1, 2) if asked["TRANSB"] else right
        result = _number(alpha) * (left @ right)
        if _number(beta):
            result = result + _number(beta) * self._matrices(c, of_c)
        if epilogue & Epilogue.BIAS:
            rows = result.shape[1]
            result = result + _floats(asked["BIAS_POINTER"], rows)[None, :, None]
        result = np.maximum(result, 0) if epilogue & Epilogue.RELU else result
        if epilogue & Epilogue.GELU:
            result = 0.5 * result * (1 + np.tanh(np.sqrt(2 / np.pi) * (result + 0.044715 * result**3)))
        self._matrices(d, of_d)[...] = result

    def _matrices(self, address: int, number: int) -> np.ndarray:
        """(batch, rows, columns) over memory, by the description of a matrix."""
        made = self.made[number].attributes
        kind, rows, columns, leading = made["sizes"]
        assert kind == 0 and leading >= rows
        batch, step = made.get("BATCH_COUNT", [1])[0], made.get("STRIDED_BATCH_OFFSET", [0])[0]
        reach = (batch - 1) * step + (columns - 1) * leading + rows
        return np.lib.stride_tricks.as_strided(
            _floats(address, reach), (batch, rows, columns), (4 * step, 4, 4 * leading)
        )


def _floats(address: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


def _number(address: int) -> float:
    return ctypes.c_float.from_address(address).value


def is_whole(kernel: PartsKernel) -> bool:
    """Whether cublasLt does all of it."""
    return not any(isinstance(part, GraphPart) for part in kernel.parts)


def run(case: Case, batch: int) -> np.ndarray | None:
    """The result, ``None`` where something is left to cuDNN."""
    recorder, node = Multiplier(), node_of(case, batch)
    entry = entry_of(node, ".linear")
    assert entry is not None
    kernel = lowered(node, entry, recorder.resources())
    assert isinstance(kernel, PartsKernel)
    if not is_whole(kernel):
        return None
    arrays = [None if item is None else np.array(item) for item in case.arrays(batch)]
    result = np.full(node.y.shape, np.nan, np.float32)
    inputs = [
        None if item is None else Somewhere(on_device(item.dtype, item.shape), item.ctypes.data) for item in arrays
    ]
    output = Somewhere(on_device(result.dtype, result.shape), result.ctypes.data)
    step = kernel.bind(inputs, [output], Somewhere(on_device(np.dtype(np.uint8), (0,)), 0))
    recorder.calls.clear()
    step()
    for arguments in recorder.named("cublasLtMatmul"):
        recorder.execute(arguments)
    return result


FLOATS = [case for case in rows("linear") if node_of(case, 3).y.dtype == np.float32]


@each_row(FLOATS)
def test_products_are_those_of_the_reference(case: Case) -> None:
    for batch in (1, 3):
        found = run(case, batch)
        if found is not None:
            attributes = case.bound_attributes(batch)
            expected = apply(case.domain, case.operator, case.version, case.arrays(batch), attributes)[0]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_most_products_need_nothing_else() -> None:
    assert sum(run(case, 3) is not None for case in FLOATS) >= 12
