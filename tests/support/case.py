"""One row of a case table: an operator, what it is given, and how exactly it must answer.

Most values are arrays. Sequences are lists (of arrays, or of maps), maps are dicts, an empty optional is ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.operators import lookup
from toolkit.operators.record import DataDependentTypes, NotDifferentiable, Operator

Value = Any  # np.ndarray, a list of values, a dict, or None
Size = int | str  # "N" stands for the batch size
BATCH_SIZES = (1, 3)


def dtype_of(name: str) -> np.dtype:
    """The element type of that name, ``bfloat16`` and its kin included."""
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def is_float(dtype: np.dtype) -> bool:
    """Whether gradients are of this type, bfloat16 included."""
    return dtype.kind == "f" or dtype == ml_dtypes.bfloat16


@dataclass(frozen=True, slots=True)
class Given:
    """How one input is made: ``make(random, batch)``. A constant is known to inference, like an initializer.

    ``type`` is ONNX's name of its type (``seq(tensor(float))``, ``map(int64, tensor(float))``) where the value itself
    does not tell: in an empty list, dict or optional, and in every optional.
    """

    make: Callable[[np.random.Generator, int], Value]
    is_constant: bool = False
    type: str | None = None


def uniform(*shape: Size, low: float = -2.0, high: float = 2.0, dtype: str = "float32") -> Given:
    """Evenly distributed values."""
    return Given(lambda random, batch: random.uniform(low, high, _bound(shape, batch)).astype(dtype_of(dtype)))


def spread(*shape: Size, low: float = -2.0, high: float = 2.0, dtype: str = "float32") -> Given:
    """Values that are all different, at equal distances, in random order: no ties and none at a kink in the middle."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        sizes = _bound(shape, batch)
        count = int(np.prod(sizes))
        values = low + (high - low) * (np.arange(count) + 0.5137) / max(count, 1)
        return random.permutation(values).reshape(sizes).astype(dtype_of(dtype))

    return Given(make)


def integers(*shape: Size, low: int, high: int, dtype: str = "int64", is_constant: bool = False) -> Given:
    """Integers in [low, high)."""
    return Given(
        lambda random, batch: random.integers(low, high, _bound(shape, batch)).astype(dtype_of(dtype)), is_constant
    )


def booleans(*shape: Size) -> Given:
    """Truth values, half of them true on average."""
    return Given(lambda random, batch: random.random(_bound(shape, batch)) < 0.5)


def constant(content: Any, dtype: str | None = None) -> Given:
    """Fixed content, or a function of the batch size. Python floats become float32, integers int64."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        array = np.asarray(content(batch) if callable(content) else content)
        if dtype is not None:
            return array.astype(dtype_of(dtype))
        return array.astype(np.float32) if array.dtype == np.float64 else array

    return Given(make, is_constant=True)


def variable(content: Any, dtype: str | None = None) -> Given:
    """Like ``constant``, but unknown to inference and, where it is floating point, differentiated."""
    return Given(constant(content, dtype).make)


def sequence(*items: Given, dtype: str = "float") -> Given:
    """A list of the items; ``dtype`` is ONNX's name of the element type, which matters when there are none."""
    kind = None if items else f"seq(tensor({dtype}))"
    return Given(lambda random, batch: [item.make(random, batch) for item in items], type=kind)


def optional(item: Given | None, kind: str = "tensor(float)") -> Given:
    """An optional that holds the item, or nothing; ``kind`` is ONNX's name of the type that it may hold."""
    return Given(lambda random, batch: None if item is None else item.make(random, batch), type=f"optional({kind})")


