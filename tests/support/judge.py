"""Independent answers to operator cases: onnxruntime, onnx.reference, or a function that the case brings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import Message
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

from tests.support.case import Case, Value, is_float
from tests.support.interpret import BODY_OPSET
from toolkit.operators import wire
from toolkit.operators.schema import signature

IR_VERSION = 10
CANNOT_RUN = (Fail, InvalidArgument, InvalidGraph, NoKernel, RuntimeException, NotImplementedError)


def judged(case: Case, inputs: Sequence[Value], batch: int) -> list[Value]:
    """The outputs that the case's judge gives."""
    if callable(case.judge):
        result = case.judge(*inputs, **case.bound_attributes(batch))
        return list(result) if isinstance(result, tuple) else [result]
    assert case.domain != "toolkit", f"{case.id}: an operator of our own domain needs a judge of its own"
    model = one_node_model(case, inputs, batch)
    feeds = {f"x{index}": value for index, value in enumerate(inputs) if case.inputs[index] is not None}
    if case.judge is not None:
        return JUDGES[case.judge](model, feeds)
    try:
        return by_onnxruntime(model, feeds)
    except CANNOT_RUN:
        if signature(case.domain, case.operator, case.version) is None:
            raise
        return by_onnx_reference(model, feeds)


def one_node_model(case: Case, inputs: Sequence[Value], batch: int) -> onnx.ModelProto:
    """The case as an ONNX model whose constants are initializers."""
    names = ["" if given is None else f"x{index}" for index, given in enumerate(case.inputs)]
    outputs = [f"y{index}" for index in range(case.outputs)]
    graph = onnx.GraphProto(name="case", node=[node_of(case, names, outputs, case.bound_attributes(batch))])
    for name, given, value in zip(names, case.inputs, inputs, strict=True):
        if given is None:
            continue
        if given.is_constant:
            graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        else:
            graph.input.append(onnx.helper.make_value_info(name, type_of(value, given.type)))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    opsets = [onnx.helper.make_opsetid(case.domain, case.version)]
    if case.domain:
        opsets.append(onnx.helper.make_opsetid("", BODY_OPSET))
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def node_of(case: Case, names: Sequence[str], outputs: Sequence[str], attributes: dict[str, Any]) -> onnx.NodeProto:
    """The node; where ONNX has no schema, attributes are of the types that their values look like."""
    given = {name: value for name, value in attributes.items() if value is not None}
    known = signature(case.domain, case.operator, case.version)
    if known is not None:
        protos = {name: given.pop(name) for name, value in attributes.items() if isinstance(value, Message)}
        node = onnx.NodeProto.FromString(wire.node(case.operator, names, outputs, given, known.attribute_types))
        node.attribute.extend(onnx.helper.make_attribute(name, proto) for name, proto in protos.items())
    else:
        for name, value in given.items():
            if isinstance(value, np.ndarray):
                given[name] = onnx.numpy_helper.from_array(value)
        node = onnx.helper.make_node(case.operator, names, outputs, **given)
    node.domain = case.domain
    return node


def type_of(value: Value, name: str | None = None) -> onnx.TypeProto:
    """The type of ONNX's ``name`` (``seq(tensor(float))``), or the one that the value itself tells."""
    if name is not None:
        return named_type(name)
    if isinstance(value, list):
        return onnx.helper.make_sequence_type_proto(type_of(value[0]) if _is_map(value[0]) else _rankless(value[0]))
    if _is_map(value):
        key, content = next(iter(value.items()))
        keys = onnx.TensorProto.STRING if isinstance(key, str) else onnx.TensorProto.INT64
        return onnx.helper.make_map_type_proto(keys, _rankless(_in_single(np.asarray(content))))
    return onnx.helper.make_tensor_type_proto(wire.element_type(value.dtype), value.shape)


def named_type(name: str) -> onnx.TypeProto:
    """The type of that name in ONNX's spelling, of any rank."""
    kind, inner = re.fullmatch(r"(\w+)\((.*)\)", name).groups()
    if kind == "tensor":
        return onnx.helper.make_tensor_type_proto(onnx.TensorProto.DataType.Value(inner.upper()), None)
    if kind == "seq":
        return onnx.helper.make_sequence_type_proto(named_type(inner))
    if kind == "optional":
        return onnx.helper.make_optional_type_proto(named_type(inner))
    assert kind == "map", f"{name!r} is no type of ONNX"
    key, content = inner.split(",", 1)
    return onnx.helper.make_map_type_proto(onnx.TensorProto.DataType.Value(key.upper()), named_type(content.strip()))


def _is_map(value: Value) -> bool:
    return isinstance(value, dict)


def _rankless(array: np.ndarray) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(wire.element_type(array.dtype), None)


def _in_single(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def assert_same(ours: Value, theirs: Value, tolerance: float, what: str = "") -> None:
    """Equal kinds, element types, shapes and, up to the tolerance, content; sequences and maps item by item."""
    if isinstance(theirs, list):
        assert isinstance(ours, list) and len(ours) == len(theirs), f"{what}: {ours!r} is not {theirs!r}"
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(mine, other, tolerance, f"{what}[{number}]")
    elif _is_map(theirs):
        assert _is_map(ours) and list(ours) == list(theirs), f"{what}: {ours!r} is not {theirs!r}"
        for key, other in theirs.items():
            if isinstance(other, str):
                assert ours[key] == other, f"{what}[{key!r}]"
            else:
                np.testing.assert_allclose(ours[key], other, tolerance, tolerance, err_msg=f"{what}[{key!r}]")
    elif theirs is None:
        assert ours is None, f"{what}: {ours!r} is not an empty optional"
    else:
        theirs = np.asarray(theirs)
        theirs = theirs.astype(object) if theirs.dtype.kind in "US" else theirs
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), what
        if is_float(ours.dtype) or ours.dtype.kind == "c":
            wide = np.float64 if is_float(ours.dtype) else np.complex128
            np.testing.assert_allclose(
                ours.astype(wide), theirs.astype(wide), rtol=tolerance, atol=tolerance, err_msg=what
            )
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=what)


def by_onnxruntime(model: onnx.ModelProto, feeds: dict[str, Value]) -> list[Value]:
    """onnxruntime without graph optimizations. Raises one of ``CANNOT_RUN`` where it has no kernel."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {item.name for item in model.graph.input}
    return session.run(None, {name: value for name, value in feeds.items() if name in wanted})


def by_onnx_reference(model: onnx.ModelProto, feeds: dict[str, Value]) -> list[Value]:
    """onnx.reference on the same model."""
    wanted = {item.name for item in model.graph.input}
    fed = {name: value for name, value in feeds.items() if name in wanted}
    return list(ReferenceEvaluator(model).run(None, fed))


JUDGES: dict[str, Callable[[onnx.ModelProto, dict[str, Value]], list[Value]]] = {
    "onnxruntime": by_onnxruntime,
    "onnx.reference": by_onnx_reference,
}
