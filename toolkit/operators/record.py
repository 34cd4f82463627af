"""The operator record: everything that is true of an operator on every backend, in one place.

``operator("Relu", reference=..., gradient=...)`` defines one. A record is valid from ``since`` on, up to the next
record of the same operator; ``lookup`` finds the one for a node. Backends override the reference with kernels of their
own, they never redefine the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.expression import Expression

TensorType = tuple[np.dtype, tuple[int, ...]]  # element type and concrete shape


@dataclass(slots=True)
class Call:
    """One application of an operator, as its gradient sees it.

    ``inputs`` and ``outputs`` are expressions, ``None`` where optional ones are absent. ``wants[i]`` says whether the
    gradient of input ``i`` leads to anything that asked for it: compute nothing else. ``attributes`` hold what the node
    carries; ``version`` is the since_version of the node's operator.
    """

    inputs: list[Expression | None]
    outputs: list[Expression | None]
    attributes: dict[str, Any]
    wants: list[bool]
    version: int

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    @property
    def x(self) -> Expression:
        """The first input."""
        first = self.inputs[0]
        assert first is not None
        return first

    @property
    def y(self) -> Expression:
        """The first output."""
        first = self.outputs[0]
        assert first is not None
        return first


Reference = Callable[..., Any]
Inference = Callable[[Sequence[TensorType | None], dict[str, Any], Sequence[np.ndarray | None]], list[TensorType]]


class NotDifferentiable(NamedTuple):
    """The stated reason why an operator, or one input of it, has no gradient; see ``not_differentiable``.

    ``is_resolved`` says that gradients pass all the same, because binding puts other nodes in its place.
    """

    reason: str
    slope_is_zero: bool | None = None
    is_resolved: bool = False

    def lacks_nothing(self, results: Sequence[np.dtype]) -> bool:
        """Whether a gradient that leaves the operator out is exact; ``results`` are the types of its outputs."""
        if self.slope_is_zero is not None:
            return self.slope_is_zero
        return not any(is_trainable_dtype(dtype) for dtype in results)


Gradient = Callable[..., Sequence[Expression | NotDifferentiable | None]]


class Operator(NamedTuple):
    """One record; see ``operator`` for the fields."""

    name: str
    domain: str
    since: int
    reference: Reference | None
    prepare: Callable[..., Reference] | None
    gradient: Gradient | NotDifferentiable
    infer: Inference | None
    expansion: Callable[[Call], Sequence[Expression | None]] | None
    is_view: bool
    is_random: bool
    host_inputs: tuple[int, ...]
    host_only: str

    def why_on_host(self) -> str:
        """What keeps every application of the operator on the host, ``""`` if nothing does."""
        if self.reference is None:
            return "onnx.reference serves it"
        if self.is_random:
            return "random numbers are drawn there"
        if isinstance(self.infer, DataDependentTypes):
            return f"{self.infer.what} is known only when it has run"
        return self.host_only


class DataDependentError(Exception):
    """Raised by a shape rule (``infer``) whose result depends on content that is not known when it is asked."""


@dataclass(frozen=True, slots=True)
class DataDependentTypes:
    """The rule of an operator whose outputs are known only when it has run; see ``data_dependent``."""

    what: str

    def __call__(self, *given: Any) -> list[TensorType]:
        raise DataDependentError(self.what)


def data_dependent(what: str) -> DataDependentTypes:
    """An ``infer`` rule: ``what`` (``"how many elements are not zero"``, ``"a sequence"``) is known only at run time.

    Such an operator is called between compiled segments, on whatever its inputs are then: arrays, lists of arrays for
    sequences, ``None`` for an empty optional, dicts for maps; it returns the same kinds of things.
    """
    return DataDependentTypes(what)


REGISTRY: dict[tuple[str, str], list[Operator]] = {}
PENDING: dict[str, Callable[[], None]] = {}  # what registers the records of a domain that nobody has asked for yet
LATER: dict[tuple[str, str], Callable[[], None]] = {}  # the same for single operators, by domain and name


def not_differentiable(reason: str, *, slope_is_zero: bool | None = None) -> NotDifferentiable:
    """Write down that, and why, an operator has no gradient.

    ``slope_is_zero``: its results do not move with its inputs, but by jumps (rounding, thresholds), so a gradient that
    leaves it out lacks nothing. By default that is so where no result is a floating-point number (positions, sizes,
    comparisons). Where it is not, what is trained through other paths alone is reported to lack a part.
    """
    return NotDifferentiable(reason, slope_is_zero)


def resolved_by_binding(how: str) -> NotDifferentiable:
    """The gradient of an operator that no program to be differentiated holds: ``how`` binding takes it apart."""
    return NotDifferentiable(how, is_resolved=True)


def operator(
    name: str,
    *,
    reference: Reference | None,
    prepare: Callable[..., Reference] | None = None,
    gradient: Gradient | NotDifferentiable,
    domain: str = "",
    since: int = 1,
    infer: Inference | None = None,
    expansion: Callable[[Call], Sequence[Expression | None]] | None = None,
    is_view: bool = False,
    is_random: bool = False,
    host_inputs: Sequence[int] = (),
    host_only: str = "",
) -> Operator:
    """Define an operator (or a further version of one) and register it.

    - ``reference(*inputs, **attributes)``: numpy's functions, on arrays that may be another library's (CuPy's): what
      is made anew is made ``like=`` an input, and nothing is turned into a numpy array. Optional inputs that are absent
      come as ``None``, attributes as keyword arguments with the defaults of the schema of that version written in the
      signature. Returns one array, or a tuple with one entry per output. It must not change its inputs. ``None`` serves
      a gradient-only record of an operator whose values ``onnx.reference`` computes.
    - ``prepare(**attributes)``: a function of the inputs that gives what the reference gives for these attributes, and
      lets go of the inputs; for what is called between segments again and again. Raises as the reference does.
    - ``gradient(call, *output_grads)``: expressions, one per input (``None`` for those that it does not move with,
      ``not_differentiable("why")`` for those whose part is not provided); an output that nothing was propagated to
      comes as ``None``. Or ``not_differentiable("why")`` altogether.
    - ``infer(input types, attributes, constant inputs)``: concrete (dtype, shape) per output, where the rule of the
      ONNX schema is missing or not to be trusted; operators of our own domain always bring one.
    - ``expansion(call)``: the same values from standard operators, for operators of our own domain.
    - ``is_view``: the output holds the bytes of the first input in another shape.
    - ``is_random``: two evaluations differ, so it is never folded or shared; its reference takes ``random``, a
      ``numpy.random.Generator``.
    - ``host_inputs``: the inputs that the reference reads as plain numbers (shapes, axes, amounts); they are always
      numpy arrays.
    - ``host_only``: why the reference works on numpy arrays only, in words that follow "stays on the host:".
    """
    record = Operator(
        name=name,
        domain=domain,
        since=since,
        reference=reference,
        prepare=prepare,
        gradient=gradient,
        infer=infer,
        expansion=expansion,
        is_view=is_view,
        is_random=is_random,
        host_inputs=tuple(host_inputs),
        host_only=host_only,
    )
    versions = REGISTRY.setdefault((domain, name), [])
    if any(known.since == since for known in versions):
        raise ValueError(f"operator {domain or 'ai.onnx'}::{name} has a record since version {since} already")
    versions.append(record)
    versions.sort(key=lambda known: known.since)
    return record


def lookup(domain: str, name: str, version: int) -> Operator | None:
    """The record valid for an operator at an opset version, ``None`` when nobody wrote one."""
    if domain in PENDING:
        PENDING.pop(domain)()
    found, key = None, (canonical_domain(domain), name)
    if key in LATER:
        LATER[key]()
        LATER.pop(key, None)  # only then: another thread may be waiting for the same import
    for record in REGISTRY.get(key, ()):
        if record.since <= version:
            found = record
    return found


def canonical_domain(domain: str) -> str:
    """ONNX writes its default domain as ``""`` or ``ai.onnx``; records use ``""``."""
    return "" if domain == "ai.onnx" else domain
