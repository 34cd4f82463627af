"""Independent answers to operator cases: onnxruntime, onnx.reference, or a function that the case brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    RuntimeException,
)
from onnxruntime.capi.onnxruntime_pybind11_state import (
    NotImplemented as NoKernel,
)

from tests.support.case import Case
from toolkit.operators import wire
from toolkit.operators.schema import signature

IR_VERSION = 10
CANNOT_RUN = (Fail, InvalidArgument, InvalidGraph, NoKernel, RuntimeException, NotImplementedError)


def judged(case: Case, arrays: Sequence[np.ndarray | None], batch: int) -> list[np.ndarray]:
    """The outputs that the case's judge gives."""
    if callable(case.judge):
        result = case.judge(*arrays, **case.bound_attributes(batch))
        return [np.asarray(item) for item in (result if isinstance(result, tuple) else (result,))]
    assert case.domain != "toolkit", f"{case.id}: an operator of our own domain needs a judge of its own"
    model = one_node_model(case, arrays, batch)
    feeds = {f"x{index}": array for index, array in enumerate(arrays) if array is not None}
    if case.judge is not None:
        return JUDGES[case.judge](model, feeds)
    try:
        return by_onnxruntime(model, feeds)
    except CANNOT_RUN:
        return by_onnx_reference(model, feeds)


def one_node_model(case: Case, arrays: Sequence[np.ndarray | None], batch: int) -> onnx.ModelProto:
    """The case as an ONNX model whose constants are initializers."""
    known = signature(case.domain, case.operator, case.version)
    assert known is not None, f"{case.id}: ONNX has no such operator"
    names = ["" if array is None else f"x{index}" for index, array in enumerate(arrays)]
    outputs = [f"y{index}" for index in range(case.outputs)]
    attributes = case.bound_attributes(batch)
    node = onnx.NodeProto.FromString(wire.node(case.operator, names, outputs, attributes, known.attribute_types))
    node.domain = case.domain
    graph = onnx.GraphProto(name="case", node=[node])
    for name, given, array in zip(names, case.inputs, arrays, strict=True):
        if array is None or given is None:
            continue
        if given.is_constant:
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        else:
            kind = wire.element_type(array.dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    opset = onnx.helper.make_opsetid(case.domain, case.version)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def by_onnxruntime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """onnxruntime without graph optimizations. Raises one of ``CANNOT_RUN`` where it has no kernel."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {item.name for item in model.graph.input}
    return session.run(None, {name: array for name, array in feeds.items() if name in wanted})


def by_onnx_reference(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """onnx.reference on the same model."""
    wanted = {item.name for item in model.graph.input}
    fed = {name: array for name, array in feeds.items() if name in wanted}
    return list(ReferenceEvaluator(model).run(None, fed))


JUDGES: dict[str, Callable[[onnx.ModelProto, dict[str, np.ndarray]], list[np.ndarray]]] = {
    "onnxruntime": by_onnxruntime,
    "onnx.reference": by_onnx_reference,
}
