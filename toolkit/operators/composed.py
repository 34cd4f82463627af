"""Operators that are composed of other operators: one expansion gives their values, types and gradients.

``composed("BiasGelu", domain="com.microsoft", expansion=...)`` writes such a record. The expansion is the function
``(call) -> outputs`` over expressions that a backend or an exporter may put into a program in the operator's place.
The reference evaluates it on arrays at once, ``infer`` on types alone, and the gradient goes backward through the nodes
that it emits. Half-width floats are computed in float32 by the reference, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import NotDifferentiableError
from toolkit.operators.expression import Expression
from toolkit.operators.inference import infer_types
from toolkit.operators.long_tail import reference_for
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.record import (
    Call,
    Gradient,
    Inference,
    NotDifferentiable,
    Operator,
    Reference,
    TensorType,
    lookup,
    operator,
)

Expansion = Callable[[Call], Sequence[Expression | None]]
NO_RECORD = NotDifferentiable("it has no record", slope_is_zero=False)
VIEWS: dict[str, Callable[..., np.ndarray]] = {  # where the next operator reads a view as well as a copy
    "Transpose": lambda x, *, perm=None: np.transpose(x, perm),
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(size) for size in shape))),
}


@dataclass(eq=False, slots=True)
class _Value:
    """What the emitters here know of a variable; ``constant`` is its content, if that is known."""

    dtype: np.dtype
    shape: tuple[int, ...]
    constant: np.ndarray | None = None
    name: str = ""


class _Evaluator:
    """Computes every node as it is appended, on arrays of the library that ``like`` is of."""

    def __init__(self, like: Any) -> None:
        self._like = like

    def emit(
        self,
        op_type: str,
        inputs: Sequence[Expression | None],
        attributes: dict[str, Any],
        *,
        domain: str,
        version: int,
        outputs: int,
    ) -> list[Expression]:
        reference, host_inputs = _reference(domain, op_type, version, attributes)
        arrays = [
            None if item is None else item.value if index in host_inputs else np.asarray(item.value, like=self._like)
            for index, item in enumerate(inputs)
        ]
        made = reference(*arrays, **attributes)
        results = made if isinstance(made, tuple) else (made,)
        return [self.constant(np.asarray(item, like=self._like)) for item in results[:outputs]]

    def constant(self, array: np.ndarray) -> Expression:
        return Expression(self, _Value(array.dtype, array.shape, array))


def _reference(domain: str, op_type: str, version: int, attributes: dict[str, Any]) -> tuple[Reference, Sequence[int]]:
    """The reference of an operator, and which of its inputs it reads on the host."""
    record = lookup(domain, op_type, version)
    if record is not None and record.reference is not None:
        return VIEWS.get(op_type, record.reference) if domain == "" else record.reference, record.host_inputs
    found = reference_for(domain, op_type, version, attributes)
    assert found is not None, f"an expansion needs {op_type}-{version}, which has no reference"
    return found, ()


class _Typist:
    """Infers the type of every node as it is appended; only what is constant has content."""

    def __init__(self, layer: str) -> None:
        self._layer = layer

    def emit(
        self,
        op_type: str,
        inputs: Sequence[Expression | None],
        attributes: dict[str, Any],
        *,
        domain: str,
        version: int,
        outputs: int,
    ) -> list[Expression]:
        given = [None if item is None else item.variable for item in inputs]
        types = infer_types(domain, op_type, version, given, attributes, outputs, self._layer)
        return [Expression(self, _Value(dtype, shape)) for dtype, shape in types]

    def constant(self, array: np.ndarray) -> Expression:
        return Expression(self, _Value(array.dtype, array.shape, array))


def evaluated(expansion: Expansion, version: int = 1, infer: Inference | None = None) -> Reference:
    """The reference that an expansion is: it is computed node by node as it unfolds.

    ``infer`` tells to which types the results are narrowed where inputs are half floats; else the expansion does.
    """
    rule = infer or inferred(expansion, version)

    def reference(*inputs: np.ndarray | None, **attributes: Any) -> Any:
        wide = [item.astype(np.float32) if item is not None and item.dtype in HALF_WIDTH else item for item in inputs]
        like = next((item for item in wide if item is not None), None)
        outputs = [None if item is None else item.value for item in _unfold(expansion, wide, attributes, version)]
        if any(item is not None and item.dtype in HALF_WIDTH for item in inputs):
            types = rule([None if item is None else (item.dtype, item.shape) for item in inputs], attributes, inputs)
            outputs = [
                None if item is None else item.astype(kind[0], copy=False)
                for item, kind in zip(outputs, types, strict=True)
            ]
        found = tuple(None if item is None else np.asarray(item, order="C", like=like) for item in outputs)
        return found[0] if len(found) == 1 else found

    return reference


def _unfold(
    expansion: Expansion, arrays: Sequence[np.ndarray | None], attributes: dict[str, Any], version: int
) -> Sequence[Expression | None]:
    evaluator = _Evaluator(next((item for item in arrays if item is not None), None))
    inputs = [None if item is None else evaluator.constant(item) for item in arrays]
    return expansion(Call(inputs, [], attributes, [False] * len(inputs), version))


def inferred(expansion: Expansion, version: int = 1) -> Inference:
    """The rule for types that an expansion is."""

    def infer(
        types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
    ) -> list[TensorType]:
        typist = _Typist("its expansion")
        inputs = [
            None if kind is None else Expression(typist, _Value(*kind, content, f"input {index}"))
            for index, (kind, content) in enumerate(zip(types, constants, strict=True))
        ]
        outputs = expansion(Call(inputs, [], attributes, [False] * len(inputs), version))
        return [(np.dtype(np.float32), ()) if item is None else (item.dtype, item.shape) for item in outputs]

    return infer


def gradient_through(expansion: Expansion) -> Gradient:
    """The gradient of an operator from the gradients of what it expands into."""

    def gradient(call: Call, *grads: Expression | None) -> list[Expression | None]:
        seeds = [
            (output, g)
            for output, g in zip(expansion(call), grads, strict=False)
            if output is not None and g is not None
        ]
        return pull_back(call, seeds)

    return gradient


def pull_back(call: Call, seeds: Sequence[tuple[Expression, Expression]]) -> list[Expression | None]:
    """The gradients of the wanted inputs of ``call`` from those of expressions that were built of its inputs.

    A variable that is given as several inputs gets its gradient with the first of them.
    """
    wanted = {item.variable for item, wants in zip(call.inputs, call.wants, strict=True) if item is not None and wants}
    ends = {item.variable for item in call.inputs if item is not None}
    nodes = _between([output.variable for output, _ in seeds], ends)
    reached = set(wanted)
    for node in nodes:
        if any(item in reached for item in node.inputs if item is not None):
            reached.update(item for item in node.outputs if item is not None and _is_float(item.dtype))
    parts: dict[Any, Expression] = {}
    for output, g in seeds:
        if output.variable in reached:
            _accumulate(parts, output.variable, g)
    for node in reversed(nodes):
        wants = [item is not None and item in reached for item in node.inputs]
        if any(wants) and any(item in parts for item in node.outputs if item is not None):
            for item, wants_part, part in zip(node.inputs, wants, _step(call, node, wants, parts), strict=False):
                if wants_part and isinstance(part, NotDifferentiable):
                    _refuse(node, part)
                elif wants_part and isinstance(part, Expression):
                    _accumulate(parts, item, part)
    return [None if item is None or not wants else parts.pop(item.variable, None) for item, wants in _paired(call)]


def _paired(call: Call) -> list[tuple[Expression | None, bool]]:
    return list(zip(call.inputs, call.wants, strict=True))


def _between(outputs: Sequence[Any], ends: set[Any]) -> list[Any]:
    """The nodes that lead from ``ends`` to ``outputs``, in the order of execution."""
    found: dict[Any, None] = {}
    waiting = [(item, False) for item in reversed(outputs)]
    seen = set()
    while waiting:
        variable, is_done = waiting.pop()
        node = variable.producer
        if is_done:
            found.setdefault(node)
        elif node is not None and variable not in ends and node not in seen:
            seen.add(node)
            waiting.append((variable, True))
            waiting.extend((item, False) for item in node.inputs if item is not None)
    return list(found)


def _refuse(node: Any, lack: NotDifferentiable) -> None:
    """Raises ``NotDifferentiableError``, unless what is missing is zero."""
    if not lack.lacks_nothing([item.dtype for item in node.outputs if item is not None]):
        raise NotDifferentiableError(
            f"{node.op_type}, which the operator expands into, has no gradient ({lack.reason}): "
            "freeze what lies before it."
        )


def _step(
    call: Call, node: Any, wants: list[bool], parts: dict[Any, Expression]
) -> Sequence[Expression | NotDifferentiable | None]:
    record = node.record
    if record is None or isinstance(record.gradient, NotDifferentiable):
        return [NO_RECORD if record is None else record.gradient] * len(node.inputs)
    emitter = next(item for item in call.inputs if item is not None).emitter
    inner = Call(
        [None if item is None else Expression(emitter, item) for item in node.inputs],
        [None if item is None else Expression(emitter, item) for item in node.outputs],
        node.attributes,
        wants,
        node.version,
    )
    found: Sequence[Expression | NotDifferentiable | None] = record.gradient(
        inner, *(parts.get(item) for item in node.outputs)
    )
    return found


def _accumulate(parts: dict[Any, Expression], variable: Any, part: Expression) -> None:
    parts[variable] = parts[variable] + part if variable in parts else part


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype in HALF_WIDTH


def composed(
    name: str,
    expansion: Expansion,
    *,
    domain: str = "",
    since: int = 1,
    infer: Inference | None = None,
    gradient: Gradient | NotDifferentiable | None = None,
    reference: Reference | None = None,
    host_inputs: Sequence[int] = (),
    host_only: str = "",
) -> Operator:
    """Register an operator that its expansion defines; what is given beside the expansion takes its place."""
    return operator(
        name,
        domain=domain,
        since=since,
        reference=reference or evaluated(expansion, since, infer),
        gradient=gradient or gradient_through(expansion),
        infer=infer or inferred(expansion, since),
        expansion=expansion,
        host_inputs=host_inputs,
        host_only=host_only,
    )


def argument(call: Call, index: int) -> Expression | None:
    """Input ``index``, ``None`` where it is absent or beyond the last one given."""
    return call.inputs[index] if index < len(call.inputs) else None


def required(call: Call, index: int, name: str) -> Expression:
    """Input ``index``. Raises ``ValueError`` naming it when it is absent."""
    found = argument(call, index)
    if found is None:
        raise ValueError(f"input {name!r} is required: connect it")
    return found
