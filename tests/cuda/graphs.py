"""Graphs of cuDNN computed on host memory, operation by operation, by their tensors' addresses, sizes and strides."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.cuda.recorder import Recorder
from toolkit.backends.cuda.cudnn.graph import DATA_TYPES, Graph, Record, Tensor
from toolkit.backends.cuda.cudnn.graph_constants import DataType, PointwiseMode, ReductionOperator

DTYPES = {kind: dtype for dtype, kind in DATA_TYPES.items()}
POINTWISE: dict[PointwiseMode, Callable[..., np.ndarray]] = {
    PointwiseMode.ADD: np.add,
    PointwiseMode.SUB: np.subtract,
    PointwiseMode.MUL: np.multiply,
    PointwiseMode.DIV: np.divide,
    PointwiseMode.EXP: np.exp,
    PointwiseMode.LOG: np.log,
    PointwiseMode.CMP_GE: np.greater_equal,
}
REDUCTIONS: dict[ReductionOperator, Callable[..., np.ndarray]] = {
    ReductionOperator.ADD: np.sum,
    ReductionOperator.MAX: np.max,
}
WIDE = np.float32


class Computing(Recorder):
    """A library that computes ``graph`` when a plan is executed, whichever plan that is."""

    graph: Graph

    def _backend_execute(self, handle: int, plan: int, pack: int) -> int:
        super()._backend_execute(handle, plan, pack)
        given = self.made[pack].attributes
        compute(
            self.graph,
            dict(zip(given["VARIANT_PACK_UNIQUE_IDS"], given["VARIANT_PACK_DATA_POINTERS"], strict=True)),
        )
        return 0


def compute(graph: Graph, addresses: Mapping[int, int]) -> None:
    """Execute the operations; what is virtual is rounded to its type as well."""
    values: dict[int, np.ndarray] = {}

    def read(tensor: Tensor) -> np.ndarray:
        if tensor.value is not None:
            number = ctypes.c_float.from_address(addresses[tensor.uid]).value
            return np.full(tensor.shape, number, WIDE)
        found = values[tensor.uid] if tensor.is_virtual else view(tensor, addresses[tensor.uid])
        return found if tensor.dtype in (DataType.BOOLEAN, DataType.INT32) else found.astype(WIDE)

    for item in graph.operations:
        operands = dict(item.tensors())
        target = operands.pop("YDESC" if "YDESC" in operands else "CDESC")
        result = np.broadcast_to(OPERATIONS[item.kind](item, operands, target, read), target.shape)
        if target.is_virtual:
            values[target.uid] = result.astype(DTYPES[target.dtype])
        else:
            view(target, addresses[target.uid])[...] = result


def view(tensor: Tensor, address: int) -> np.ndarray:
    """Memory as the tensor says that it lies."""
    dtype = DTYPES[tensor.dtype]
    memory = np.ctypeslib.as_array((ctypes.c_byte * tensor.nbytes).from_address(address)).view(dtype)
    strides = [dtype.itemsize * stride for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(memory, tensor.shape, strides)


def _matmul(item: Record, operands: dict[str, Tensor], target: Tensor, read: Any) -> np.ndarray:
    return np.matmul(read(operands["ADESC"]), read(operands["BDESC"]))


def _pointwise(item: Record, operands: dict[str, Tensor], target: Tensor, read: Any) -> np.ndarray:
    form = dict(dict(item.settings)["PW_DESCRIPTOR"].settings)
    mode, x = form["MODE"], operands["XDESC"]
    if mode is PointwiseMode.GEN_INDEX:
        sizes = [size if axis == form["AXIS"] else 1 for axis, size in enumerate(x.shape)]
        return np.arange(x.shape[form["AXIS"]]).reshape(sizes)
    if mode is PointwiseMode.BINARY_SELECT:
        return np.where(read(operands["TDESC"]), read(x), read(operands["BDESC"]))
    return POINTWISE[mode](*(read(operands[name]) for name in ("XDESC", "BDESC") if name in operands))


def _reduction(item: Record, operands: dict[str, Tensor], target: Tensor, read: Any) -> np.ndarray:
    form = dict(dict(item.settings)["DESC"].settings)
    x = read(operands["XDESC"])
    axes = tuple(axis for axis, size in enumerate(target.shape) if size == 1)
    return REDUCTIONS[form["OPERATOR"]](x, axis=axes, keepdims=True)


def _reshape(item: Record, operands: dict[str, Tensor], target: Tensor, read: Any) -> np.ndarray:
    """Laid into memory as the one tensor lies, and seen as the other does."""
    x = operands["XDESC"]
    memory = np.zeros(x.nbytes, WIDE)
    strides = [memory.itemsize * stride for stride in x.strides]
    np.lib.stride_tricks.as_strided(memory, x.shape, strides)[...] = read(x)
    strides = [memory.itemsize * stride for stride in target.strides]
    return np.lib.stride_tricks.as_strided(memory, target.shape, strides).copy()


OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    "OPERATION_MATMUL": _matmul,
    "OPERATION_POINTWISE": _pointwise,
    "OPERATION_REDUCTION": _reduction,
    "OPERATION_RESHAPE": _reshape,
}