def plain(content: Any, kind: str | None = None) -> Given:
    """Exactly this value: a dict, a list of dicts, a list of arrays; or a function of the batch size that gives it."""
    return Given(lambda random, batch: content(batch) if callable(content) else content, type=kind)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One row; two are never the same.

    - ``inputs``: ``None`` where an optional input is left out.
    - ``attributes``: plain values; a ``GraphProto`` is a body, which references get as a callable (``onnx.reference``
      evaluates it). May also be a function of the batch size.
    - ``version``: an opset version of ``domain``.
    - ``tolerance``: relative and absolute, of values against the judge.
    - ``judge``: ``None`` for onnxruntime, or onnx.reference where onnxruntime has no kernel; the name of one of them;
      or a function ``(*inputs, **attributes)`` of the same outputs.
    - ``differentiable``: indices of the inputs whose gradient is checked; by default every floating-point input that is
      not a constant, none when the record is not differentiable.
    - ``seeded``: indices of the outputs that get a gradient; by default all floating-point ones.
    - ``is_data_dependent``: inference must refuse it, because an input that tells a shape is no constant; rows of
      records whose ``infer`` is ``data_dependent(...)`` need not say so.
    """

    operator: str
    inputs: Sequence[Given | None]
    attributes: dict[str, Any] | Callable[[int], dict[str, Any]] = field(default_factory=dict)
    version: int = 23
    domain: str = ""
    outputs: int = 1
    tolerance: float = 1e-5
    gradient_tolerance: float = 1e-5
    judge: str | Callable[..., Any] | None = None
    differentiable: Sequence[int] | None = None
    seeded: Sequence[int] | None = None
    is_data_dependent: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        found = lookup(self.domain, self.operator, self.version)
        if found is not None and isinstance(found.infer, DataDependentTypes):
            object.__setattr__(self, "is_data_dependent", True)

    @property
    def id(self) -> str:
        """The name of the case in test reports."""
        name = f"{self.domain}.{self.operator}" if self.domain else self.operator
        return f"{name}-{self.version}" + (f"-{self.note.replace(' ', '_')}" if self.note else "")

    @property
    def record(self) -> Operator:
        """The record under test. Raises ``AssertionError`` when there is none."""
        found = lookup(self.domain, self.operator, self.version)
        assert found is not None, f"{self.id}: no record"
        return found

    def bound_attributes(self, batch: int) -> dict[str, Any]:
        """The attributes at a batch size."""
        return dict(self.attributes(batch) if callable(self.attributes) else self.attributes)

    def arrays(self, batch: int, seed: int = 0) -> list[Value]:
        """The inputs at a batch size; arrays are read-only, because a reference must not write to them."""
        return [_read_only(value) for value in _made(self, batch, seed)]

    def differentiable_inputs(self) -> list[int]:
        """Indices of the inputs whose gradient is checked."""
        if isinstance(self.record.gradient, NotDifferentiable) or self.is_data_dependent:
            return []
        if self.differentiable is not None:
            return list(self.differentiable)
        arrays = self.arrays(1)
        return [
            index
            for index, (given, array) in enumerate(zip(self.inputs, arrays, strict=True))
            if given is not None and not given.is_constant and isinstance(array, np.ndarray) and is_float(array.dtype)
        ]


@lru_cache(maxsize=4)  # a check asks for the same inputs again and again
def _made(case: Case, batch: int, seed: int) -> tuple[Value, ...]:
    random = np.random.default_rng([seed, batch])
    return tuple(None if given is None else given.make(random, batch) for given in case.inputs)


SETTINGS = ("judge", "outputs", "seeded", "differentiable", "tolerance", "gradient_tolerance")


def contributed(name: str, *inputs: Given | None, note: str = "", **given: Any) -> Case:
    """A row of onnxruntime's own domain; settings of the row are told from attributes by their names."""
    settings = {key: given.pop(key) for key in SETTINGS if key in given}
    settings = {"version": 1, "domain": "com.microsoft", "gradient_tolerance": 1e-4, **settings}
    return Case(name, list(inputs), given, note=note, **settings)


def _read_only(value: Value) -> Value:
    """The value with every array in it frozen; lists and dicts are copied."""
    if isinstance(value, list):
        return [_read_only(item) for item in value]
    if value is None or isinstance(value, dict):
        return None if value is None else dict(value)
    array = np.asarray(value)
    array.flags.writeable = False
    return array


def _bound(shape: Sequence[Size], batch: int) -> tuple[int, ...]:
    return tuple(batch if size == "N" else int(size) for size in shape)
