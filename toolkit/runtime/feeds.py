"""Feeds: the arrays a caller hands in, checked against what the network declares before anything is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import MALFORMED, InputError, said
from toolkit.graph.network import Network
from toolkit.graph.value import Value

Wanted = tuple[str, np.dtype, tuple[int, ...]]  # an input that is taken as it is: name, element type, shape


def arrayed(given: Any) -> np.ndarray:
    """``given`` as an array; what speaks DLPack (tensors of other libraries) shares its memory, nothing is copied.

    Raises ``InputError`` for tensors that another library does not hand over as they are.
    """
    if isinstance(given, np.ndarray) or not hasattr(given, "__dlpack__"):
        return np.asarray(given)
    try:
        return np.from_dlpack(given)
    except (*MALFORMED, BufferError, RuntimeError) as error:
        raise InputError(
            f"A {type(given).__module__}.{type(given).__qualname__} cannot be read as an array ({said(error)}). Detach "
            "it from its gradient, move it to the host, and give it an element type that numpy has: "
            "tensor.detach().cpu().float()."
        ) from error


def named(network: Network, feeds: Mapping[str, Any] | Any) -> dict[str, np.ndarray]:
    """Feeds as ``{input name: array}``; a single array serves a network with one input.

    Sequences are lists of arrays, optionals an array, a list or ``None``, maps dicts.

    Raises ``InputError`` for missing and unknown names and for element types that differ.
    """
    inputs = network.inputs
    if not isinstance(feeds, Mapping):
        if len(inputs) != 1:
            raise InputError(f"One array cannot feed {len(inputs)} inputs: pass a dict with {list(inputs)}.")
        feeds = {next(iter(inputs)): feeds}
    missing = [name for name in inputs if name not in feeds]
    unknown = [name for name in feeds if name not in inputs]
    if missing or unknown:
        found = [f"missing {missing}"] if missing else []
        found += [f"unknown {unknown}"] if unknown else []
        raise InputError(f"The inputs are {list(inputs)}: {' and '.join(found)} in what was fed.")
    return {name: _given(value, feeds[name]) for name, value in inputs.items()}


def wanted_as_they_are(network: Network, shapes: Mapping[str, tuple[int, ...] | None]) -> list[Wanted] | None:
    """What the inputs must be to be taken as they are, ``None`` where some cannot, or are of any size."""
    found: list[Wanted] = []
    for name, value in network.inputs.items():
        shape = shapes[name]
        if value.kind != "tensor" or value.dtype is None or value.dtype == object or shape is None:
            return None
        found.append((name, value.dtype, shape))
    return found


def as_they_are(feeds: Mapping[str, Any] | Any, wanted: Sequence[Wanted]) -> list[np.ndarray] | None:
    """The arrays of ``wanted`` in its order; ``None`` where one is missing, does not fit, or has to be looked at.

    The door of every run: for small networks, looking costs as much as computing.
    """
    if feeds.__class__ is np.ndarray and len(wanted) == 1:
        feeds = {wanted[0][0]: feeds}
    if feeds.__class__ is not dict or len(feeds) != len(wanted):
        return None
    found = []
    for name, dtype, shape in wanted:
        array = feeds.get(name)
        if array.__class__ is not np.ndarray or array.dtype != dtype or array.shape != shape:
            return None
        found.append(array)
    return found


def _given(value: Value, given: Any) -> Any:
    """What a caller supplied for an input, as the runtime has such values: arrays, lists, dicts, ``None``."""
    if value.kind == "tensor":
        return _typed(value, given)
    if value.kind == "sequence" and isinstance(given, (list, tuple)):
        return [_inner(item) for item in given]
    if value.kind == "optional":
        return _inner(given)
    if value.kind == "map" and isinstance(given, Mapping):
        is_number = value.dtype is not None and value.dtype != object
        return {key: value.dtype.type(item) if is_number else item for key, item in given.items()}  # type: ignore[union-attr]
    wanted = {"sequence": "a list of arrays", "map": "a dict"}.get(value.kind, "a dense array: densify it")
    raise InputError(f"Input {value.name!r} is a {value.describe()}, which takes {wanted}, got {type(given).__name__}.")


def _inner(item: Any) -> Any:
    if isinstance(item, (list, tuple)):
        return [_inner(part) for part in item]
    return item if item is None or isinstance(item, Mapping) else _stringless(np.asarray(item))


def _stringless(array: np.ndarray) -> np.ndarray:
    """Strings are objects everywhere in the toolkit."""
    return array.astype(object) if array.dtype.kind in "SU" else array


def _typed(value: Value, given: Any) -> np.ndarray:
    if hasattr(given, "__dlpack__"):
        given = arrayed(given)
    array = np.asarray(given)
    if value.dtype == object or array.dtype.kind in "SU":
        array = array.astype(object)
    if value.dtype == object:
        return array
    if not isinstance(given, np.ndarray) and value.dtype is not None and array.dtype.kind in "iufb":
        array = array.astype(value.dtype)
    if value.dtype is not None and array.dtype != value.dtype:
        raise InputError(
            f"Input {value.name!r} is {value.describe()}, got {array.dtype.name} {array.shape}. "
            f"Convert it with .astype('{value.dtype.name}')."
        )
    return array


def sizes(network: Network, feeds: Mapping[str, np.ndarray]) -> tuple[int | None, dict[str, int]]:
    """The batch size and the sizes of the other symbolic dimensions that the arrays imply.

    Raises ``InputError`` where ranks or fixed sizes differ, or two arrays disagree.
    """
    batch: int | None = None
    dims: dict[str, int] = {}
    for name, value in network.inputs.items():
        if value.shape is None or value.kind != "tensor":
            continue
        array = feeds[name]
        if array.ndim != len(value.shape):
            raise InputError(f"Input {name!r} is {value.describe()}, got an array of shape {array.shape}.")
        for axis, (dim, size) in enumerate(zip(value.shape, array.shape, strict=True)):
            if axis == value.batch_axis:
                if batch not in (None, size):
                    raise InputError(f"Input {name!r} has {size} items, another input has {batch}.")
                batch = size
                if isinstance(dim, str):
                    dims.setdefault(dim, size)
            elif isinstance(dim, int):
                if dim != size:
                    raise InputError(f"Input {name!r} is {value.describe()}, got an array of shape {array.shape}.")
            elif dims.setdefault(dim if isinstance(dim, str) else f"{name}:{axis}", size) != size:
                raise InputError(f"Input {name!r}: {dim} is {size} here and {dims[str(dim)]} elsewhere.")
    return batch, dims


def check_shapes(
    network: Network, feeds: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...] | None]
) -> None:
    """Raise ``InputError`` where an array has another shape than a context was built for."""
    for name, array in feeds.items():
        if shapes[name] is not None and array.shape != shapes[name]:
            value = network.inputs[name]
            raise InputError(
                f"Input {name!r} {value.describe()}: this context was built for {shapes[name]}, got {array.shape}. "
                "Build a context for that size, or call network.run, which picks one."
            )
