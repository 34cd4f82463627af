"""The last resort for operators nobody wrote a record for: ``onnx.reference``, slow but well kept.

It implements the latest version of each operator and takes defaults from the latest schema. So it is asked only for
versions since opset 13, and for older ones that have the same inputs and attributes as the latest; the exceptions that
meant something else are listed. The defaults of the node's own version are always written out. Graph attributes are
refused. Whoever runs one of these reports it as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import onnx

from toolkit.operators import wire
from toolkit.operators.record import canonical_domain
from toolkit.operators.schema import Signature, attribute_defaults, signature

OUTPUT_LIMIT = 16  # an operator with more may have any number, which its inputs and attributes do not tell
LATEST = 1 << 20
FIRST_OPSET = 13  # from here on the latest implementation serves older versions too
GRAPH_TYPES = frozenset((int(onnx.AttributeProto.GRAPH), int(onnx.AttributeProto.GRAPHS)))
MACHINE_LEARNING = "ai.onnx.ml"
PACKAGE = "onnx.reference"  # 200 modules that few models need: imported when the first one does
LOADERS = {"": f"{PACKAGE}.ops", MACHINE_LEARNING: f"{PACKAGE}.ops.aionnxml"}
MISSING = frozenset(  # in onnx.reference, or wrong there
    {
        ("", "Bernoulli"),
        ("", "GlobalLpPool"),
        ("", "MaxRoiPool"),
        ("", "Multinomial"),
        ("", "Scatter"),
        (MACHINE_LEARNING, "CastMap"),
        (MACHINE_LEARNING, "CategoryMapper"),
        (MACHINE_LEARNING, "ZipMap"),
    }
)
FIRST_RIGHT_VERSION = {  # the same inputs and attributes meant something else before, or had other names for it
    "BatchNormalization": 15,
    "DequantizeLinear": 19,
    "GridSample": 20,
    "Hardmax": 13,
    "LogSoftmax": 13,
    "Resize": 13,
    "Softmax": 13,
    "Upsample": LATEST,
}

LongTailReference = Callable[..., tuple[Any, ...]]


def reference_for(domain: str, op_type: str, version: int, attributes: Mapping[str, Any]) -> LongTailReference | None:
    """A callable ``(*inputs, **attributes) -> outputs`` for one node, ``None`` where onnx.reference is not trusted.

    Inputs that are absent are ``None``. The outputs are all that the schema names, in its order. ``attributes`` are
    those of the node; ones that the schema of ``version`` does not have make it ``None`` too.
    """
    domain = canonical_domain(domain)
    known = signature(domain, op_type, version)
    if known is None or not _is_trusted(domain, op_type, known.since):
        return None
    if any(name not in known.attribute_types for name in attributes):
        return None
    return _Evaluated(domain, op_type, known)


@cache
def _is_trusted(domain: str, op_type: str, since: int) -> bool:
    known, latest = signature(domain, op_type, since), signature(domain, op_type, LATEST)
    if known is None or latest is None or (domain, op_type) in MISSING:
        return False
    if known.max_outputs > OUTPUT_LIMIT or not GRAPH_TYPES.isdisjoint(known.attribute_types.values()):
        return False
    if domain == "" and since < FIRST_RIGHT_VERSION.get(op_type, 0):
        return False
    same_form = known.attribute_types == latest.attribute_types and known.input_names == latest.input_names
    return (same_form or since >= FIRST_OPSET) and _is_implemented(domain, op_type, known)


def _is_implemented(domain: str, op_type: str, known: Signature) -> bool:
    if known.schema.has_function or known.schema.has_context_dependent_function:
        return True
    if domain not in LOADERS:
        return False
    try:
        import_module(LOADERS[domain]).load_op(domain, op_type, None)
    except (NotImplementedError, RuntimeError, ValueError):  # how onnx.reference says that it has no implementation
        return False
    return True


class _Evaluated:
    """One node as a model of its own; evaluators are kept per element types, which function bodies depend on."""

    def __init__(self, domain: str, op_type: str, known: Signature) -> None:
        self._domain, self._op_type, self._known = domain, op_type, known
        self._evaluators: dict[tuple[Any, bytes], Any] = {}

    def __call__(self, *inputs: np.ndarray | None, **attributes: Any) -> tuple[Any, ...]:
        node = self._node(inputs, attributes)
        key = (tuple(None if item is None else (item.dtype, item.ndim) for item in inputs), node)
        if key not in self._evaluators:
            self._evaluators[key] = import_module(PACKAGE).ReferenceEvaluator(self._model(inputs, node))
        feeds = {f"x{index}": item for index, item in enumerate(inputs) if item is not None}
        return tuple(map(_with_object_strings, self._evaluators[key].run(None, feeds)))

    def _node(self, inputs: tuple[np.ndarray | None, ...], attributes: Mapping[str, Any]) -> bytes:
        names = ["" if item is None else f"x{index}" for index, item in enumerate(inputs)]
        outputs = [f"y{index}" for index in range(self._known.max_outputs)]
        complete = {**attribute_defaults(self._domain, self._op_type, self._known.since), **attributes}
        return wire.node(self._op_type, names, outputs, complete, self._known.attribute_types)

    def _model(self, inputs: tuple[np.ndarray | None, ...], serialised: bytes) -> onnx.ModelProto:
        node = onnx.NodeProto.FromString(serialised)
        node.domain = self._domain
        graph = onnx.GraphProto(name="node", node=[node])
        for name, item in zip(node.input, inputs, strict=True):
            if item is not None:
                kind = wire.element_type(item.dtype)
                graph.input.append(onnx.helper.make_tensor_value_info(name, kind, [None] * item.ndim))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output)
        opsets = [onnx.helper.make_opsetid(self._domain, self._known.since)]
        if self._domain:
            opsets.append(onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version()))
        return onnx.helper.make_model(graph, opset_imports=opsets)


def _with_object_strings(output: Any) -> Any:
    """Strings are objects everywhere in the toolkit; onnx.reference also gives arrays of fixed width."""
    return output.astype(object) if isinstance(output, np.ndarray) and output.dtype.kind in "US" else output
